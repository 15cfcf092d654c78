#pragma once
#include <memory>
#include <string>

#include "rluf/config/option_table.hpp"
#include "rluf/model/llama.hpp"
#include "rluf/tokenizer/chat_template.hpp"

namespace rluf {

struct ModelOptions {
  std::string base = "";  ///< HF folder that training starts from
  std::string chat_template = "auto";
  std::string compute = "f32";  ///< f32 or bf16
  std::string save_dtype = "float32";
  void describe(OptionTable& table);
};

/// A model folder's tokenizer and chat template, checked against the model's vocabulary.
/// It stays where it was made: the template points to the tokenizer.
struct ModelText {
  Tokenizer tokenizer;
  ChatTemplate chat;
  ModelText(Tokenizer loaded, const std::string& template_name);
  ModelText(const ModelText&) = delete;
  ModelText& operator=(const ModelText&) = delete;
};
/// kFloat or kBFloat16, for Llama::set_compute_type.
at::ScalarType compute_type(const ModelOptions& options);
/// @throws Error(kBadInput) if the tokenizer has more ids than the model's vocabulary
std::unique_ptr<ModelText> load_model_text(const std::string& folder, const ModelOptions& options);
/// Memory of load_model_text at its peak, while the tokenizer's file is parsed. @unit bytes
std::int64_t text_memory_bytes(const std::string& folder);

/// Prompt + response as token ids, with where the response starts.
struct Document {
  TokenIds tokens;
  std::int64_t response_start = 0;
};

}  // namespace rluf
