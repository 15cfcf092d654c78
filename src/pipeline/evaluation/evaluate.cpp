#include "rluf/pipeline/evaluation/evaluate.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/model/generation.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/evaluation/candidates.hpp"
#include "rluf/pipeline/evaluation/gate.hpp"
#include "rluf/pipeline/evaluation/statistics.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "value_log.hpp"

namespace rluf {
namespace {

/// Draws of this stage never meet those of a round of policy training, which count from 0.
constexpr std::uint64_t kEvaluationRound = std::uint64_t{1} << 40;

/// Asks a model folder for one response to each prompt. @collective
std::vector<std::string> generate_responses(const Candidate& candidate,
                                            const std::vector<std::vector<Message>>& messages,
                                            const EvaluationOptions& options, const DataOptions& data,
                                            const StageContext& context) {
  std::optional<Llama> model;
  std::unique_ptr<ModelText> text;
  std::vector<TokenIds> prompts;
  std::vector<std::int64_t> ids;
  guarded(context.grid.world, [&] {
    model = Llama::load(candidate.path, context.device, 0, 0, context.layout());
    model->set_compute_type(compute_type(context.model));
    text = load_model_text(candidate.path, context.model);
    if (model->config().num_scores > 0)
      fail_input(concat(candidate.path, " is a scoring model"), "it cannot answer prompts",
                 "name a chat model's folder");
    const std::int64_t room =
        std::min(data.max_tokens, model->config().max_position_embeddings) - options.max_new_tokens;
    if (room < 1)
      fail_input(concat("evaluate.max_new_tokens = ", options.max_new_tokens, " leaves no room for a prompt"),
                 "prompt and response share the context", "lower it, or raise data.max_tokens");
    for (const auto& prompt : messages) {
      prompts.push_back(render_prompt(prompt, *text, data.max_turns, room));
      ids.push_back(static_cast<std::int64_t>(ids.size()));
    }
  });
  const auto samples = generate_over_ranks(*model, prompts, ids,
                                           {.max_new_tokens = options.max_new_tokens,
                                            .num_samples = 1,
                                            .sampling = options.sampling,
                                            .stop_ids = text->chat.stop_ids(),
                                            .seed = context.seed(),
                                            .round = kEvaluationRound},
                                           context.grid.world);
  std::vector<std::string> responses;
  for (const auto& sample : samples) responses.push_back(text->tokenizer.decode(sample[0].tokens));
  return responses;
}

/// @collective
ScoredCandidate score_candidate(const Candidate& candidate, const std::vector<std::vector<Message>>& prompts,
                                const RewardModel& love, const EvaluationOptions& options, const DataOptions& data,
                                const StageContext& context) {
  ScoredCandidate scored;
  std::vector<Document> documents;
  guarded(context.grid.world, [&] {
    const auto phrases = phrase_list(options.closing_phrases);
    const std::int64_t max_tokens = std::min(data.max_tokens, love.model.config().max_position_embeddings);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      RenderedDocument rendered =
          render_document(prompts[i], candidate.responses[i], *love.text, data.max_turns, max_tokens);
      if (rendered.truncated_tokens > 0) ++scored.truncated;
      if (contains_any(normalized_text(candidate.responses[i]), phrases)) scored.closings += 1;
      scored.response_tokens.push_back(static_cast<double>(static_cast<std::int64_t>(rendered.document.tokens.size()) -
                                                           rendered.document.response_start));
      documents.push_back(std::move(rendered.document));
    }
  });
  scored.raw_scores =
      love.scores(documents, options.micro_batch_tokens, context.grid.world, concat("evaluate ", candidate.name)).raw;
  for (const double raw : scored.raw_scores)
    scored.probabilities.push_back(calibrated_probability(raw, love.calibration));
  return scored;
}

/// Offline means against online rates of the candidates that have both.
Json compare_online(const std::vector<Candidate>& candidates, const std::vector<double>& means,
                    const std::map<std::string, double>& rates) {
  std::vector<double> offline, online;
  std::vector<std::string> names;
  Json without = Json::array(), unknown = Json::array();
  std::map<std::string, double> left(rates);
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    const auto found = rates.find(candidates[c].name);
    if (found == rates.end()) {
      without.push_back(candidates[c].name);
      continue;
    }
    offline.push_back(means[c]);
    online.push_back(found->second);
    names.push_back(candidates[c].name);
    left.erase(candidates[c].name);
  }
  for (const auto& [name, rate] : left) unknown.push_back(name);
  if (!without.empty()) log_warning(concat("evaluate: no online value for ", without.dump(), " (left out of r)"));
  if (!unknown.empty())
    log_warning(concat("evaluate: online values of unknown candidates ", unknown.dump(), " ignored"));
  Json table = offline_online_agreement(offline, online, names);
  table["candidates_without_online"] = without;
  table["online_without_candidate"] = unknown;
  return table;
}

