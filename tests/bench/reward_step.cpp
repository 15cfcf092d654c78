// reward_step FOLDER BATCHES.json LEARNING_RATE MICRO_BATCH_TOKENS: Bradley-Terry steps on given pairs.
// BATCHES.json: [step][pair][chosen, rejected] token ids. Each line of the input asks for the next step, so that steps
// can alternate with a peer's; the answer is {"loss", "seconds", "peak_mib"}.
#include <mpi.h>
#include <torch/torch.h>

#include <Kokkos_Core.hpp>
#include <iostream>

#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/reward/losses.hpp"

using namespace rluf;
using Pairs = std::vector<std::array<std::vector<std::int32_t>, 2>>;

static at::Tensor scores_of(const Llama& model, const std::vector<std::vector<std::int32_t>>& documents) {
  const PackedBatch batch = PackedBatch::from(documents, model.device());
  return model.scores(model.hidden(batch), batch);
}

static void run(char** argv) {
  Llama model = Llama::load(argv[1], torch::kCPU);
  const auto batches = read_json(argv[2]).get<std::vector<Pairs>>();
  TrainOptions options;
  options.micro_batch_tokens = std::stoll(argv[4]);
  const Communicator self = Communicator::self();
  AdamW optimizer(model, options, self);
  std::string line;
  for (const Pairs& pairs : batches) {
    if (!std::getline(std::cin, line)) return;
    const double start = now_seconds();
    std::vector<std::int64_t> lengths;
    for (const auto& pair : pairs) lengths.push_back(static_cast<std::int64_t>(pair[0].size() + pair[1].size()));
    std::vector<std::vector<std::int64_t>> micro_batches;
    for (const PackRange& range : pack_ranges(lengths, options.micro_batch_tokens)) {
      micro_batches.emplace_back();
      for (std::int64_t i = range.first; i < range.last; ++i) micro_batches.back().push_back(i);
    }
    const auto loss = [&](const Llama& trained, const std::vector<std::int64_t>& examples) {
      std::vector<std::vector<std::int32_t>> documents;
      for (const int side : {0, 1})
        for (const std::int64_t i : examples)
          documents.push_back(pairs[static_cast<std::size_t>(i)][static_cast<std::size_t>(side)]);
      const auto count = static_cast<std::int64_t>(examples.size());
      const at::Tensor scores = scores_of(trained, documents);
      return MicroLoss{bradley_terry_sum(scores.slice(0, 0, count), scores.slice(0, count), torch::zeros({count}), 0.0),
                       {}};
    };
    const StepResult step =
        train_step(model, optimizer, micro_batches, static_cast<double>(pairs.size()), std::stod(argv[3]), loss, self);
    std::cout << Json{{"loss", step.loss}, {"seconds", now_seconds() - start}, {"peak_mib", peak_memory_bytes() >> 20}}
              << std::endl;
  }
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  MPI_Init(&argc, &argv);
  int result = 1;
  {
    const Kokkos::ScopeGuard kokkos(argc, argv);
    try {
      run(argv);
      result = 0;
    } catch (const std::exception& error) {
      std::cerr << error.what() << '\n';
    }
  }
  MPI_Finalize();
  return result;
}
