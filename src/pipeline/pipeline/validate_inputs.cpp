#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/io/safetensors.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"

namespace rluf {
namespace {

/// Opens the file and looks at the fields of its first row.
void check_rows(const std::string& option, const std::string& path, const std::vector<std::string>& fields) {
  LineReader reader(path);
  std::string line;
  while (reader.next(line) && line.empty()) {
  }
  if (line.empty())
    fail_data(concat(option, " = ", path, " is empty"), "there is nothing to learn from", "check the file");
  const Json row = Json::parse(line, nullptr, false);
  if (row.is_discarded())
    fail_data(concat(path, ":", reader.line_number(), ": broken JSON"), "rows are JSON objects", "check the file");
  for (const std::string& name : fields) {
    if (name == "messages" || name == "prompt") {
      read_messages(field<Json>(row, name, path, reader.line_number()), path, reader.line_number());
    } else if (!row.contains(name)) {
      fail_data(concat(path, ":", reader.line_number(), ": the field \"", name, "\" is missing"),
                concat(option, " needs it"), "check the file");
    }
  }
  log_info(concat("  ", option, " = ", path, ": readable, first row has its fields"));
}

}  // namespace

void validate_inputs(const RunConfig& config, const ProcessGrid& grid) {
  guarded(grid.world, [&] {
    if (grid.world.rank() != 0) return;
    log_info("checking what the run needs:");
    if (config.run.simulate) {
      log_info("  data and model come from the simulated world");
    } else {
      const DataOptions& data = config.data;
      if (data.interactions.empty() && data.helpfulness_pairs.empty() && data.safety_pairs.empty())
        fail_input("no data: data.interactions, data.helpfulness_pairs and data.safety_pairs are empty",
                   "there is nothing to learn from", "set them, or run.simulate = true");
      const std::vector<std::string> pair{"prompt", "chosen", "rejected"};
      if (!data.interactions.empty())
        check_rows("data.interactions", data.interactions, {"messages", "response", "signals", "timestamp", "user_id"});
      if (!data.helpfulness_pairs.empty()) check_rows("data.helpfulness_pairs", data.helpfulness_pairs, pair);
      if (!data.safety_pairs.empty()) check_rows("data.safety_pairs", data.safety_pairs, pair);
      if (!data.prompts.empty()) check_rows("data.prompts", data.prompts, {"prompt"});
      if (!data.sft.empty()) check_rows("data.sft", data.sft, {"prompt", "response"});
      const auto text = load_model_text(config.model.base, config.model);
      const SafetensorsFolder weights(config.model.base);
      log_info(concat("  model.base = ", config.model.base, ": ", weights.names().size(), " tensors, ",
                      text->tokenizer.vocab_size(), " token ids, chat template ", text->chat.name()));
      const LlamaConfig model =
          LlamaConfig::from_json(read_json(config.model.base + "/config.json"), config.model.base + "/config.json");
      if (config.data.max_tokens > model.max_position_embeddings)
        fail_input(concat("data.max_tokens = ", config.data.max_tokens, " is more than the model's ",
                          model.max_position_embeddings, " positions"),
                   "longer documents could not be read", "lower data.max_tokens");
    }
    log_info(concat("  run.directory = ", config.run.directory, ": writable, ",
                    std::filesystem::space(config.run.directory).available >> 30, " GiB free"));
    log_info("everything that the run needs is there");
  });
}

}  // namespace rluf
