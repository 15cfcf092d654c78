#include "rluf/pipeline/plan/dry_run.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>

#include "rluf/core/error.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/plan/meta_memory.hpp"
#include "rluf/pipeline/policy/term_loss.hpp"
#include "rluf/pipeline/reward/losses.hpp"

namespace rluf {
namespace {

/// Which ranks of a tensor a rank writes to a checkpoint, or holds.
struct Slab {
  std::string tensor;
  Range rows;
  std::int64_t num_rows = 0;
  bool operator<(const Slab& other) const {
    return std::tie(tensor, rows.first, rows.last) < std::tie(other.tensor, other.rows.first, other.rows.last);
  }
};

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

/// The grid's groups, numbered: all ranks, then the data, shard, tensor axes and replicas.
struct Groups {
  int data, shard, tensor;
  std::vector<std::vector<int>> members;
  std::vector<std::string> names;

  Groups(int num_ranks, const ParallelOptions& parallel)
      : data(num_ranks / static_cast<int>(parallel.shard * parallel.tensor)),
        shard(static_cast<int>(parallel.shard)),
        tensor(static_cast<int>(parallel.tensor)),
        members(static_cast<std::size_t>(1 + shard * tensor + data * tensor + data * shard + tensor)),
        names(members.size()) {
    for (int rank = 0; rank < num_ranks; ++rank)
      for (const auto& [axis, group] : of(rank)) {
        members[static_cast<std::size_t>(group)].push_back(rank);
        names[static_cast<std::size_t>(group)] = axis;
      }
  }
  /// The numbers of a rank's groups by axis.
  std::map<std::string, int> of(int rank) const {
    const int t = rank % tensor, s = rank / tensor % shard, d = rank / tensor / shard;
    const int first_shard = 1 + shard * tensor, first_tensor = first_shard + data * tensor;
    return {{"world", 0},
            {"data", 1 + s * tensor + t},
            {"shard", first_shard + d * tensor + t},
            {"tensor", first_tensor + d * shard + s},
            {"replicas", first_tensor + data * shard + t}};
  }
  ProcessGrid grid(int rank, const std::shared_ptr<CollectiveLog>& log) const {
    const auto groups = of(rank);
    const auto axis = [&](const char* name) {
      const int group = groups.at(name);
      const auto& ranks = members[static_cast<std::size_t>(group)];
      const auto place = std::lower_bound(ranks.begin(), ranks.end(), rank) - ranks.begin();
      return Communicator::recorded(static_cast<int>(place), static_cast<int>(ranks.size()), group, log);
    };
    return {axis("world"), axis("data"), axis("shard"), axis("tensor"), axis("replicas")};
  }
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

  void run() {
    for (const PlannedTraining& training : input_.trainings) {
      begin_stage();
      Llama model = made(training.model.config);
      if (training.preference) {
        const Llama reference = model.clone();
        train(model, training.model.role, training.options, training.step, LossForm::kPair, &reference);
      } else {
        train(model, training.model.role, training.options, training.step);
      }
      end_stage(training.model.role);
    }
    if (input_.has_policy) policy();
  }

  const CollectiveLog& log() const { return *log_; }
  const std::vector<Slab>& slabs() const { return slabs_; }
  const std::vector<std::pair<std::string, std::int64_t>>& peaks() const { return peaks_; }
  std::map<std::string, std::map<std::string, Traffic>> traffic() const {
    return {{"data", grid_.data.traffic()},
            {"shard", grid_.shard.traffic()},
            {"tensor", grid_.tensor.traffic()},
            {"replicas", grid_.replicas.traffic()}};
  }

 private:
  static ParallelOptions on_machine(ParallelOptions parallel, const Machine& machine) {
    if (machine.on_host) parallel.optimizer_memory = "device";  // its memory is the host's
    return parallel;
  }
  void begin_stage() { reset_meta_peak(); }
  void end_stage(const std::string& name) { peaks_.emplace_back(name, meta_peak_bytes()); }

