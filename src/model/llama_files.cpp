// Llama as a Hugging Face folder: config.json, safetensors, generation_config.json, tokenizer.
#include <torch/torch.h>

#include <filesystem>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/io/safetensors.hpp"
#include "rluf/model/llama.hpp"

namespace rluf {
namespace {

/// A member of config.json with a readable error if it has another type than expected.
template <class T>
T config_value(const Json& config, const char* key, T fallback, const std::string& path) {
  if (!config.contains(key) || config[key].is_null()) return fallback;
  try {
    return config[key].get<T>();
  } catch (const Json::exception&) {
    fail_input(concat(path, ": \"", key, "\" has the wrong type"), "the model's shape would be a guess",
               "repair the file");
  }
}

template <class T>
T required_value(const Json& config, const char* key, const std::string& path) {
  if (!config.contains(key))
    fail_input(concat(path, ": \"", key, "\" is missing"), "the model's shape is unknown",
               "name the folder of a Llama model");
  return config_value<T>(config, key, T{}, path);
}

void check_positive(std::int64_t value, const char* key, const std::string& path) {
  if (value <= 0 || value > (std::int64_t{1} << 40))
    fail_input(concat(path, ": \"", key, "\" is ", value), "it must be a positive count", "repair the file");
}

at::ScalarType dtype_of(const std::string& name) {
  if (name == "float32") return torch::kFloat32;
  if (name == "float16") return torch::kFloat16;
  if (name == "bfloat16") return torch::kBFloat16;
  fail_input(concat("dtype \"", name, "\" is unknown"), "weights are stored as float32, float16 or bfloat16",
             "choose one of them");
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += concat(i ? ", " : "", shape[i]);
  return text + "]";
}

}  // namespace

LlamaConfig LlamaConfig::from_json(const Json& json, const std::string& path) {
  if (!json.is_object())
    fail_input(path + " is not a JSON object", "it must describe a model", "name a Hugging Face model folder");
  const std::string type = config_value<std::string>(json, "model_type", "llama", path);
  if (type != "llama")
    fail_input(concat(path, " describes a model of type ", type), "only Llama models are supported",
               "name a Llama folder");
  if (config_value(json, "attention_bias", false, path) || config_value(json, "mlp_bias", false, path))
    fail_input(path + " asks for biases", "Llama models with biases are not supported", "name another model");
  const std::string activation = config_value<std::string>(json, "hidden_act", "silu", path);
  if (activation != "silu")
    fail_input(concat(path, " asks for activation ", activation), "only silu is supported", "name another model");

  LlamaConfig config;
  config.vocab_size = required_value<std::int64_t>(json, "vocab_size", path);
  config.hidden_size = required_value<std::int64_t>(json, "hidden_size", path);
  config.intermediate_size = required_value<std::int64_t>(json, "intermediate_size", path);
  config.num_layers = required_value<std::int64_t>(json, "num_hidden_layers", path);
  config.num_heads = required_value<std::int64_t>(json, "num_attention_heads", path);
  config.num_kv_heads = config_value<std::int64_t>(json, "num_key_value_heads", config.num_heads, path);
  check_positive(config.vocab_size, "vocab_size", path);
  check_positive(config.hidden_size, "hidden_size", path);
  check_positive(config.intermediate_size, "intermediate_size", path);
  check_positive(config.num_layers, "num_hidden_layers", path);
  check_positive(config.num_heads, "num_attention_heads", path);
  check_positive(config.num_kv_heads, "num_key_value_heads", path);
  config.head_dim = config_value<std::int64_t>(json, "head_dim", config.hidden_size / config.num_heads, path);
  check_positive(config.head_dim, "head_dim", path);
  config.max_position_embeddings = config_value<std::int64_t>(json, "max_position_embeddings", 2048, path);
  check_positive(config.max_position_embeddings, "max_position_embeddings", path);
  if (config.num_heads % config.num_kv_heads != 0 || config.head_dim % 2 != 0)
    fail_input(path + ": heads do not divide evenly",
               "query heads share key/value heads in equal groups and head_dim is even", "repair the file");
  config.rms_norm_eps = config_value(json, "rms_norm_eps", 1e-5, path);
  config.tie_word_embeddings = config_value(json, "tie_word_embeddings", false, path);
  config.torch_dtype =
      config_value<std::string>(json, "dtype", config_value<std::string>(json, "torch_dtype", "float32", path), path);
  config.bos_token_id = config_value<std::int32_t>(json, "bos_token_id", -1, path);
  if (json.contains("eos_token_id") && json["eos_token_id"].is_array()) {
    config.eos_token_ids = config_value<std::vector<std::int32_t>>(json, "eos_token_id", {}, path);
  } else if (json.contains("eos_token_id") && !json["eos_token_id"].is_null()) {
    config.eos_token_ids = {config_value<std::int32_t>(json, "eos_token_id", -1, path)};
  }
  // transformers 5 moved the rotary settings into one object; older files spread them out.
  Json rope = json.contains("rope_parameters") ? json["rope_parameters"]
                                               : config_value<Json>(json, "rope_scaling", Json(), path);
  if (!rope.is_object()) rope = Json::object();
  config.rope_theta = config_value(rope, "rope_theta", config_value(json, "rope_theta", 10000.0, path), path);
  const std::string rope_type =
      config_value<std::string>(rope, "rope_type", config_value<std::string>(rope, "type", "default", path), path);
  if (rope_type == "llama3") {
    RopeScaling scaling;
    scaling.factor = required_value<double>(rope, "factor", path);
    scaling.low_freq_factor = required_value<double>(rope, "low_freq_factor", path);
    scaling.high_freq_factor = required_value<double>(rope, "high_freq_factor", path);
    scaling.original_max_position_embeddings =
        required_value<std::int64_t>(rope, "original_max_position_embeddings", path);
    config.rope_scaling = scaling;
  } else if (rope_type != "default") {
    fail_input(concat(path, " asks for rotary scaling \"", rope_type, "\""), "only default and llama3 are supported",
               "name another model");
  }
  const auto architectures = config_value<std::vector<std::string>>(json, "architectures", {}, path);
  if (!architectures.empty() && architectures[0] == "LlamaForSequenceClassification")
    config.num_scores = json.contains("id2label") ? static_cast<std::int64_t>(json["id2label"].size())
                                                  : config_value<std::int64_t>(json, "num_labels", 2, path);
  return config;
}

LlamaConfig LlamaConfig::from_folder(const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!std::filesystem::exists(path))
    fail_input(concat(folder, " holds no config.json"), "it is not a model folder",
               "name a Hugging Face folder of a Llama model");
  return from_json(read_json(path), path);
}

