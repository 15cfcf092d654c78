#include "rluf/pipeline/sft/sft.hpp"

#include <torch/torch.h>

#include <cmath>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/dataset/examples.hpp"

namespace rluf {
namespace {

std::vector<Document> documents_of(const DocumentStore& store, const std::vector<std::int64_t>& examples) {
  std::vector<Document> documents;
  for (const std::int64_t i : examples) documents.push_back(store.document(i));
  return documents;
}

/// Sum over the examples of their mean negative log-probability a response token.
MicroLoss response_loss(const Llama& model, const std::vector<Document>& documents) {
  const ResponseRows response = response_rows(documents, model.device());
  const at::Tensor log_probs_R = response_token_log_probs(model, documents, response);
  at::Tensor weights_R = torch::empty({log_probs_R.size(0)}, torch::kFloat32);
  for (std::size_t d = 0; d + 1 < response.offsets.size(); ++d) {
    const auto first = response.offsets[d], last = response.offsets[d + 1];
    weights_R.slice(0, first, last).fill_(1.0 / static_cast<double>(last - first));
  }
  return {.loss_sum = -(log_probs_R * weights_R.to(model.device())).sum(), .metric_sums = {}};
}

/// Mean over the held-out documents of log p a response token.
double held_out_log_prob(const Llama& model, const DocumentStore& store, std::int64_t micro_batch_tokens,
                         const Communicator& comm) {
  std::vector<Document> documents;
  double num_tokens = 0, sum = 0;
  for (std::int64_t i = 0; i < store.size(); ++i) {
    documents.push_back(store.document(i));
    num_tokens +=
        static_cast<double>(documents.back().tokens.size()) - static_cast<double>(documents.back().response_start);
  }
  for (const double value : response_log_probs(model, documents, micro_batch_tokens, comm, "sft evaluation"))
    sum += value;
  return num_tokens > 0 ? sum / num_tokens : 0;
}

}  // namespace

void SftOptions::describe(OptionTable& table) {
  table.section("sft", "Supervised training of the reference policy on prompt and response pairs.");
  train.describe(table);
}

std::string starting_model(const std::string& wanted, const StageContext& context) {
  if (!wanted.empty()) return wanted;
  const std::string reference = context.directory.model("reference");
  if (std::filesystem::exists(reference + "/config.json")) return reference;
  if (context.model.base.empty())
    fail_input("no model to start from", "model.base is empty and the sft stage has not made models/reference",
               "set model.base to a Hugging Face folder");
  return context.model.base;
}

std::int64_t sft_memory_bytes(const SftOptions& options, const DataOptions& data, const StageContext& context) {
  const LlamaConfig config = LlamaConfig::from_folder(context.model.base);
  const std::int64_t text = text_memory_bytes(context.model.base);
  if (data.sft.empty()) return text + inference_memory_bytes(config, 0);
  return text + training_memory_bytes(config, options.train, context.grid.world.size());
}

void run_sft(const SftOptions& options, const DataOptions& data, const StageContext& context) {
  if (context.model.base.empty())
    fail_input("model.base is empty", "training needs a model to start from",
               "set it to a Hugging Face folder of a Llama model");
  const Communicator& comm = context.grid.world;
  const auto text = load_model_text(context.model.base, context.model);
  Llama model = Llama::load(context.model.base, context.device, 0, 0, context.layout());
  model.set_compute_type(compute_type(context.model));
  nlohmann::json table{{"base", context.model.base}, {"trained", !data.sft.empty()}};
  if (!data.sft.empty()) {
    const Hdf5File file = Hdf5File::open(context.directory.data("sft.h5"), comm);
    const DocumentStore train_documents(file, "train"), held_out(file, "holdout");
    const TrainPlan plan{
        .stage = "sft",
        .num_tokens = train_documents.num_tokens(),
        .seed = context.seed(),
        .identity = {
            {"base", context.model.base}, {"examples", train_documents.size()}, {"batch", options.train.global_batch}}};
    table["examples"] = train_documents.size();
    table["held_out_examples"] = held_out.size();
    const std::int64_t tokens = options.train.micro_batch_tokens;
    table["held_out_perplexity_before"] = std::exp(-held_out_log_prob(model, held_out, tokens, comm));
    const auto averages = train(
        model, plan, options.train,
        [&](const Llama& current, const std::vector<std::int64_t>& examples) {
          return response_loss(current, documents_of(train_documents, examples));
        },
        comm, context.directory);
    table["final"] = averages;
    table["held_out_perplexity_after"] = std::exp(-held_out_log_prob(model, held_out, tokens, comm));
    log_info(concat("sft: held-out perplexity a token ", table["held_out_perplexity_before"].get<double>(), " -> ",
                    table["held_out_perplexity_after"].get<double>()));
  } else {
    log_info(concat("sft: no data.sft, the reference policy is a copy of ", context.model.base));
  }
  guarded(comm, [&] {
    model.save(context.directory.model("reference"), text->tokenizer.path(), context.model.save_dtype);
    context.directory.write_table("sft", table);
  });
}

}  // namespace rluf
