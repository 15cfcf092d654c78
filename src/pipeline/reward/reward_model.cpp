#include "rluf/pipeline/reward/reward_model.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/model/scoring.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// A special token that no document ends in, for batches of unequal length. transformers takes the score at the last
/// token that is not padding; were the end mark the padding, it would take the token before it.
std::optional<std::string> padding_token(const ModelText& text) {
  for (const char* token : {"<|finetune_right_pad_id|>", "<pad>", "<|endoftext|>", "<|end_of_text|>", "<unk>",
                            "<|im_start|>", "<|start_header_id|>"})
    if (const auto id = text.tokenizer.special_id(token); id && *id != text.chat.stop_ids()[0]) return token;
  return std::nullopt;
}

void set_padding_of_file(const std::string& path, Json content, const std::optional<std::string>& padding) {
  content["pad_token"] = padding ? Json(*padding) : Json();
  write_json(path, content);
}

/// Makes model and tokenizer of a saved folder name the same padding. Not collective.
void set_padding(const std::string& folder, const ModelText& text) {
  const auto padding = padding_token(text);
  const std::string end_mark = text.tokenizer.decode({text.chat.stop_ids()[0]}, true);
  const std::string map = folder + "/special_tokens_map.json", settings = folder + "/tokenizer_config.json";
  if (fs::exists(map)) set_padding_of_file(map, read_json(map), padding);
  if (fs::exists(settings)) {
    set_padding_of_file(settings, read_json(settings), padding);
  } else if (fs::exists(folder + "/tokenizer.json")) {
    set_padding_of_file(settings,
                        {{"tokenizer_class", "PreTrainedTokenizerFast"},
                         {"model_input_names", {"input_ids", "attention_mask"}},
                         {"eos_token", end_mark}},
                        padding);
  }
  if (!padding)
    log_warning(concat(folder, ": the tokenizer has no special token but ", end_mark,
                       ", in which documents end: other programs must score one document at a time, without padding"));
  Json config = read_json(folder + "/config.json");
  config["pad_token_id"] = padding ? Json(*text.tokenizer.special_id(*padding)) : Json();
  write_json(folder + "/config.json", config);
}

std::string also_path(const std::string& folder) { return folder + "/rluf_also.json"; }

/// @shape rows [also.size(), hidden_size]
void write_also(const std::string& path, const std::vector<AuxiliaryHead>& also, const at::Tensor& rows) {
  Json heads = Json::array();
  for (std::size_t i = 0; i < also.size(); ++i) {
    const at::Tensor row = rows[static_cast<std::int64_t>(i)].contiguous();
    heads.push_back(also[i].to_json());
    heads.back()["weights"] = std::vector<float>(row.data_ptr<float>(), row.data_ptr<float>() + row.numel());
  }
  write_json(path, {{"heads", heads}});
}

/// @return rows [also.size(), hidden_size]
at::Tensor read_also(const std::string& path, std::int64_t hidden_size, std::vector<AuxiliaryHead>& also) {
  std::vector<float> weights;
  const Json json = read_json(path);
  try {
    for (const Json& head : json.at("heads")) {
      also.push_back(AuxiliaryHead::from_json(head));
      const auto row = head.at("weights").get<std::vector<float>>();
      weights.insert(weights.end(), row.begin(), row.end());
    }
  } catch (const Json::exception& error) {
    fail_input(concat(path, " is incomplete (", error.what(), ")"), "auxiliary heads could not be read",
               "run the reward stage again");
  }
  if (also.empty() || std::ssize(weights) != std::ssize(also) * hidden_size)
    fail_input(concat(path, ": weights do not fit a model of width ", hidden_size), "auxiliary heads could not be read",
               "run the reward stage again");
  return at::tensor(weights).reshape({std::ssize(also), hidden_size});
}

}  // namespace

std::vector<double> response_tokens(const DocumentStore& store) {
  std::vector<double> counts;
  for (std::size_t i = 0; i < store.num_tokens().size(); ++i)
    counts.push_back(static_cast<double>(store.num_tokens()[i] - store.response_starts()[i]));
  return counts;
}

std::vector<double> response_tokens(const std::vector<Document>& documents) {
  std::vector<double> counts;
  for (const Document& document : documents)
    counts.push_back(static_cast<double>(std::ssize(document.tokens) - document.response_start));
  return counts;
}

RewardScores RewardModel::combined(const std::vector<double>& heads, const std::vector<double>& tokens) const {
  const std::size_t width = heads.size() / std::max<std::size_t>(1, tokens.size()), num_heads = width - also.size();
  RewardScores scores;
  scores.also.resize(also.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const double* of_document = heads.data() + i * width;
    for (std::size_t head = 0; head < also.size(); ++head)
      scores.also[head].push_back(also[head].predicted(of_document[num_heads + head]));
    scores.raw.push_back(without_length(combined_heads(of_document, num_heads, calibration), tokens[i], calibration));
    if (num_heads > 1) scores.disagreement.push_back(disagreement(of_document, num_heads));
  }
  return scores;
}