  Llama made(const LlamaConfig& config) const {
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
    make_trainable(model, options, 0);
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
      const PackedBatch batch = packed(documents, {0}, 1);
      const at::Tensor hidden = model.hidden(batch);
      if (model.config().num_scores > 0) {
        model.scores(hidden, batch);
      } else {
        const ResponseRows rows = response_rows({documents[0]}, at::kMeta);
        model.log_probs(hidden.index_select(0, rows.rows), rows.targets);
      }
    });
  }

  /// Weights gathered for generation, and one token of each running sequence.
  void generate(const Llama& policy) const {
    const torch::NoGradGuard no_grad;
    const Llama ready = policy.for_inference();
    const std::int64_t sequences = input_.policy.batching.prompts_per_batch * input_.policy.num_samples;
    const at::Tensor tokens_S = torch::zeros({sequences}, torch::TensorOptions(torch::kInt64).device(at::kMeta));
    const auto attend = [](std::int64_t, const at::Tensor& q_THK, const at::Tensor&, const at::Tensor&) {
      return at::empty_like(q_THK);
    };
    ready.logits(ready.transform(tokens_S, tokens_S, attend));
  }

  void policy() {
    begin_stage();
    std::vector<Llama> judges;
    for (const PlannedModel& judge : input_.judges) judges.push_back(made(judge.config));
    Llama trained = judges.front().clone();
    generate(trained);
    const PlanOptions& plan = input_.options;
    const auto documents = documents_of(1, plan.prompt_tokens + plan.response_tokens, plan.response_tokens);
    for (const Llama& judge : judges) score(judge, documents);
    const WorkPerPrompt work = work_per_prompt(input_.policy);
    train(trained, "policy", input_.policy.train,
          {.examples = work.terms * static_cast<double>(input_.policy.prompts_per_round),
           .documents_each = work.responses_each,
           .tokens_each = plan.prompt_tokens + plan.response_tokens,
           .rows_each = plan.response_tokens,
           .micro_batch_tokens = input_.policy.train.micro_batch_tokens},
          policy_optimizer(input_.policy.optimizer).form, &judges.front());
    end_stage("policy");
  }

  const PlanInput& input_;
  std::shared_ptr<CollectiveLog> log_;
  ProcessGrid grid_;
  LayoutPointer layout_;
  at::ScalarType compute_;
  std::vector<Slab> slabs_;
  std::vector<std::pair<std::string, std::int64_t>> peaks_;
};

/// @return tensors seen
std::int64_t check_cover(std::vector<Slab> slabs) {
  std::sort(slabs.begin(), slabs.end());
  std::int64_t num_tensors = 0, next = 0;
  const auto fail = [](const std::string& tensor, std::int64_t row) {
    fail_input(concat(tensor, ": row ", row, " is written by no rank, or by two"),
               "a checkpoint would lose or mix numbers", "this is an error of the program: please report the grid");
  };
  for (std::size_t i = 0; i < slabs.size(); ++i) {
    const bool begins = i == 0 || slabs[i].tensor != slabs[i - 1].tensor;
    if (begins) {
      ++num_tensors;
      next = 0;
    }
    if (slabs[i].rows.first != next) fail(slabs[i].tensor, std::min(next, slabs[i].rows.first));
    next = slabs[i].rows.last;
    if ((i + 1 == slabs.size() || slabs[i + 1].tensor != slabs[i].tensor) && next != slabs[i].num_rows)
      fail(slabs[i].tensor, next);
  }
  return num_tensors;
}

std::string text_of(const CollectiveLog& log, std::size_t place) {
  if (place >= log.size()) return "its end";
  return concat(log[place].collective, " of ", log[place].bytes, " bytes in group ", log[place].group, ", its call ",
                place + 1);
}

}  // namespace