Json LlamaConfig::to_json() const {
  Json rope{{"rope_theta", rope_theta}, {"rope_type", rope_scaling ? "llama3" : "default"}};
  if (rope_scaling) {
    rope["factor"] = rope_scaling->factor;
    rope["low_freq_factor"] = rope_scaling->low_freq_factor;
    rope["high_freq_factor"] = rope_scaling->high_freq_factor;
    rope["original_max_position_embeddings"] = rope_scaling->original_max_position_embeddings;
  }
  Json json{{"architectures", {num_scores > 0 ? "LlamaForSequenceClassification" : "LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"vocab_size", vocab_size},
            {"hidden_size", hidden_size},
            {"intermediate_size", intermediate_size},
            {"num_hidden_layers", num_layers},
            {"num_attention_heads", num_heads},
            {"num_key_value_heads", num_kv_heads},
            {"head_dim", head_dim},
            {"max_position_embeddings", max_position_embeddings},
            {"rms_norm_eps", rms_norm_eps},
            {"hidden_act", "silu"},
            {"attention_bias", false},
            {"mlp_bias", false},
            {"tie_word_embeddings", tie_word_embeddings},
            {"rope_parameters", rope},
            {"rope_theta", rope_theta},  // read by transformers before version 5 and by other programs
            {"rope_scaling", rope_scaling ? rope : Json()},
            {"torch_dtype", torch_dtype}};
  if (num_scores > 0) {
    for (std::int64_t i = 0; i < num_scores; ++i) {
      json["id2label"][std::to_string(i)] = concat("LABEL_", i);
      json["label2id"][concat("LABEL_", i)] = i;
    }
  }
  if (bos_token_id >= 0) json["bos_token_id"] = bos_token_id;
  if (eos_token_ids.size() == 1) json["eos_token_id"] = eos_token_ids[0];
  if (eos_token_ids.size() > 1) json["eos_token_id"] = eos_token_ids;
  if (!eos_token_ids.empty()) json["pad_token_id"] = eos_token_ids[0];  // transformers wants one to find the last token
  return json;
}

void check_weights(const LlamaConfig& config, const SafetensorsFolder& files, const std::string& folder) {
  std::set<std::string> used{"lm_head.weight", "score.weight"};  // a head that this model does not use does no harm
  for (const auto& [name, shape] : parameter_shapes(config)) {
    if (!files.has(name)) {
      if (name == "score.weight") continue;  // a fresh head on a chat model
      fail_input(concat(folder, " lacks the tensor ", name), "config.json asks for it",
                 "download or export the model again");
    }
    if (files.shape(name) != shape)
      fail_input(concat(folder, ": tensor ", name, " has the shape ", shape_text(files.shape(name)), ", not ",
                        shape_text(shape)),
                 "config.json and the weights belong to different models", "download or export the model again");
    used.insert(name);
  }
  for (const std::string& name : files.names())
    if (!used.contains(name) && !name.ends_with("rotary_emb.inv_freq"))
      fail_input(concat(folder, " holds the unexpected tensor ", name), "it would be ignored in silence",
                 "name a plain Llama model");
}

Llama Llama::load(const std::string& folder, at::Device device, std::int64_t num_scores, std::uint64_t seed,
                  const LayoutPointer& layout) {
  const Communicator self = Communicator::self(), &all = layout ? layout->grid.world : self;
  LlamaConfig config;
  std::optional<SafetensorsFolder> files;
  std::optional<Llama> model;
  guarded(all, [&] {
    config = LlamaConfig::from_folder(folder);
    if (num_scores > 0) config.num_scores = num_scores;
    files.emplace(folder);
    check_weights(config, *files, folder);
    model.emplace(Llama(config, device, layout));
  });
  // Ranks that hold the same: the first of them reads.
  const Communicator& twins = layout ? twins_of(*layout) : self;
  for (const auto& [name, shape] : parameter_shapes(config)) {
    const Placement& placement = model->placements_[model->parameters_.size()];
    const bool is_new = !files->has(name);
    at::Tensor kept;
    guarded(all, [&] {
      if (is_new) {
        kept = placement.kept_part(initial_weight(shape, name, seed));
      } else if (twins.rank() == 0) {
        kept = placement.kept_columns(files->read_rows(name, placement.kept_rows())).to(torch::kFloat32).contiguous();
      } else {
        kept = torch::empty(placement.kept_part(at::empty(shape, torch::kMeta)).sizes());
      }
    });
    if (!is_new) twins.broadcast(kept, 0);
    model->add_parameter(name, kept);
  }
  return std::move(*model);
}

void Llama::write_parameters(const std::string& folder, const std::string& stem,
                             const std::vector<TensorHeader>& headers, const std::vector<std::size_t>& indices) const {
  const Communicator self = Communicator::self(), &all = layout_ ? layout_->grid.world : self;
  const auto stored = [&](std::size_t i) {
    return whole_parameter(indices[i]).to(torch::kCPU, headers[i].type).contiguous();
  };
  std::exception_ptr error;
  std::size_t next = 0;
  if (all.rank() == 0) {
    try {
      write_safetensors(
          folder, headers,
          [&](std::size_t i) {
            next = i + 1;
            return stored(i);
          },
          5'000'000'000, stem);
    } catch (...) {
      error = std::current_exception();
    }
  }
  for (; next < headers.size(); ++next) stored(next);  // other ranks, and rank 0 after an error, help to the end
  guarded(all, [&] {
    if (error) std::rethrow_exception(error);
  });
}

void Llama::save_adapters(const std::string& folder) const {
  const Communicator self = Communicator::self(), &all = layout_ ? layout_->grid.world : self;
  std::vector<TensorHeader> headers;
  std::vector<std::size_t> indices;
  std::set<std::string> targets;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, tensor] = parameters_[i];
    if (!is_trained(name, config_, -1)) continue;
    headers.push_back({"base_model.model." + name, placements_[i].shape, torch::kFloat32});
    indices.push_back(i);
    const auto end = name.find(".lora_");
    if (end != std::string::npos) targets.insert(name.substr(0, end).substr(name.rfind('.', end - 1) + 1));
  }
  write_parameters(folder, "adapter_model", headers, indices);
  const bool scores = config_.num_scores > 0;
  Json layers = Json::array();
  for (std::int64_t layer = config_.lora.first_layer; layer < config_.num_layers; ++layer) layers.push_back(layer);
  guarded(all, [&] {
    if (all.rank() == 0)
      write_json(folder + "/adapter_config.json", {{"peft_type", "LORA"},
                                                   {"task_type", scores ? "SEQ_CLS" : "CAUSAL_LM"},
                                                   {"r", config_.lora.rank},
                                                   {"lora_alpha", config_.lora.alpha},
                                                   {"lora_dropout", 0.0},
                                                   {"bias", "none"},
                                                   {"fan_in_fan_out", false},
                                                   {"inference_mode", true},
                                                   {"target_modules", targets},
                                                   {"layers_to_transform", layers},
                                                   {"modules_to_save", scores ? Json{"score"} : Json()},
                                                   {"base_model_name_or_path", nullptr}});
  });
}

void Llama::save(const std::string& folder, const std::string& tokenizer_path, const std::string& dtype) const {
  namespace fs = std::filesystem;
  const Communicator self = Communicator::self(), &all = layout_ ? layout_->grid.world : self;
  const at::ScalarType type = dtype_of(dtype);
  LlamaConfig stored_config = config_;
  stored_config.torch_dtype = dtype;
  stored_config.lora = {};
  std::vector<TensorHeader> headers;
  std::vector<std::size_t> indices;
  for (const auto& [name, shape] : parameter_shapes(stored_config)) {
    indices.push_back(headers.size());
    headers.push_back({name, shape, type});
  }
  const std::string adapter = folder + "/adapter";
  guarded(all, [&] {
    if (all.rank() != 0) return;
    fs::create_directories(folder);
    fs::remove_all(adapter);  // of another training
  });
  write_parameters(folder, "model", headers, indices);
  if (config_.lora.rank > 0) save_adapters(adapter);
  guarded(all, [&] {
    if (all.rank() != 0) return;
    if (!tokenizer_path.empty()) {
      const fs::path source = fs::path(tokenizer_path), source_folder = source.parent_path();
      for (const fs::path& file : {source, source_folder / "tokenizer_config.json",
                                   source_folder / "special_tokens_map.json", source_folder / "chat_template.jinja"})
        if (fs::exists(file) && !fs::equivalent(source_folder, folder))
          fs::copy_file(file, fs::path(folder) / file.filename(), fs::copy_options::overwrite_existing);
    }
    if (config_.num_scores == 0) {
      Json generation{{"_from_model_config", true}};
      if (config_.bos_token_id >= 0) generation["bos_token_id"] = config_.bos_token_id;
      if (!config_.eos_token_ids.empty()) generation["eos_token_id"] = config_.eos_token_ids;
      write_json(folder + "/generation_config.json", generation);
    }
    write_json(folder + "/config.json", stored_config.to_json());  // last: a folder with it is complete
  });
}

}  // namespace rluf