void print_ranking(const Json& table) {
  std::string text = concat("evaluate: candidates by mean corrected P[Love] on ", table["prompts"].dump(), " prompts; ",
                            table["interval"].get<std::string>());
  char line[320];
  std::snprintf(line, sizeof line, "\n  %-36s %9s %21s %21s %9s %8s %8s %9s", "candidate", "P[Love]", "interval",
                "difference to best", "place", "tokens", "closing", "online");
  text += line;
  for (const Json& row : table["candidates"]) {
    const auto bounds = [](const Json& interval) -> std::string {
      if (!interval.contains("low")) return "-";
      char out[48];
      std::snprintf(out, sizeof out, "[%.5f, %.5f]", interval["low"].get<double>(), interval["high"].get<double>());
      return out;
    };
    std::string place = row["place"].dump();
    if (row["place_low"].is_number()) {
      std::snprintf(line, sizeof line, " [%.0f-%.0f]", row["place_low"].get<double>(), row["place_high"].get<double>());
      place += line;
    }
    const std::string online =
        row["online_love_rate"].is_number() ? concat(row["online_love_rate"].get<double>()) : "-";
    std::snprintf(line, sizeof line, "\n  %-36.36s %9.5f %21s %21s %9s %8.1f %8.4f %9s",
                  row["name"].get<std::string>().c_str(), row["mean_probability"]["value"].get<double>(),
                  bounds(row["mean_probability"]).c_str(), bounds(row["difference_to_best"]).c_str(), place.c_str(),
                  row["mean_response_tokens"].get<double>(), row["closing_rate"].get<double>(), online.c_str());
    text += line;
  }
  if (const auto& agreement = table["online"]; agreement.is_object()) {
    text += concat("\n  ", agreement["sentence"].get<std::string>());
    if (agreement["spearman"].is_number()) {
      std::snprintf(line, sizeof line, "; Spearman %.3f", agreement["spearman"].get<double>());
      text += line;
    }
    text += concat("\n  ", agreement["leave_one_out_sentence"].get<std::string>());
  }
  log_info(text);
}

Json make_table(const CandidateSet& set, const std::vector<ScoredCandidate>& scored,
                const std::map<std::string, double>& online, const EvaluationOptions& options, std::uint64_t seed) {
  std::vector<std::vector<double>> values;
  for (const ScoredCandidate& candidate : scored) values.push_back(candidate.probabilities);
  const auto standings = compare_candidates(values, options.bootstrap_replicates, seed, set.users);
  Json rows = Json::array();
  std::vector<double> means;
  for (std::size_t c = 0; c < scored.size(); ++c) {
    const Candidate& candidate = set.candidates[c];
    const Standing& standing = standings[c];
    means.push_back(standing.mean.value);
    const auto known = online.find(candidate.name);
    rows.push_back({{"name", candidate.name},
                    {"source", candidate.is_model ? "model" : "file"},
                    {"n", scored[c].probabilities.size()},
                    {"mean_probability", standing.mean.to_json()},
                    {"mean_raw_score", moments(scored[c].raw_scores).mean},
                    {"difference_to_best", standing.difference_to_best.to_json()},
                    {"place", standing.place},
                    {"place_low", number_or_null(standing.place_low)},
                    {"place_high", number_or_null(standing.place_high)},
                    {"share_best", number_or_null(standing.share_best)},
                    {"mean_response_tokens", moments(scored[c].response_tokens).mean},
                    {"length_correlation", number_or_null(pearson(scored[c].raw_scores, scored[c].response_tokens))},
                    {"closing_rate", scored[c].closings / static_cast<double>(set.prompts.size())},
                    {"truncated_documents", scored[c].truncated},
                    {"online_love_rate", known == online.end() ? Json(nullptr) : Json(known->second)}});
  }
  std::sort(rows.begin(), rows.end(),
            [](const Json& a, const Json& b) { return a["place"].get<int>() < b["place"].get<int>(); });
  return {{"prompts", set.prompts.size()},
          {"bootstrap_replicates", options.bootstrap_replicates},
          {"interval", set.users.empty() ? "percentile bootstrap over prompts, paired, 95 %"
                                         : "percentile bootstrap over users, paired, 95 %"},
          {"candidates", rows},
          {"online", online.empty() ? Json(nullptr) : compare_online(set.candidates, means, online)}};
}

