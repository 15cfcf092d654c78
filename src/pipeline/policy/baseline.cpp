#include "rluf/pipeline/policy/baseline.hpp"

#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"

namespace rluf {

std::vector<Sample> draw_baselines(const Llama& reference, const std::vector<Prompt>& prompts,
                                   const PolicyOptions& options, const std::vector<std::int32_t>& stop_ids,
                                   std::uint64_t seed, const Communicator& data) {
  GenerationOptions generation = options.generation();
  generation.num_samples = 1;
  generation.stop_ids = stop_ids;
  generation.seed = seed;
  // In groups, each long enough that its end, where some have nothing to do, is short.
  const auto group = static_cast<std::size_t>(options.batching.prompts_per_batch * 64 * data.size());
  std::vector<Sample> baselines;
  Progress progress("policy baseline", "prompts", static_cast<long>(prompts.size()));
  for (std::size_t first = 0; first < prompts.size(); first += group) {
    std::vector<TokenIds> tokens;
    std::vector<std::int64_t> ids;
    for (std::size_t i = first; i < std::min(prompts.size(), first + group); ++i) {
      tokens.push_back(prompts[i].tokens);
      ids.push_back(prompts[i].id);
    }
    for (auto& samples : generate_over_ranks(reference, tokens, ids, generation, data))
      baselines.push_back(std::move(samples.at(0)));
    progress.update(static_cast<long>(baselines.size()));
  }
  return baselines;
}

std::int64_t use_preferred_answers(const std::string& pairs_path, const std::vector<Prompt>& prompts,
                                   std::vector<Sample>& baselines, const Communicator& data) {
  const PairData pairs(pairs_path, Split::kTrain, data);
  std::map<TokenIds, std::size_t> by_tokens;
  for (std::size_t i = 0; i < prompts.size(); ++i) by_tokens.emplace(prompts[i].tokens, i);
  std::map<std::size_t, bool> found;
  guarded(data, [&] {
    for (std::int64_t p = 0; p < pairs.chosen().size(); ++p) {
      const Document document = pairs.chosen().document(p);
      const auto start = document.tokens.begin() + document.response_start;
      const auto match = by_tokens.find(TokenIds(document.tokens.begin(), start));
      if (match == by_tokens.end() || found.contains(match->second)) continue;  // the first pair of a prompt counts
      found[match->second] = true;
      baselines[match->second] = Sample{TokenIds(start, document.tokens.end()), {}, true};
    }
  });
  return static_cast<std::int64_t>(found.size());
}

void write_baselines(const std::string& path, const nlohmann::json& identity, const std::vector<Prompt>& prompts,
                     const std::vector<Sample>& baselines, const std::vector<std::string>& texts,
                     const Communicator& data) {
  guarded(data, [&] {
    if (data.rank() != 0) return;
    JsonlWriter writer(path);
    writer.write({{"identity", identity}});
    for (std::size_t i = 0; i < prompts.size(); ++i)
      writer.write({{"prompt_id", prompts[i].id},
                    {"tokens", baselines[i].tokens},
                    {"finished", baselines[i].finished},
                    {"response", valid_utf8(texts[i])}});
    writer.close();
  });
}

std::vector<Sample> read_baselines(const std::string& path, const nlohmann::json& identity,
                                   const std::vector<Prompt>& prompts, const Communicator& data) {
  std::vector<Sample> baselines;
  guarded(data, [&] {
    if (!std::filesystem::exists(path)) return;
    bool same = false;
    for_each_row(path, 0, 1, [&](std::int64_t line, const Json& row) {
      if (row.contains("identity")) {
        same = row["identity"] == identity;
        return;
      }
      if (!same) return;
      if (baselines.size() >= prompts.size() || row.at("prompt_id") != prompts[baselines.size()].id)
        fail_data(concat(path, ":", line, ": a baseline response of another prompt"),
                  "rewards would be calibrated against it", "remove the file; it is made again");
      baselines.push_back(Sample{row.at("tokens").get<TokenIds>(), {}, row.at("finished").get<bool>()});
    });
    if (same && baselines.size() != prompts.size())
      fail_data(concat(path, " holds ", baselines.size(), " responses for ", prompts.size(), " prompts"),
                "some prompts would have no baseline", "remove the file; it is made again");
  });
  // A rank must not find the file while another does not: what one misses, all make again.
  if (data.all_reduce(static_cast<std::int64_t>(baselines.size()), Reduce::kMin) == 0) baselines.clear();
  return baselines;
}

}  // namespace rluf
