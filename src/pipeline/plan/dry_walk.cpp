#include "dry_walk.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/plan/meta_memory.hpp"
#include "rluf/pipeline/policy/policy_to_train.hpp"
#include "rluf/pipeline/policy/term_loss.hpp"
#include "rluf/pipeline/reward/losses.hpp"
#include "rluf/pipeline/signals/derived.hpp"
#include "rluf/pipeline/signals/evidence.hpp"

namespace rluf {
namespace {

/// Notes what would be written.
class SlabArchive : public StateArchive {
 public:
  SlabArchive(std::string stage, std::vector<Slab>& slabs) : stage_(std::move(stage)), slabs_(slabs) {}
  void number(const std::string&, std::int64_t&) override {}
  void json(const std::string&, nlohmann::json&) override {}
  void tensor(const std::string&, at::Tensor&) override {}
  void rows(const std::string& name, at::Tensor& mine, const std::vector<std::int64_t>& shape, Range which) override {
    RLUF_ASSERT(mine.size(0) == which.count());
    if (which.count() > 0) slabs_.push_back({stage_ + ": " + name, which, shape[0]});
  }
  bool is_reading() const override { return false; }

 private:
  std::string stage_;
  std::vector<Slab>& slabs_;
};

/// What one rank does in one step of each stage.
class Walk {
 public:
  Walk(const PlanInput& input, const ParallelOptions& parallel, const Groups& groups, int rank)
      : input_(input),
        log_(std::make_shared<CollectiveLog>()),
        grid_(groups.grid(rank, log_)),
        layout_(make_layout(on_machine(parallel, input.machine), grid_)),
        compute_(input.compute_bytes == 2 ? at::kBFloat16 : at::kFloat) {}

  Walked run() {
    if (input_.log_rows > 0) signals();
    for (const PlannedTraining& training : input_.trainings) {
      begin_stage();
      const Llama start = made(training.model.config);
      Llama model = training.preference ? policy_to_train(start, training.options) : start;
      make_trainable(model, training.options, 0);
      if (training.preference) {
        train(model, training.model.role, training.options, training.step, LossForm::kPair, &start);
      } else {
        train(model, training.model.role, training.options, training.step);
      }
      end_stage(training.model.role);
    }
    if (input_.audit_rows > 0) evaluate();
    if (input_.has_policy) policy();
    if (input_.has_validate) validate();
    return {*log_,
            slabs_,
            peaks_,
            {{"data", grid_.data.traffic()},
             {"shard", grid_.shard.traffic()},
             {"tensor", grid_.tensor.traffic()},
             {"replicas", grid_.replicas.traffic()}}};
  }

 private:
  static ParallelOptions on_machine(ParallelOptions parallel, const Machine& machine) {
    if (machine.on_host) parallel.optimizer_memory = "device";  // its memory is the host's
    return parallel;
  }
  void begin_stage() { reset_meta_peak(); }
  void end_stage(const std::string& name) { peaks_.emplace_back(name, meta_peak_bytes()); }

  /// As it is loaded, without adapters.
  Llama made(LlamaConfig config) const {
    config.lora = {};
    Llama model(config, 0, at::kMeta, layout_);
    model.set_compute_type(compute_);
    return model;
  }

  /// Documents of the mean length; all ranks know the same.
  static std::vector<Document> documents_of(std::int64_t count, double tokens_each, double rows_each) {
    const auto length = std::max<std::int64_t>(2, std::lround(tokens_each));
    const auto rows = std::clamp<std::int64_t>(std::lround(rows_each), 1, length - 1);
    return std::vector<Document>(static_cast<std::size_t>(count),
                                 {TokenIds(static_cast<std::size_t>(length), 0), length - rows});
  }

  /// Documents of the examples [first, last), each of `each` documents.
  static PackedBatch packed(const std::vector<Document>& documents, const std::vector<std::int64_t>& examples,
                            std::int64_t each) {
    std::vector<TokenIds> tokens;
    for (const std::int64_t example : examples)
      for (std::int64_t k = 0; k < each; ++k)
        tokens.push_back(documents[static_cast<std::size_t>(example * each + k)].tokens);
    return PackedBatch::from(tokens, at::kMeta);
  }