std::string love_folder(const EvaluationOptions& options, const StageContext& context) {
  return options.love_model.empty() ? context.directory.model("love") : options.love_model;
}
bool is_there(const std::string& folder) { return std::filesystem::exists(folder + "/rluf_reward.json"); }

/// The love model; the log can be valued without one, candidates cannot. @collective
std::optional<RewardModel> load_love(const EvaluationOptions& options, const DataOptions& data,
                                     const StageContext& context) {
  std::optional<RewardModel> love;
  guarded(context.grid.world, [&] {
    const std::string folder = love_folder(options, context);
    if (data.candidates.empty() && options.love_model.empty() && !is_there(folder)) {
      log_info("evaluate: there is no love model, so the log is valued by weights alone");
      return;
    }
    love = RewardModel::load(folder, context.model, context.device);
    if (love->calibration.kind != "binary")
      log_warning("evaluate: the model is pairwise, so its numbers are no love rates");
  });
  return love;
}

/// What is there to rank, before anything is scored.
struct Ranking {
  CandidateSet set;
  std::optional<std::size_t> baseline;
  std::map<std::string, double> online;
};

/// @collective
Ranking read_ranking(const EvaluationOptions& options, const DataOptions& data, const StageContext& context) {
  Ranking ranking;
  guarded(context.grid.world, [&] {
    ranking.set = read_responses(find_candidates(data.candidates), options.max_prompts);
    ranking.baseline = position_of_baseline(ranking.set, options);
    if (!data.online.empty()) ranking.online = read_online(data.online);
  });
  return ranking;
}

/// The table of the candidates, with its gate. @collective
Json rank_candidates(Ranking ranking, const EvaluationOptions& options, const AlarmOptions& alarms,
                     const DataOptions& data, const RewardModel& love, const StageContext& context) {
  const Communicator& comm = context.grid.world;
  CandidateSet& set = ranking.set;
  if (set.prompts.empty()) {  // models alone answer what no model was trained on
    for (const Prompt& prompt : read_prompts(context.directory.data("prompts.h5"), Split::kHoldout, comm)) {
      if (options.max_prompts > 0 && static_cast<std::int64_t>(set.prompts.size()) == options.max_prompts) break;
      set.prompts.push_back(prompt.messages);
    }
    if (set.prompts.empty())
      fail_data("there are no held-out prompts", "candidate models would have nothing to answer",
                "raise data.holdout_share, or give response files");
  }
  std::vector<ScoredCandidate> scored;
  for (Candidate& candidate : set.candidates) {
    if (candidate.is_model) candidate.responses = generate_responses(candidate, set.prompts, options, data, context);
    scored.push_back(score_candidate(candidate, set.prompts, love, options, data, context));
    if (scored.back().truncated > 0)
      log_info(concat("evaluate: ", candidate.name, ": ", scored.back().truncated, " of ", set.prompts.size(),
                      " documents lost their oldest context, or the end of a response, at ", data.max_tokens,
                      " tokens"));
  }
  Json table;
  guarded(comm, [&] {
    table = make_table(set, scored, ranking.online, options, context.seed());
    print_ranking(table);
    if (ranking.baseline) table["gate"] = gate_table(set, scored, *ranking.baseline, options, alarms);
  });
  return table;
}

}  // namespace

std::map<std::string, double> read_online(const std::string& path) {
  std::map<std::string, double> rates;
  const Json json = read_json(path);
  if (!json.is_object())
    fail_data(path + " is no JSON object", "it maps candidates to their online values",
              "write {\"NAME\": {\"love_rate\": 0.005}, ...}");
  for (const auto& [name, value] : json.items()) {
    if (!value.is_object() || !value.contains("love_rate") || !value["love_rate"].is_number())
      fail_data(concat(path, ": candidate ", name, " has no number love_rate"), "nothing can be compared with it",
                "write {\"NAME\": {\"love_rate\": 0.005}, ...}");
    rates[name] = value["love_rate"].get<double>();
  }
  return rates;
}

