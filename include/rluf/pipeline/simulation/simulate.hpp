#pragma once
/// The simulate stage: writes a log, comparisons, prompts, candidates and an untrained model of a small chat world.
#include <string>

#include "rluf/config/option_table.hpp"
#include "rluf/pipeline/simulation/world.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

struct SimulationOptions {
  std::int64_t seed = 1, rows = 40000, users = 3000;
  std::int64_t helpfulness_pairs = 4000, safety_pairs = 2000, prompts = 1500, sft_rows = 12000;
  std::int64_t candidate_prompts = 300;
  double love_rate = 0.005;
  double duplicate_share = 0.002;  ///< rows that the log holds twice
  std::int64_t hidden_size = 128, intermediate_size = 352, num_layers = 4, num_heads = 4, num_kv_heads = 2;
  void describe(OptionTable& table);
  void check() const;  ///< @throws Error(kBadInput) if the base model's sizes do not fit together
};

/// Makes world/ in the run directory: world.json, base/, *.jsonl.gz, candidates/, online.json. All of it is a pure
/// function of the options; rank 0 writes, row by row. @collective
void run_simulate(const SimulationOptions& options, const StageContext& context);
/// Of rank 0, the only one that writes. @unit bytes
std::int64_t simulate_memory_bytes(const SimulationOptions& options);

/// A world whose intercept gives old policies the wanted love rate (bisection on 4,000 turns of the old policies).
World make_world(const SimulationOptions& options);

/// tokenizer.json of a byte-level BPE in which every word of the world is one token, with or without a space before it.
nlohmann::json world_tokenizer();

}  // namespace rluf
