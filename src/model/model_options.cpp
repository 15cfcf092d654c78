#include "rluf/model/model_options.hpp"

#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {

void ModelOptions::describe(OptionTable& table) {
  table.section("model", "The model that training starts from, and how it computes.");
  table.add("base", &base, {.text = "Hugging Face folder of a Llama chat model", .allow_empty = true});
  table.add("chat_template", &chat_template,
            {.text = "how messages become tokens; auto: by the special tokens that the tokenizer has",
             .choices = {"auto", "llama3", "chatml", "plain"}});
  table.add("compute", &compute,
            {.text = "type of the matrix products; weights and moments stay f32", .choices = {"f32", "bf16"}});
  table.add("save_dtype", &save_dtype,
            {.text = "type of the weights in saved model folders", .choices = {"float32", "float16", "bfloat16"}});
}

std::unique_ptr<ModelText> load_model_text(const std::string& folder, const ModelOptions& options) {
  const std::string config_path = folder + "/config.json";
  if (!std::filesystem::exists(config_path))
    fail_input(concat("no model folder at \"", folder, "\""), "config.json is missing there", "check the path");
  const LlamaConfig config = LlamaConfig::from_json(read_json(config_path), config_path);
  Tokenizer tokenizer = Tokenizer::from_folder(folder);
  if (tokenizer.vocab_size() > config.vocab_size)
    fail_input(
        concat(folder, ": the tokenizer has ", tokenizer.vocab_size(), " ids, the model knows ", config.vocab_size),
        "ids beyond the embedding have no meaning", "use the tokenizer that belongs to the model");
  return std::make_unique<ModelText>(std::move(tokenizer), options.chat_template);
}

std::int64_t text_memory_bytes(const std::string& folder) {
  std::error_code missing;
  for (const char* name : {"/tokenizer.json", "/tokenizer.model"})
    if (const auto bytes = std::filesystem::file_size(folder + name, missing); !missing)
      return 16 * static_cast<std::int64_t>(bytes);
  return 0;
}

ModelText::ModelText(Tokenizer loaded, const std::string& template_name)
    : tokenizer(std::move(loaded)), chat(template_name, tokenizer) {}

at::ScalarType compute_type(const ModelOptions& options) {
  return options.compute == "bf16" ? at::kBFloat16 : at::kFloat;
}

}  // namespace rluf