  /// `reference`: of a language model's loss that needs one.
  void train(Llama& model, const std::string& role, const TrainOptions& options, const StepExamples& step,
             LossForm form = LossForm::kLogProb, const Llama* reference = nullptr) {
    AdamW optimizer(model, options, grid_.world);
    const auto each = std::max<std::int64_t>(1, std::lround(step.documents_each));
    const auto num_examples = std::max<std::int64_t>(1, std::lround(step.examples));
    const auto documents = documents_of(num_examples * each, step.tokens_each, step.rows_each);
    const std::vector<std::int64_t> lengths(static_cast<std::size_t>(num_examples),
                                            each * std::ssize(documents[0].tokens));
    std::vector<std::vector<std::int64_t>> micro_batches;
    for (const PackRange& range : pack_ranges(lengths, step.micro_batch_tokens)) {
      micro_batches.emplace_back();
      for (std::int64_t i = range.first; i < range.last; ++i) micro_batches.back().push_back(i);
    }
    const Document& one = documents[0];
    const Sample drawn{{}, std::vector<float>(one.tokens.size() - static_cast<std::size_t>(one.response_start)), true};
    const std::vector<TrainedTerm> terms(static_cast<std::size_t>(num_examples),
                                         {.documents = std::vector<Document>(static_cast<std::size_t>(each), one),
                                          .drawn = std::vector<const Sample*>(static_cast<std::size_t>(each), &drawn)});
    const LossFunction generative = term_loss(form, terms, input_.policy, reference == nullptr ? model : *reference);
    const LossFunction scoring = [&](const Llama& current, const std::vector<std::int64_t>& examples) {
      const PackedBatch batch = packed(documents, examples, each);
      const at::Tensor scores = current.scores(current.hidden(batch), batch);
      const at::Tensor zeros = torch::zeros({std::ssize(examples)}, scores.options());
      return MicroLoss{each == 1 ? binary_cross_entropy_sum(scores, zeros)
                                 : bradley_terry_sum(scores.slice(0, 0, {}, 2), scores.slice(0, 1, {}, 2), zeros, 0.0),
                       {}};
    };
    train_step(model, optimizer, micro_batches, static_cast<double>(num_examples), options.learning_rate,
               model.config().num_scores > 0 ? scoring : generative, grid_.world);
    SlabArchive archive(role, slabs_);
    optimizer.describe(archive);
    describe_weights(model, archive);
    for (std::size_t i = 0; i < model.parameters().size(); ++i) model.whole_parameter(i);  // as save() does
  }

  /// A pass that scores one micro-batch.
  void score(const Llama& model, const std::vector<Document>& documents) const {
    const torch::NoGradGuard no_grad;
    guarded(grid_.world, [&] {
      std::vector<std::int64_t> all(documents.size());
      std::iota(all.begin(), all.end(), std::int64_t{0});
      const PackedBatch batch = packed(documents, all, 1);
      const at::Tensor hidden = model.hidden(batch);
      if (model.config().num_scores > 0) {
        model.scores(hidden, batch);
      } else {
        const ResponseRows rows = response_rows(documents, at::kMeta);
        model.log_probs(hidden.index_select(0, rows.rows), rows.targets);
      }
    });
  }

  /// Weights gathered for generation, the cache, and one token of each running sequence.
  void generate(const Llama& policy, double prompts, std::int64_t samples, std::int64_t longest,
                const BatchingOptions& batching) const {
    const torch::NoGradGuard no_grad;
    const Llama ready = policy.for_inference();
    const double of_replica = std::ceil(prompts / grid_.replicas.size());
    const std::int64_t sequences =
        std::min<std::int64_t>(std::llround(of_replica), batching.prompts_per_batch) * samples;
    const LlamaConfig part = policy.part_config();
    const at::Tensor cache =
        at::empty({2, part.num_layers, sequences, std::lround(input_.options.prompt_tokens) + longest,
                   part.num_kv_heads * part.head_dim},
                  torch::TensorOptions(torch::kFloat32).device(at::kMeta));
    const at::Tensor tokens_S = torch::zeros({sequences}, torch::TensorOptions(torch::kInt64).device(at::kMeta));
    const auto attend = [](std::int64_t, const at::Tensor& q_THK, const at::Tensor&, const at::Tensor&) {
      return at::empty_like(q_THK);
    };
    ready.logits(ready.transform(tokens_S, tokens_S, attend));
  }

  /// A micro-batch to be scored, in documents as long as the model allows: their number costs time here, bytes nowhere.
  static std::vector<Document> micro_batch_of(const LlamaConfig& config, double documents, double tokens_each,
                                              double rows_each, std::int64_t micro_batch_tokens) {
    const double fit = std::floor(static_cast<double>(micro_batch_tokens) / tokens_each);
    const double count = std::min(std::max(1.0, fit), documents);
    const double pieces = std::ceil(count * tokens_each / static_cast<double>(config.max_position_embeddings));
    return documents_of(std::llround(pieces), count * tokens_each / pieces, count * rows_each / pieces);
  }