void match_calls(const std::vector<std::vector<int>>& groups, const std::vector<CollectiveLog>& logs) {
  std::vector<std::size_t> places(logs.size(), 0);
  std::vector<std::size_t> waiting(groups.size(), 0);  // ranks that have come to their group's next call
  std::vector<int> ready;
  const auto arrive = [&](int rank) {
    const auto r = static_cast<std::size_t>(rank);
    if (places[r] == logs[r].size()) return;
    const auto group = static_cast<std::size_t>(logs[r][places[r]].group);
    if (++waiting[group] == groups[group].size()) ready.push_back(static_cast<int>(group));
  };
  for (std::size_t rank = 0; rank < logs.size(); ++rank) arrive(static_cast<int>(rank));
  while (!ready.empty()) {
    const auto group = static_cast<std::size_t>(ready.back());
    ready.pop_back();
    waiting[group] = 0;
    const auto first = static_cast<std::size_t>(groups[group].front());
    for (const int rank : groups[group]) {
      const auto r = static_cast<std::size_t>(rank);
      if (logs[r][places[r]] != logs[first][places[first]])
        fail_input(concat("rank ", first, " calls ", text_of(logs[first], places[first]), ", rank ", rank, " ",
                          text_of(logs[r], places[r])),
                   "they would wait for each other for ever",
                   "this is an error of the program: please report the grid");
    }
    for (const int rank : groups[group]) ++places[static_cast<std::size_t>(rank)];
    for (const int rank : groups[group]) arrive(rank);
  }
  for (std::size_t r = 0; r < logs.size(); ++r) {
    if (places[r] == logs[r].size()) continue;
    const auto group = static_cast<std::size_t>(logs[r][places[r]].group);
    for (const int other : groups[group]) {
      const auto o = static_cast<std::size_t>(other);
      if (places[o] < logs[o].size() && logs[o][places[o]].group == logs[r][places[r]].group) continue;
      fail_input(concat("rank ", r, " waits in ", text_of(logs[r], places[r]), " for rank ", other, ", which is at ",
                        text_of(logs[o], places[o])),
                 "the run would hang", "this is an error of the program: please report the grid");
    }
  }
}

DryRun dry_run(const PlanInput& input, const ParallelOptions& parallel) {
  const auto num_ranks = static_cast<int>(input.options.ranks);
  if (parallel.shard * parallel.tensor > num_ranks || num_ranks % (parallel.shard * parallel.tensor) != 0)
    fail_input(concat("parallel.shard x parallel.tensor = ", parallel.shard, " x ", parallel.tensor,
                      " does not divide plan.ranks = ", num_ranks),
               "every rank needs a place in the grid", "choose divisors");
  const MetaMemory counting(!input.machine.on_host);
  const Groups groups(num_ranks, parallel);
  std::vector<CollectiveLog> logs(static_cast<std::size_t>(num_ranks));
  std::vector<std::vector<std::pair<std::string, std::int64_t>>> peaks(logs.size());
  std::vector<std::vector<Slab>> slabs(logs.size());
  DryRun result;
  std::atomic<int> next = 0;
  std::exception_ptr error;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (int rank = next++; rank < num_ranks; rank = next++) {
        Walk walk(input, parallel, groups, rank);
        walk.run();
        const auto r = static_cast<std::size_t>(rank);
        logs[r] = walk.log();
        peaks[r] = walk.peaks();
        slabs[r] = walk.slabs();
        if (rank == 0) result.traffic = walk.traffic();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
      next = num_ranks;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < std::max(1u, std::thread::hardware_concurrency()); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);

  match_calls(groups.members, logs);
  std::vector<Slab> all;
  for (const auto& of_rank : slabs) all.insert(all.end(), of_rank.begin(), of_rank.end());
  result.num_tensors = check_cover(std::move(all));
  for (std::size_t s = 0; s < peaks[0].size(); ++s) {
    DryStage stage{peaks[0][s].first, peaks[0][s].second, 0, 0};
    for (std::size_t r = 0; r < peaks.size(); ++r) {
      stage.fewest_bytes = std::min(stage.fewest_bytes, peaks[r][s].second);
      if (peaks[r][s].second > stage.most_bytes) {
        stage.most_bytes = peaks[r][s].second;
        stage.fullest_rank = static_cast<int>(r);
      }
    }
    result.stages.push_back(stage);
  }
  for (const CollectiveLog& log : logs) result.num_calls += std::ssize(log);
  return result;
}

}  // namespace rluf
