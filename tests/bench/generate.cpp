// generate MODEL_FOLDER f32|bf16: a process that waits for work, so that its runs can alternate with a peer's.
// Each line of the input is {"prompts": [[ids]], "samples": n, "tokens": n, "temperature": t, "seed": n}; nothing ends
// a response but its length, or one of "stop_ids"; "prompts_per_batch" and "prefill_tokens" as in the options. Each
// line of the output: {"seconds", "tokens": [prompt][sample][ids], "log_probs"}.
#include <mpi.h>
#include <torch/torch.h>

#include <Kokkos_Core.hpp>
#include <iostream>

#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/model/generation.hpp"

using namespace rluf;

static Json answer(const Llama& model, const Json& request) {
  const auto prompts = request.at("prompts").get<std::vector<TokenIds>>();
  std::vector<std::int64_t> prompt_ids;
  for (std::size_t p = 0; p < prompts.size(); ++p) prompt_ids.push_back(static_cast<std::int64_t>(p));
  GenerationOptions options;
  options.max_new_tokens = request.at("tokens");
  options.num_samples = request.at("samples");
  options.sampling.temperature = request.at("temperature");
  options.seed = request.at("seed");
  options.stop_ids = request.value("stop_ids", std::vector<std::int32_t>());
  options.batching.prompts_per_batch = request.value("prompts_per_batch", static_cast<std::int64_t>(prompts.size()));
  options.batching.prefill_tokens = request.value("prefill_tokens", options.batching.prefill_tokens);
  const double start = now_seconds();
  const auto samples = generate(model, prompts, prompt_ids, options);
  Json result{{"seconds", now_seconds() - start}, {"tokens", Json::array()}, {"log_probs", Json::array()}};
  for (const auto& of_prompt : samples) {
    Json tokens = Json::array(), log_probs = Json::array();
    for (const Sample& sample : of_prompt) {
      tokens.push_back(sample.tokens);
      log_probs.push_back(sample.log_probs);
    }
    result["tokens"].push_back(tokens);
    result["log_probs"].push_back(log_probs);
  }
  return result;
}

static void run(const std::string& folder, const std::string& type) {
  const torch::NoGradGuard no_grad;
  Llama model = Llama::load(folder, torch::kCPU);
  model.set_compute_type(type == "bf16" ? torch::kBFloat16 : torch::kFloat32);
  model = model.for_inference();
  for (std::string line; std::getline(std::cin, line);) std::cout << answer(model, Json::parse(line)) << std::endl;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  MPI_Init(&argc, &argv);
  int result = 1;
  {
    const Kokkos::ScopeGuard kokkos(argc, argv);
    try {
      run(argv[1], argv[2]);
      result = 0;
    } catch (const std::exception& error) {
      std::cerr << error.what() << '\n';
    }
  }
  MPI_Finalize();
  return result;
}
