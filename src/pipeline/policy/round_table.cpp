#include "round_table.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cstdio>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"

namespace rluf {

void RoundTable::add(const RoundMetrics& metrics) {
  std::vector<double> row;
  if (names.empty())
    for (const auto& [name, value] : metrics) names.push_back(name);
  RLUF_ASSERT(names.size() == metrics.size());
  for (const auto& [name, value] : metrics) row.push_back(value);
  rows.push_back(row);
}

void RoundTable::describe(StateArchive& archive) {
  auto& [metric_names, values] = *this;  // a new member does not compile until it is described
  nlohmann::json list = metric_names;
  at::Tensor table;
  if (!values.empty()) {
    const auto width = static_cast<std::int64_t>(metric_names.size());
    table = torch::empty({static_cast<std::int64_t>(values.size()), width}, torch::kFloat64);
    for (std::size_t r = 0; r < values.size(); ++r)
      std::copy(values[r].begin(), values[r].end(), table.data_ptr<double>() + r * metric_names.size());
  }
  archive.json("metric_names", list);
  archive.tensor("rounds", table);
  metric_names = list.get<std::vector<std::string>>();
  values.clear();
  for (std::int64_t r = 0; r < table.size(0); ++r)
    values.emplace_back(table.data_ptr<double>() + r * table.size(1),
                        table.data_ptr<double>() + (r + 1) * table.size(1));
}

nlohmann::json RoundTable::json() const {
  nlohmann::json list = nlohmann::json::array();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    nlohmann::json row = {{"round", r + 1}};
    for (std::size_t i = 0; i < names.size(); ++i) row[names[i]] = rows[r][i];
    list.push_back(row);
  }
  return list;
}

double RoundTable::value(const std::vector<double>& row, const std::string& name) const {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? 0.0 : row[static_cast<std::size_t>(found - names.begin())];
}

void RoundTable::log(const std::string& stage) const {
  for (const auto* row : {&rows.front(), &rows.back()}) {
    char line[400];
    std::snprintf(
        line, sizeof line,
        "%s %s round: rewards helpfulness %.3f safety %.3f love %.3f, KL %.2f nats, closings %.3f, "
        "length %.1f tokens, no survivor %.2f, baseline %.2f, skipped %.2f, log-probs of drawing and training "
        "%.1e apart (largest %.1e)",
        stage.c_str(), row == &rows.front() ? "first" : "last", value(*row, "reward_helpfulness"),
        value(*row, "reward_safety"), value(*row, "reward_love"), value(*row, "kl"), value(*row, "closing_rate"),
        value(*row, "length_tokens"), value(*row, "share_no_survivor"), value(*row, "share_baseline"),
        value(*row, "share_skipped"), value(*row, "log_prob_difference"), value(*row, "log_prob_difference_largest"));
    log_info(line);
  }
  std::string times;
  for (const char* phase : {"generation", "scoring", "judging", "training"}) {
    double seconds = 0, idle = 0, most = 0;
    for (const auto& row : rows) {
      seconds += value(row, concat(phase, "_seconds"));
      idle += value(row, concat(phase, "_idle_seconds"));
      most += value(row, concat(phase, "_idle_most_seconds"));
    }
    char text[160];
    const auto n = static_cast<double>(rows.size());
    std::snprintf(text, sizeof text, "%s%s %.2f s, of it in collectives %.2f s a rank, %.2f s the most",
                  times.empty() ? "" : "; ", phase, seconds / n, idle / n, most / n);
    times += text;
  }
  log_info(concat(stage, " mean round: ", times));
}

}  // namespace rluf