  /// The same as a model reads it that scores responses.
  std::vector<Document> judged(const PlannedScorer& scorer, double documents, std::int64_t micro_batch_tokens) const {
    const PlanOptions& plan = input_.options;
    return micro_batch_of(scorer.model.config, documents,
                          plan.prompt_tokens + plan.response_tokens + scorer.more_tokens, scorer.rows_each,
                          micro_batch_tokens);
  }

  void evaluate() {
    begin_stage();
    for (const PlannedModel& model : input_.audited)
      score(made(model.config), micro_batch_of(model.config, input_.audit_rows, input_.options.love_tokens, 0,
                                               input_.audit_micro_batch_tokens));
    end_stage("evaluate");
  }

  void policy() {
    begin_stage();
    const PolicyOptions& options = input_.policy;
    std::vector<Llama> scorers;
    for (const PlannedScorer& scorer : input_.scorers) scorers.push_back(made(scorer.model.config));
    Llama trained = policy_to_train(scorers.front(), options.train);
    make_trainable(trained, options.train, 0);
    const RoundWork round = round_work(options);
    for (const auto& [samples, prompts] : round.prompts)
      generate(trained, prompts, samples, options.max_new_tokens, options.batching);
    for (std::size_t i = 0; i < scorers.size(); ++i)
      score(scorers[i], judged(input_.scorers[i], round.responses, options.train.micro_batch_tokens));
    train(trained, "policy", options.train,
          {.examples = round.terms,
           .documents_each = work_per_prompt(options).responses_each,
           .tokens_each = input_.options.prompt_tokens + input_.options.response_tokens,
           .rows_each = input_.options.response_tokens,
           .micro_batch_tokens = options.train.micro_batch_tokens},
          policy_optimizer(options.optimizer).form, &scorers.front());
    end_stage("policy");
  }

  void validate() {
    begin_stage();
    const ValidationOptions& options = input_.validate;
    const Llama arm = made(input_.policy_model.config);
    std::vector<Llama> scorers;
    std::vector<std::vector<Document>> documents;
    for (const PlannedScorer& scorer : input_.scorers) {
      if (scorer.use != PlannedScorer::Use::kReference && scorer.use != PlannedScorer::Use::kReward) continue;
      scorers.push_back(made(scorer.model.config));
      documents.push_back(judged(scorer, input_.options.held_out_prompts, options.micro_batch_tokens));
    }
    generate(arm, input_.options.held_out_prompts, options.samples_per_prompt,
             options.max_new_tokens > 0 ? options.max_new_tokens : input_.policy.max_new_tokens, options.batching);
    for (std::size_t i = 0; i < scorers.size(); ++i) score(scorers[i], documents[i]);
    end_stage("validate");
  }

  /// A small log, the same on all ranks: what the stage does next depends on sums, which are then the same too.
  void signals() const {
    InteractionReader reader("", "retained");
    std::vector<Interaction> rows;
    for (int i = 0; i < 96; ++i) {
      const Json row{{"user_id", i / 4},
                     {"timestamp", 1000 * i},
                     {"messages", {{{"role", "user"}, {"content", concat("question ", i)}}}},
                     {"response", concat("answer ", i)},
                     {"use_case", i % 3 == 0 ? "games" : "news"},
                     {"retained", i % 5 < 2 ? 1 : 0},
                     {"signals", {{"love", i % 7 == 0 ? 1 : 0}, {"thumbs_down", i % 11 == 0 ? 1 : 0}}}};
      rows.push_back(reader.read(row, "a log that is not there", i + 1));
    }
    UserLog log = user_log_of(reader, std::move(rows), grid_.world);
    derive_signals(log);
    collect_evidence(log, {}, SignalOptions(), grid_.world);
  }

  const PlanInput& input_;
  std::shared_ptr<CollectiveLog> log_;
  ProcessGrid grid_;
  LayoutPointer layout_;
  at::ScalarType compute_;
  std::vector<Slab> slabs_;
  std::vector<std::pair<std::string, std::int64_t>> peaks_;
};

}  // namespace

Walked walk(const PlanInput& input, const ParallelOptions& parallel, const Groups& groups, int rank) {
  return Walk(input, parallel, groups, rank).run();
}

}  // namespace rluf