RewardScores RewardModel::scores(const std::vector<Document>& documents, std::int64_t micro_batch_tokens,
                                 const Communicator& comm, const std::string& stage) const {
  std::vector<std::int64_t> lengths;
  for (const Document& document : documents) lengths.push_back(std::ssize(document.tokens));
  const auto read = [&](std::int64_t first, std::int64_t last) {
    std::vector<TokenIds> tokens;
    for (std::int64_t i = first; i < last; ++i) tokens.push_back(documents[static_cast<std::size_t>(i)].tokens);
    return tokens;
  };
  return combined(score_documents(model, lengths, read, micro_batch_tokens, comm, stage), response_tokens(documents));
}

RewardScores RewardModel::scores(const DocumentStore& store, std::int64_t micro_batch_tokens, const Communicator& comm,
                                 const std::string& stage) const {
  const auto read = [&](std::int64_t first, std::int64_t last) { return store.tokens(first, last); };
  return combined(score_documents(model, store.num_tokens(), read, micro_batch_tokens, comm, stage),
                  response_tokens(store));
}

RewardModel RewardModel::load(const std::string& folder, const ModelOptions& options, at::Device device,
                              const LayoutPointer& layout) {
  const std::string path = folder + "/rluf_reward.json";
  if (!fs::exists(path))
    fail_input(concat(folder, " is no reward model of rluf"),
               "rluf_reward.json, which says how scores become probabilities, is missing",
               "run the reward stage first, or name a folder that it made");
  const Json json = read_json(path);
  RewardModel reward{
      .model = Llama::load(folder, device, 0, 0, layout), .text = load_model_text(folder, options), .calibration = {}};
  try {
    reward.calibration = {.objective = json.at("objective"),
                          .kind = json.at("kind"),
                          .prior_correction = json.at("prior_correction"),
                          .scale = json.at("scale"),
                          .shift = json.at("shift"),
                          .logits = json.value("logits", std::vector<double>{}),
                          .probabilities = json.value("probabilities", std::vector<double>{}),
                          .length_slope = json.value("length_slope", 0.0),
                          .length_center = json.value("length_center", 0.0),
                          .heads = json.value("heads", "mean"),
                          .lower_deviations = json.value("lower_deviations", 1.0)};
  } catch (const Json::exception& error) {
    fail_input(concat(path, " is incomplete (", error.what(), ")"), "scores could not become probabilities",
               "run the reward stage again");
  }
  const Calibration& calibration = reward.calibration;
  if (calibration.logits.size() != calibration.probabilities.size() ||
      std::ranges::adjacent_find(calibration.logits, std::greater_equal<>()) != calibration.logits.end())
    fail_input(concat(path, ": logits do not rise, or are not as many as probabilities"),
               "scores could not become probabilities", "run the reward stage again");
  if (reward.model.config().num_scores < 1)
    fail_input(concat(folder, " has no score head"), "it is a chat model", "name a reward model's folder");
  if (const std::string also = also_path(folder); fs::exists(also)) {
    const at::Tensor rows = read_also(also, reward.model.config().hidden_size, reward.also);
    reward.model = reward.model.with_score_heads(at::cat({reward.model.score_heads().cpu(), rows}));
  }
  reward.model.set_compute_type(compute_type(options));
  return reward;
}

void RewardModel::save(const std::string& folder, const std::string& dtype) const {
  const Communicator self = Communicator::self(), &all = model.layout() ? model.layout()->grid.world : self;
  guarded(all, [&] {
    if (all.rank() != 0) return;
    fs::create_directories(folder);
    write_json(folder + "/rluf_reward.json", {{"objective", calibration.objective},
                                              {"kind", calibration.kind},
                                              {"prior_correction", calibration.prior_correction},
                                              {"scale", calibration.scale},
                                              {"shift", calibration.shift},
                                              {"logits", calibration.logits},
                                              {"probabilities", calibration.probabilities},
                                              {"length_slope", calibration.length_slope},
                                              {"length_center", calibration.length_center},
                                              {"heads", calibration.heads},
                                              {"lower_deviations", calibration.lower_deviations}});
    fs::remove(also_path(folder));  // of another training
  });
  if (also.empty()) {
    model.save(folder, text->tokenizer.path(), dtype);
  } else {
    const at::Tensor heads = model.score_heads().cpu();
    const std::int64_t num_love = heads.size(0) - std::ssize(also);
    model.with_score_heads(heads.slice(0, 0, num_love)).save(folder, text->tokenizer.path(), dtype);
    guarded(all, [&] {
      if (all.rank() == 0) write_also(also_path(folder), also, heads.slice(0, num_love));
    });
  }
  guarded(all, [&] {
    if (all.rank() == 0) set_padding(folder, *text);
  });
}

}  // namespace rluf
