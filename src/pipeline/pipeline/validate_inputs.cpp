#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/io/safetensors.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/dataset/pair_layouts.hpp"
#include "rluf/pipeline/evaluation/candidates.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"
#include "rluf/pipeline/signals/interaction.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// Rows looked at in each file; the dataset stage looks at all.
constexpr std::int64_t kRowsChecked = 20;

class InputCheck {
 public:
  InputCheck(const RunConfig& config, const std::string& command, const Layout& layout)
      : config_(config), command_(command), layout_(layout) {}

  void directory() const {
    fs::path existing = fs::absolute(config_.run.directory);
    while (!fs::exists(existing) && existing.has_parent_path() && existing != existing.parent_path())
      existing = existing.parent_path();
    if (!fs::is_directory(existing) || ::access(existing.c_str(), W_OK) != 0)
      fail_input(concat("cannot write to run.directory = ", config_.run.directory),
                 concat(existing.string(), fs::is_directory(existing) ? " may not be written to" : " is no directory"),
                 "choose a directory that you may write to");
    say(concat("run.directory = ", config_.run.directory, ": writable, ", fs::space(existing).available >> 30,
               " GiB free"));
  }

  void interactions() const {
    rows("data.interactions", config_.data.interactions, {"messages", "response", "signals", "timestamp", "user_id"});
  }

  void data() const {
    const DataOptions& data = config_.data;
    interactions();
    pairs("data.helpfulness_pairs", data.helpfulness_pairs);
    pairs("data.safety_pairs", data.safety_pairs);
    rows("data.prompts", data.prompts, {"prompt"});
    rows("data.sft", data.sft, {"prompt", "response"});
    if (command_ == "dataset" && data.interactions.empty() && data.helpfulness_pairs.empty() &&
        data.safety_pairs.empty() && data.prompts.empty() && data.sft.empty())
      fail_input("no input for the dataset stage", "every file of [data] is empty",
                 "set data.interactions or another of them");
    model("model.base", config_.model.base, true);
  }

  /// A model folder: config, headers of all weights, tokenizer, chat template. `is_chat` also wants room for documents.
  void model(const std::string& option, const std::string& folder, bool is_base) const {
    if (is_made_later(folder)) return;
    if (folder.empty()) fail_input(option + " is empty", "the run needs a model", "set it to a Hugging Face folder");
    const LlamaConfig llama = LlamaConfig::from_folder(folder);
    check_layout(llama, layout_);
    const auto text = load_model_text(folder, config_.model);
    const SafetensorsFolder weights(folder);
    check_weights(llama, weights, folder);
    if (is_base && config_.data.max_tokens > llama.max_position_embeddings)
      fail_input(concat("data.max_tokens = ", config_.data.max_tokens, " is more than the ",
                        llama.max_position_embeddings, " positions of ", folder),
                 "longer documents could not be read", "lower data.max_tokens");
    say(concat(option, " = ", folder, ": ", weights.names().size(), " tensors, ", text->tokenizer.vocab_size(),
               " token ids, chat template ", text->chat.name()));
  }

  void reward_base(const std::string& option, const std::string& folder) const {
    if (!folder.empty()) model(option, folder, true);
  }

  void candidates() const {
    const DataOptions& data = config_.data;
    if (data.candidates.empty() || is_made_later(data.candidates)) return;
    const CandidateSet set = read_responses(find_candidates(data.candidates), config_.evaluate.max_prompts);
    for (const Candidate& candidate : set.candidates)
      if (candidate.is_model) model("data.candidates", candidate.path, false);
    say(concat("data.candidates = ", data.candidates, ": ", set.candidates.size(), " candidates, ", set.prompts.size(),
               " prompts"));
    if (!data.online.empty() && !is_made_later(data.online))
      say(concat("data.online = ", data.online, ": values of ", read_online(data.online).size(), " candidates"));
  }

  /// What an earlier stage makes, where this command does not run that stage.
  void made(const std::string& path, const std::string& stage) const {
    const std::string whole = config_.run.directory + "/" + path;
    if (!fs::exists(whole))
      fail_input(concat(whole, " is missing"), concat("the stage ", command_, " reads it"),
                 concat("run the stage ", stage, " first, or check run.directory"));
    if (path.ends_with(".h5")) Hdf5File::open(whole, Communicator::self());
    if (path.starts_with("models/")) model(path, whole, false);
    if (!path.starts_with("models/")) say(concat(whole, ": there"));
  }
  bool is_there(const std::string& path) const { return fs::exists(config_.run.directory + "/" + path); }

  void say(const std::string& text) const { log_info("  " + text); }

 private:
  /// Files of the simulated world that the run itself will make.
  bool is_made_later(const std::string& path) const {
    return config_.run.simulate && path.starts_with(config_.run.directory + "/world/") && !fs::exists(path);
  }

  void pairs(const std::string& option, const std::string& path) const {
    if (path.empty() || is_made_later(path)) return;
    const PairLayout layout = layout_of_file(path);
    look_at_rows(option, path, [&](std::int64_t number, const Json& row) {
      if (is_unpaired(layout)) {
        read_rated(row, layout, path, number);
      } else {
        read_pair(row, layout, path, number);
      }
    });
  }

