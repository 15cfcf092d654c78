#include "rluf/pipeline/dataset/build_dataset.hpp"

#include <filesystem>
#include <iomanip>

#include "dataset_files.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rows.hpp"

namespace rluf {
namespace {

struct Input {
  const char *name, *option;
  const std::string& path;
  nlohmann::json (*build)(const std::string&, const std::string&, const BuildContext&);
};

void print_table(const std::string& name, const nlohmann::json& table, double seconds) {
  std::ostringstream out;
  out << "dataset: " << name << " in " << std::fixed << std::setprecision(1) << seconds << " s";
  for (const auto& [key, value] : table.items())
    out << "\n  " << std::left << std::setw(26) << key << std::right << std::setw(14)
        << (value.is_string() ? value.get<std::string>() : value.dump());
  log_info(out.str());
}

std::vector<Input> inputs_of(const DataOptions& options) {
  return {{"love", "interactions", options.interactions, build_love},
          {"helpfulness", "helpfulness_pairs", options.helpfulness_pairs, build_pairs},
          {"safety", "safety_pairs", options.safety_pairs, build_pairs},
          {"prompts", "prompts", options.prompts, build_prompts},
          {"sft", "sft", options.sft, build_sft}};
}

void check_context(const DataOptions& options, const std::string& folder) {
  const std::int64_t positions = LlamaConfig::from_folder(folder).max_position_embeddings;
  if (options.max_tokens > positions)
    fail_input(
        concat("data.max_tokens = ", options.max_tokens, " is more than the ", positions, " positions of ", folder),
        "longer documents could not be read", "lower data.max_tokens");
}

/// The label and the users to look at, where they come from the stage signals. Not collective.
SignalChoice choice_of(const DataOptions& options, const RunDirectory& directory) {
  if (options.interactions.empty() || (options.signal != "auto" && options.reactors == "keep")) return {};
  const SignalChoice choice = read_signal_choice(signal_choice_path(directory));
  if (options.signal == "auto" && choice.recommended.empty())
    fail_input("data.signal = auto, but no signal is recommended", choice.reason,
               "name one by data.signal, or see [signals] for what is asked of it");
  const std::string& label = options.signal == "auto" ? choice.recommended : options.signal;
  if (options.reactors != "keep" && !choice.reactors.contains(label))
    fail_input(concat("data.reactors = ", options.reactors, ": the stage signals lists nobody for \"", label, "\""),
               "it is no field of the log that was compared", "run rluf signals again, or set data.reactors = keep");
  return choice;
}

}  // namespace

std::int64_t dataset_memory_bytes(const StageContext& context) {
  // What HDF5 and the lists of rows keep in memory, what ranks send each other, and the tokenizer.
  const Communicator& world = context.grid.world;
  return (std::int64_t{24} << 20) + 4 * exchange_bytes(world) * world.size() + text_memory_bytes(context.model.base);
}

void run_dataset(const DataOptions& options, const StageContext& context) {
  const Communicator& comm = context.grid.world;
  if (context.model.base.empty())
    fail_input("model.base is empty", "texts are stored as tokens of its tokenizer", "set it to a Hugging Face folder");
  const std::vector<Input> inputs = inputs_of(options);
  std::unique_ptr<ModelText> text;
  DataOptions data = options;
  SignalChoice choice;
  guarded(comm, [&] {
    choice = choice_of(options, context.directory);
    for (const Input& input : inputs) {
      if (input.path.empty()) continue;
      std::error_code error;
      static_cast<void>(std::filesystem::file_size(input.path, error));
      if (error)
        fail_input(concat("cannot read data.", input.option, " = \"", input.path, "\""), error.message(),
                   "check the path");
    }
    check_context(options, context.model.base);
    text = load_model_text(context.model.base, context.model);
  });
  if (options.signal == "auto" && !choice.recommended.empty()) {
    data.signal = choice.recommended;
    log_info(concat("dataset: data.signal = auto is ", choice.reason));
  }
  const BuildContext build{.data = data,
                           .reactors = choice.reactors[data.signal],
                           .text = *text,
                           .comm = comm,
                           .seed = context.seed(),
                           .about = nlohmann::json{{"format", 1},
                                                   {"chat_template", text->chat.name()},
                                                   {"vocab_size", text->tokenizer.vocab_size()},
                                                   {"max_turns", options.max_turns},
                                                   {"max_tokens", options.max_tokens}}
                                        .dump()};
  nlohmann::json table = nlohmann::json::object();
  for (const Input& input : inputs) {
    if (input.path.empty()) {
      log_info(concat("dataset: no input for ", input.name, ", skipped"));
      continue;
    }
    const double start = now_seconds();
    table[input.name] = input.build(input.path, context.directory.data(std::string(input.name) + ".h5"), build);
    print_table(input.name, table[input.name], now_seconds() - start);
  }
  if (table.empty())
    fail_input("no input for the dataset stage", "every file of [data] is empty",
               "set data.interactions or another of them");
  guarded(comm, [&] { context.directory.write_table("dataset", table); });
}

}  // namespace rluf
