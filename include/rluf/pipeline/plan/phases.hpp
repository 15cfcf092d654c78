#pragma once
/// What a stage is made of: optimizer steps, passes that only score, generation. Each with its work, memory, traffic
/// and time.
#include <string>
#include <vector>

#include "rluf/model/training.hpp"
#include "rluf/pipeline/plan/memory.hpp"
#include "rluf/pipeline/plan/traffic.hpp"

namespace rluf {

/// What all phases of a plan share.
struct PlanSetting {
  const Machine* machine;
  PlanLayout layout;
  double compute_bytes = 4;
  bool reproducible = true;
  Quantity overlap = 0;  ///< share of arithmetic and memory behind which the shard axis hides
};

struct PlannedModel {
  std::string role, shape;  ///< "helpfulness", "llama-3-70b" or the folder
  LlamaConfig config;
};
/// "llama-3-8b with a score head"
std::string title_of(const PlannedModel& model);

struct Phase {
  std::string title;
  std::vector<Figure> figures;
  Quantity seconds;        ///< of one step, or of the whole phase of a round
  Quantity lasting_bytes;  ///< what stays on a rank when the phase is over
  Quantity bytes;          ///< what a rank holds besides while it runs
  Quantity useful_flops;   ///< of a training step, on all ranks
  std::string bound;       ///< what most of the time goes to, with its share
};

/// Examples of one optimizer step. An example is a document, or a pair of them.
struct StepExamples {
  double examples = 1, documents_each = 1, tokens_each = 1, rows_each = 0;
  std::int64_t micro_batch_tokens = 2048, trainable_layers = -1;
};
/// One optimizer step: rounds of micro-batches on all replicas, then the sums and AdamW.
Phase training_step(const PlannedModel& model, const StepExamples& step, const PlanSetting& setting);

/// Forward passes over documents dealt to the replicas; `from_host`: the weights come from the host's memory first.
Phase scoring_phase(const PlannedModel& model, const StepExamples& documents, bool from_host,
                    const PlanSetting& setting);

struct GenerationWork {
  double prompts = 1, samples = 1, prompt_tokens = 1, response_tokens = 1, longest_response = 1;
  std::int64_t prompts_at_once = 8;
};
/// Prompts dealt to the replicas, each with the weights of its tensor group whole.
Phase generation_phase(const std::string& what, const PlannedModel& model, const GenerationWork& work,
                       const PlanSetting& setting);

}  // namespace rluf