  void rows(const std::string& option, const std::string& path, const std::vector<std::string>& fields) const {
    if (path.empty() || is_made_later(path)) return;
    look_at_rows(option, path,
                 [&](std::int64_t number, const Json& row) { check_fields(option, path, number, row, fields); });
  }

  void look_at_rows(const std::string& option, const std::string& path,
                    const std::function<void(std::int64_t, const Json&)>& check) const {
    LineReader reader(path);
    std::string line;
    std::int64_t checked = 0;
    while (checked < kRowsChecked && reader.next(line)) {
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      const Json row = Json::parse(line, nullptr, false);
      if (row.is_discarded() || !row.is_object())
        fail_data(concat(path, ":", reader.line_number(), ": broken JSON"), "rows are JSON objects", "check the file");
      check(reader.line_number(), row);
      ++checked;
    }
    if (checked == 0)
      fail_data(concat(option, " = ", path, " is empty"), "there is nothing to learn from", "check the file");
    say(concat(option, " = ", path, ": readable, the first ", checked, " rows have their fields"));
  }

  void check_fields(const std::string& option, const std::string& path, std::int64_t number, const Json& row,
                    const std::vector<std::string>& fields) const {
    for (const std::string& name : fields) {
      if (name == "messages" || name == "prompt") {
        messages_of(row, path, number);
        if (option == "data.prompts") read_constraints(row, path, number);
      } else if (name == "signals") {
        const Json signals = field<Json>(row, name, path, number);
        const bool any = command_ == "signals" || config_.data.signal == "auto";
        if (!signals.is_object() || (!any && !signals.contains(config_.data.signal)))
          fail_data(concat(path, ":", number, ": signals has no field \"", config_.data.signal, "\""),
                    concat(option, " needs it as data.signal"), "check the file, or choose another data.signal");
      } else if (name == "timestamp" || name == "user_id") {
        field<Json>(row, name, path, number);
      } else {
        field<std::string>(row, name, path, number);
      }
    }
  }

  const RunConfig& config_;
  const std::string& command_;
  const Layout& layout_;
};

/// What each stage reads, apart from what the same command makes before it.
void check_command(const RunConfig& config, const std::string& command, const InputCheck& check) {
  const bool whole = command == "run";
  if (command == "signals") check.interactions();
  if (whole || command == "dataset") check.data();
  if (command == "dataset" && (config.data.signal == "auto" || config.data.reactors != "keep"))
    check.made("data/signals.json", "signals");
  if (command == "sft") {
    check.model("model.base", config.model.base, true);
    if (!config.data.sft.empty()) check.made("data/sft.h5", "dataset");
  }
  if (whole || command == "reward") {
    check.reward_base("love.base", config.reward.love.base);
    check.reward_base("helpfulness.base", config.reward.helpfulness.base);
    check.reward_base("safety.base", config.reward.safety.base);
  }
  if (command == "reward") {
    if (!check.is_there("models/reference")) check.model("model.base", config.model.base, true);
    for (const char* name : {"love", "helpfulness", "safety"})
      if (config.reward.objective == name ||
          (config.reward.objective == "all" && check.is_there(concat("data/", name, ".h5"))))
        check.made(concat("data/", name, ".h5"), "dataset");
    if (config.reward.objective == "all" && !check.is_there("data/love.h5") && !check.is_there("data/helpfulness.h5") &&
        !check.is_there("data/safety.h5"))
      check.made("data/love.h5", "dataset");
  }
  if (whole || command == "evaluate") {
    check.candidates();
    if (!config.evaluate.log.arm_field.empty()) check.interactions();
    if (!config.evaluate.love_model.empty()) check.model("evaluate.love_model", config.evaluate.love_model, false);
  }
  if (command == "evaluate" && config.evaluate.love_model.empty() && !config.data.candidates.empty())
    check.made("models/love", "reward");
  if ((whole || command == "policy") && !config.policy.base.empty())
    check.model("policy.base", config.policy.base, true);
  if (whole || command == "policy") {
    for (const auto& [name, judge] : config.policy.judges.used())
      if (judge.kind != "external" && !judge.model.starts_with(config.run.directory + "/models/"))
        check.model(concat("judge.", name, ".model"), judge.model, false);
  }
  if (whole || command == "policy")
    for (const std::string& folder : config.policy.witnesses) check.model("policy.witnesses", folder, false);
  if (command == "policy") {
    check.made("data/prompts.h5", "dataset");
    if (config.policy.helpfulness_weight > 0) check.made("models/helpfulness", "reward");
    if (config.policy.safety_weight > 0) check.made("models/safety", "reward");
    for (const double weight : config.policy.love_weights)
      if (weight > 0) return check.made("models/love", "reward");
  }
  if (command == "validate") check.made("models/reference", "sft");
  if (command == "report") check.made("tables/run.json", "run");
}

}  // namespace

void validate_inputs(const RunConfig& config, const std::string& command, const ProcessGrid& grid) {
  guarded(grid.world, [&] {
    if (grid.world.rank() != 0) return;
    log_info(concat("checking what ", command, " needs:"));
    const LayoutPointer layout = make_layout(config.parallel, grid);
    const InputCheck check(config, command, *layout);
    check.directory();
    check_command(config, command, check);
    log_info(concat("everything that ", command, " needs is there"));
  });
}

}  // namespace rluf