void EvaluationOptions::describe(OptionTable& table) {
  table.section(
      "evaluate",
      "Candidates (data.candidates) ranked offline by their mean corrected P[Love]; with arm_field also arms and "
      "policies valued from the log.");
  table.add("love_model", &love_model,
            {.text = "folder of the love model; empty: models/love of the run", .allow_empty = true});
  table.add("max_prompts", &max_prompts,
            {.text = "prompts used, from the start; 0: all", .unit = "prompts", .low = 0, .high = 1e9});
  table.add("bootstrap_replicates", &bootstrap_replicates,
            {.text = "resamples behind each interval", .low = 20, .high = 100000});
  table.add("micro_batch_tokens", &micro_batch_tokens,
            {.text = "packed tokens of one forward pass of one rank", .unit = "tokens", .low = 1});
  table.add("max_new_tokens", &max_new_tokens,
            {.text = "longest response of candidates that are models", .unit = "tokens", .low = 1, .high = 1048576});
  table.add("temperature", &sampling.temperature,
            {.text = "of candidates that are models; 0: the likeliest token", .low = 0, .high = 10});
  table.add("top_p", &sampling.top_p,
            {.text = "smallest set of tokens with this probability is drawn from", .low = 1e-6, .high = 1});
  table.add("top_k", &sampling.top_k, {.text = "tokens drawn from; 0: all", .unit = "tokens", .low = 0, .high = 1e9});
  table.add("closing_phrases", &closing_phrases,
            {.text = "their share is counted: a reward model that likes goodbyes is being gamed", .allow_empty = true});
  table.add(
      "baseline", &baseline,
      {.text =
           "candidate, or arm of the log, that the others are to replace; empty: no candidate is gated, and policies "
           "are compared with the log's own mixture of arms",
       .allow_empty = true});
  table.add("gate", &gate,
            {.text = "exit code 4 if a candidate may lower mean P[Love] of the baseline by gate_margin, or an alarm of "
                     "[alarms] rings in its responses"});
  table.add("gate_margin", &gate_margin,
            {.text = "loss, as a share of the baseline's mean P[Love], that must be ruled out", .low = 0, .high = 1});
  table.add("gate_alpha", &gate_alpha,
            {.text = "one-sided chance of passing a candidate that loses the margin", .low = 1e-6, .high = 0.5});
  table.add(
      "audit_rows", &audit_rows,
      {.text = "responses of the love hold-out that all reward models score, to see what P[Love] rewards; 0: none",
       .unit = "rows",
       .low = 0,
       .high = 1e9});
  log.describe(table);
}

std::int64_t evaluate_memory_bytes(const EvaluationOptions& options, const DataOptions& data,
                                   const StageContext& context) {
  if (data.candidates.empty() && options.log.arm_field.empty()) return 0;
  std::int64_t bytes = 0;
  if (const std::string folder = love_folder(options, context); is_there(folder) || !data.candidates.empty())
    bytes += text_memory_bytes(folder) +
             inference_memory_bytes(LlamaConfig::from_folder(folder), options.micro_batch_tokens);
  // Without its texts a log takes about what it takes packed.
  if (!options.log.arm_field.empty()) bytes += static_cast<std::int64_t>(std::filesystem::file_size(data.interactions));
  std::int64_t largest_model = 0;
  for (const Candidate& candidate : find_candidates(data.candidates)) {
    if (candidate.is_model) {
      largest_model = std::max(
          largest_model, inference_memory_bytes(LlamaConfig::from_folder(candidate.path), options.micro_batch_tokens));
    } else {
      bytes += 12 * static_cast<std::int64_t>(std::filesystem::file_size(candidate.path));  // unpacked text and tokens
    }
  }
  return bytes + largest_model;
}

void run_evaluate(const EvaluationOptions& options, const AlarmOptions& alarms, const DataOptions& data,
                  const StageContext& context) {
  const bool ranks = !data.candidates.empty(), values = !options.log.arm_field.empty();
  if (options.gate && !ranks && (!values || options.log.policies.empty()))
    fail_input("evaluate.gate has nothing to gate", "a release would pass unseen",
               "set data.candidates, or evaluate.arm_field and evaluate.policies");
  Json table{{"prompts", 0}, {"candidates", Json::array()}, {"online", nullptr}};
  if (!ranks && !values)
    log_info("evaluate: data.candidates and evaluate.arm_field are empty, so there is nothing to rank");
  if (ranks || values) {
    Ranking ranking;
    if (ranks) ranking = read_ranking(options, data, context);
    const std::optional<RewardModel> love = load_love(options, data, context);
    if (ranks) table = rank_candidates(std::move(ranking), options, alarms, data, *love, context);
    if (values) table.update(value_log(options, data, love ? &*love : nullptr, context));
  }
  guarded(context.grid.world, [&] {
    context.directory.write_table("evaluation", table);
    std::vector<Json> gates;
    for (const char* name : {"gate", "log_gate"})
      if (table.contains(name)) gates.push_back(table[name]);
    apply_gates(gates, options.gate);
  });
}

}  // namespace rluf
