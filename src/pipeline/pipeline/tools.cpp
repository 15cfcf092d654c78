#include "rluf/pipeline/pipeline/tools.hpp"

#include <filesystem>
#include <fstream>
#include <iostream>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/io/safetensors.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "rluf/pipeline/signals/interaction.hpp"

namespace rluf {
namespace {

void need_operands(const std::vector<std::string>& operands, std::size_t least, const char* usage) {
  if (operands.size() < least)
    fail_input(concat("too few arguments: rluf ", usage), "the command does not know what to work on", "see --help");
}

std::vector<std::pair<std::int64_t, Json>> all_rows(const std::string& path) {
  std::vector<std::pair<std::int64_t, Json>> rows;
  for_each_row(path, 0, 1, [&](std::int64_t line, const Json& row) { rows.emplace_back(line, row); });
  if (rows.empty()) fail_data(path + " has no rows", "there is nothing to do", "check the file");
  return rows;
}

}  // namespace

void tool_tokenize(const std::vector<std::string>& operands) {
  need_operands(operands, 1, "tokenize MODEL_FOLDER [FILE]");
  const Tokenizer tokenizer = std::filesystem::is_directory(operands[0]) ? Tokenizer::from_folder(operands[0])
                                                                         : Tokenizer::from_file(operands[0]);
  std::ifstream file;
  if (operands.size() > 1) {
    file.open(operands[1], std::ios::binary);
    if (!file) fail_input(concat("cannot open ", operands[1]), "it is missing or may not be read", "check the path");
  }
  std::istream& in = operands.size() > 1 ? file : std::cin;
  std::string line, out;
  while (std::getline(in, line)) {
    out.clear();
    for (const std::int32_t id : tokenizer.encode(line)) out += concat(out.empty() ? "" : " ", id);
    std::cout << out << '\n';
  }
}

void tool_score(const RunConfig& config, const std::vector<std::string>& operands, const ProcessGrid& grid,
                at::Device device) {
  need_operands(operands, 2, "score MODEL_FOLDER FILE.jsonl");
  const RewardModel reward = RewardModel::load(operands[0], config.model, device);
  auto rows = all_rows(operands[1]);
  std::vector<Document> documents;
  const std::int64_t max_tokens = std::min(config.data.max_tokens, reward.model.config().max_position_embeddings);
  std::int64_t truncated = 0;
  for (const auto& [line, row] : rows) {
    RenderedDocument rendered =
        render_document(messages_of(row, operands[1], line), field<std::string>(row, "response", operands[1], line),
                        *reward.text, config.data.max_turns, max_tokens);
    truncated += rendered.truncated_tokens > 0 ? 1 : 0;
    documents.push_back(std::move(rendered.document));
  }
  if (truncated > 0)
    log_info(concat(truncated, " of ", rows.size(), " rows were longer than ", max_tokens,
                    " tokens and lost their oldest context"));
  const RewardScores scores =
      reward.scores(documents, config.reward.love.train.micro_batch_tokens, grid.world, "score");
  if (grid.world.rank() != 0) return;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].second["raw_score"] = scores.raw[i];
    rows[i].second["calibrated_probability"] = calibrated_probability(scores.raw[i], reward.calibration);
    if (!scores.disagreement.empty()) rows[i].second["disagreement"] = scores.disagreement[i];
    for (std::size_t head = 0; head < reward.also.size(); ++head)
      rows[i].second["also"][reward.also[head].target.name] = scores.also[head][i];
    std::cout << rows[i].second.dump() << '\n';
  }
}

void tool_generate(const RunConfig& config, const std::vector<std::string>& operands, const ProcessGrid& grid,
                   at::Device device) {
  need_operands(operands, 2, "generate MODEL_FOLDER FILE.jsonl");
  Llama model = Llama::load(operands[0], device);
  model.set_compute_type(compute_type(config.model));
  const auto text = load_model_text(operands[0], config.model);
  auto rows = all_rows(operands[1]);
  std::vector<TokenIds> prompts;
  std::vector<std::int64_t> ids;
  const std::int64_t room =
      std::min(config.data.max_tokens, model.config().max_position_embeddings) - config.policy.max_new_tokens;
  if (room < 1)
    fail_input("policy.max_new_tokens leaves no room for a prompt", "prompt and response share the context",
               "lower it");
  for (const auto& [line, row] : rows) {
    prompts.push_back(render_prompt(messages_of(row, operands[1], line), *text, config.data.max_turns, room));
    ids.push_back(static_cast<std::int64_t>(ids.size()));
  }
  const auto samples = generate_over_ranks(model, prompts, ids,
                                           {.max_new_tokens = config.policy.max_new_tokens,
                                            .num_samples = 1,
                                            .sampling = config.policy.sampling,
                                            .stop_ids = text->chat.stop_ids(),
                                            .seed = static_cast<std::uint64_t>(config.run.seed),
                                            .batching = config.policy.batching},
                                           grid.world);
  if (grid.world.rank() != 0) return;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].second["response"] = text->tokenizer.decode(samples[i][0].tokens);
    rows[i].second["finished"] = samples[i][0].finished;
    std::cout << rows[i].second.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  }
}

