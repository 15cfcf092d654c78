#include "rluf/pipeline/dataset/build_dataset.hpp"

#include <filesystem>
#include <iomanip>

#include "dataset_files.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/dataset/examples.hpp"

namespace rluf {
namespace {

struct Input {
  const char* name;
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

}  // namespace

void run_dataset(const DataOptions& options, const StageContext& context) {
  const Communicator& comm = context.grid.world;
  if (context.model.base.empty())
    fail_input("model.base is empty", "texts are stored as tokens of its tokenizer", "set it to a Hugging Face folder");
  const Input inputs[] = {{"love", options.interactions, build_love},
                          {"helpfulness", options.helpfulness_pairs, build_pairs},
                          {"safety", options.safety_pairs, build_pairs},
                          {"prompts", options.prompts, build_prompts},
                          {"sft", options.sft, build_sft}};
  std::int64_t input_bytes = 0;
  std::unique_ptr<ModelText> text;
  guarded(comm, [&] {
    for (const Input& input : inputs) {
      if (input.path.empty()) continue;
      std::error_code error;
      const auto bytes = std::filesystem::file_size(input.path, error);
      if (error)
        fail_input(concat("cannot read data.", input.name, " = \"", input.path, "\""), error.message(),
                   "check the path");
      input_bytes = std::max(input_bytes, static_cast<std::int64_t>(bytes));
    }
    text = load_model_text(context.model.base, context.model);
  });
  const BuildContext build{.data = options,
                           .text = *text,
                           .comm = comm,
                           .seed = context.seed(),
                           .about = nlohmann::json{{"format", 1},
                                                   {"chat_template", text->chat.name()},
                                                   {"vocab_size", text->tokenizer.vocab_size()},
                                                   {"max_turns", options.max_turns},
                                                   {"max_tokens", options.max_tokens}}
                                        .dump()};
  // Packed logs hold about 400 bytes of gzip a row; each row costs 3 x 96 bytes while rows are gathered.
  const std::int64_t estimate = 3 * 96 * (input_bytes / 400) + std::min<std::int64_t>(input_bytes * 4, 256 << 20);
  log_info(concat("dataset: about ", estimate >> 20, " MiB a rank besides the program and the tokenizer"));
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
  const auto peak = static_cast<std::int64_t>(peak_memory_bytes());
  table["memory"] = {{"estimate_bytes", estimate}, {"peak_bytes", comm.all_reduce(peak, Reduce::kMax)}};
  log_info(concat("dataset: peak memory ", table["memory"]["peak_bytes"].get<std::int64_t>() >> 20, " MiB a rank"));
  guarded(comm, [&] { context.directory.write_table("dataset", table); });
}

}  // namespace rluf
