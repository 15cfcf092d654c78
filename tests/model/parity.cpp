// Driver of the oracle test: parity FOLDER IDS.json OUT
// IDS.json holds documents (lists of token ids). Writes OUT/model.safetensors with the logits of each document
// ("logits/i", or "scores" for a model with heads) and the gradient of every parameter of
//   language model: the sum over documents of the mean of -log p(next token);  scores: the sum of all scores.
// parity FOLDER IDS.json OUT lora RANK ALPHA FIRST_LAYER: the same with adapters of random A and B.
// parity FOLDER IDS.json OUT NUM: continues the documents by NUM likeliest tokens each into OUT/greedy.json.
#include <mpi.h>
#include <torch/torch.h>

#include <Kokkos_Core.hpp>
#include <filesystem>
#include <iostream>

#include "rluf/io/jsonl.hpp"
#include "rluf/io/safetensors.hpp"
#include "rluf/model/generation.hpp"
#include "rluf/model/llama.hpp"

using namespace rluf;

static void run(const std::string& folder, const std::string& ids_path, const std::string& out,
                const LoraConfig& lora) {
  Llama model = Llama::load(folder, torch::kCPU);
  if (lora.rank > 0) model.add_adapters(lora, 1);
  for (const auto& [name, tensor] : model.parameters())
    if (name.find(".lora_B.") != std::string::npos)
      at::Tensor(tensor).detach().copy_(initial_weight(tensor.sizes().vec(), name, 2));
  const auto documents = read_json(ids_path).get<std::vector<std::vector<std::int32_t>>>();
  const PackedBatch batch = PackedBatch::from(documents, torch::kCPU);
  const at::Tensor hidden = model.hidden(batch);
  NamedTensors results;
  at::Tensor loss = torch::zeros({});
  if (model.config().num_scores > 0) {
    const at::Tensor scores = model.scores(hidden, batch);
    results.emplace_back("scores", scores.detach().contiguous());
    loss = scores.sum();
  } else {
    for (std::size_t d = 0; d < documents.size(); ++d) {
      const at::Tensor rows = hidden.slice(0, batch.offsets[d], batch.offsets[d + 1]);
      results.emplace_back("logits/" + std::to_string(d), model.logits(rows).detach().contiguous());
      loss = loss -
             model.log_probs(rows.slice(0, 0, -1), batch.tokens.slice(0, batch.offsets[d] + 1, batch.offsets[d + 1]))
                 .mean();
    }
  }
  loss.backward();
  for (const auto& [name, tensor] : model.parameters())
    if (tensor.requires_grad()) results.emplace_back("grad/" + name, tensor.grad().contiguous());
  std::filesystem::create_directories(out);
  write_safetensors(out, results);
  model.save(out + "/resaved", "", lora.rank > 0 ? "float32" : "bfloat16");
}

static void continue_greedily(const std::string& folder, const std::string& ids_path, const std::string& out,
                              std::int64_t num_tokens) {
  const Llama model = Llama::load(folder, torch::kCPU);
  const auto prompts = read_json(ids_path).get<std::vector<TokenIds>>();
  std::vector<std::int64_t> ids(prompts.size());
  const auto samples = generate(model, prompts, ids, {.max_new_tokens = num_tokens, .sampling = {.temperature = 0}});
  Json greedy = Json::array();
  for (const auto& of_prompt : samples) greedy.push_back(of_prompt[0].tokens);
  std::filesystem::create_directories(out);
  write_json(out + "/greedy.json", greedy);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  Kokkos::initialize(argc, argv);
  int result = 1;
  try {
    if (argc == 5) {
      continue_greedily(argv[1], argv[2], argv[3], std::stoll(argv[4]));
    } else {
      const LoraConfig lora =
          argc < 8 ? LoraConfig{} : LoraConfig{std::stoll(argv[5]), std::stod(argv[6]), std::stoll(argv[7])};
      run(argv[1], argv[2], argv[3], lora);
    }
    result = 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
  }
  Kokkos::finalize();
  MPI_Finalize();
  return result;
}