void tool_export(const RunConfig& config, const std::vector<std::string>& operands, const ProcessGrid& grid) {
  need_operands(operands, 2, "export MODEL_FOLDER OUT_FOLDER");
  guarded(grid.world, [&] {
    if (grid.world.rank() != 0) return;
    const std::string &from = operands[0], &to = operands[1];
    std::error_code missing;
    if (std::filesystem::equivalent(from, to, missing))
      fail_input(concat("cannot export ", from, " to itself"), "the original weights would be lost",
                 "name another folder");
    try {
      std::filesystem::create_directories(to);
    } catch (const std::filesystem::filesystem_error& error) {
      fail_input(concat("cannot write to ", to), error.code().message(), "choose a folder that you may write to");
    }
    const bool is_reward = std::filesystem::exists(from + "/rluf_reward.json");
    if (is_reward) {
      RewardModel::load(from, config.model, at::kCPU).save(to, config.model.save_dtype);
    } else {
      Llama::load(from, at::kCPU).save(to, Tokenizer::from_folder(from).path(), config.model.save_dtype);
    }
    log_info(concat("exported ", from, " to ", to, " as ", config.model.save_dtype,
                    is_reward ? ", with its calibration" : ""));
  });
}

namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const auto extent : shape) text += concat(text.empty() ? "" : " x ", extent);
  return text;
}

void print_tensor(const std::string& name, at::ScalarType type, const std::vector<std::int64_t>& shape) {
  std::cout << "  " << name << "  " << c10::toString(type) << "  " << shape_text(shape) << '\n';
}

void inspect_model(const std::string& path, const ModelOptions& options) {
  const LlamaConfig config = LlamaConfig::from_folder(path);
  const SafetensorsFolder weights(path);
  check_weights(config, weights, path);
  const auto text = load_model_text(path, options);
  std::cout << path << ": a " << (config.num_scores > 0 ? "reward" : "chat") << " model, whole; "
            << (weight_bytes(config) >> 2) << " weights, " << config.num_layers << " layers, width "
            << config.hidden_size << ", " << config.max_position_embeddings << " positions, "
            << text->tokenizer.vocab_size() << " token ids, chat template " << text->chat.name() << '\n';
  if (const std::string reward = path + "/rluf_reward.json"; std::filesystem::exists(reward))
    std::cout << "  calibration " << read_json(reward).dump() << '\n';
  for (const auto& name : weights.names()) print_tensor(name, weights.type(name), weights.shape(name));
}

}  // namespace

void tool_inspect(const RunConfig& config, const std::vector<std::string>& operands) {
  need_operands(operands, 1, "inspect FILE.h5 | MODEL_FOLDER");
  const std::string& path = operands[0];
  if (std::filesystem::is_directory(path)) return inspect_model(path, config.model);
  const Communicator self = Communicator::self();
  const Hdf5File file = Hdf5File::open(path, self);
  if (file.has("attributes/manifest")) {
    const Checkpoint checkpoint(path, self);  // verifies every checksum
    const Json& manifest = checkpoint.manifest();
    std::cout << path << ": a checkpoint of stage " << checkpoint.header().stage << " at step "
              << checkpoint.header().step << ", written on " << manifest.at("written_by").at("host").get<std::string>()
              << " by " << manifest.at("written_by").at("ranks") << " ranks; all checksums are right\n  made with "
              << checkpoint.header().identity.dump() << "\n  state " << manifest.at("state").dump() << '\n';
  } else if (file.has("attributes/about")) {
    std::cout << path << ": a data set of rluf, made with " << file.read_attribute("about") << '\n';
  } else {
    std::cout << path << ": HDF5, but neither a checkpoint nor a data set of rluf\n";
  }
  for (const auto& name : file.names()) print_tensor(name, file.type(name), file.shape(name));
}

}  // namespace rluf
