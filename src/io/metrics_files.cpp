#include "rluf/io/metrics_files.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "event_file.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

std::string csv_rows(const StepMetrics& metrics) {
  std::ostringstream out;
  out.precision(9);
  for (const auto& [name, value] : metrics.values)
    out << std::fixed << metrics.time_seconds << std::defaultfloat << ',' << metrics.stage << ',' << metrics.step << ','
        << name << ',' << value << '\n';
  return out.str();
}

std::string json_row(const StepMetrics& metrics) {
  // In order, so that a reader sees first what the row is of.
  nlohmann::ordered_json row{{"time_seconds", metrics.time_seconds}, {"stage", metrics.stage}, {"step", metrics.step}};
  for (const auto& [name, value] : metrics.values) row[name] = value;
  return row.dump() + "\n";
}

struct StageStep {
  std::string stage;
  std::int64_t step = 0;
};

StageStep of_csv(const std::string& line) {
  std::istringstream fields(line);
  std::string time, stage, step;
  std::getline(fields, time, ',');
  std::getline(fields, stage, ',');
  std::getline(fields, step, ',');
  return {stage, std::atoll(step.c_str())};
}

StageStep of_json(const std::string& line) {
  const Json row = Json::parse(line, nullptr, false);
  if (!row.is_object()) return {};
  return {row.value("stage", ""), row.value("step", std::int64_t{0})};
}

void append_to(const std::string& path, const std::string& head, const std::string& text, const StepMetrics& metrics) {
  std::error_code error;
  const bool fresh = !fs::exists(path, error);
  if (fresh) fs::create_directories(fs::path(path).parent_path(), error);
  std::ofstream file(path, std::ios::app | std::ios::binary);
  file << (fresh ? head : "") << text;
  file.flush();
  if (!file)
    log_warning(concat("cannot write ", path, " (the disk may be full): metrics of ", metrics.stage, " step ",
                       metrics.step, " are lost"));
}

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

/// Puts what `kept` leaves of a file in its place.
void rewrite(const std::string& path, const std::function<std::string(const std::string&)>& kept) {
  if (!fs::exists(path)) return;
  const std::string before = content_of(path), after = kept(before);
  if (after.size() != before.size()) write_text(path, after);
}

/// The whole lines that are not of `stage` after `step`.
std::string lines_until(const std::string& text, const std::string& stage, std::int64_t step,
                        StageStep (*of)(const std::string&)) {
  std::istringstream lines(text.substr(0, text.rfind('\n') + 1));
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    const StageStep row = of(line);
    if (row.stage != stage || row.step <= step) kept += line + "\n";
  }
  return kept;
}

bool has(const std::vector<std::string>& words, const char* word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

MetricsFiles::MetricsFiles(const std::string& folder, const std::vector<std::string>& also)
    : csv_(folder + "/metrics.csv"),
      jsonl_(folder + "/metrics.jsonl"),
      tensorboard_(folder + "/tensorboard/"),
      with_jsonl_(has(also, "jsonl")),
      with_events_(has(also, "tensorboard")) {}

std::string MetricsFiles::events(const std::string& stage) const {
  return tensorboard_ + stage + "/events.out.tfevents.0.rluf";
}

void MetricsFiles::append(const StepMetrics& metrics) const {
  append_to(csv_, "time_seconds,stage,step,name,value\n", csv_rows(metrics), metrics);
  if (with_jsonl_) append_to(jsonl_, "", json_row(metrics), metrics);
  if (with_events_)
    append_to(events(metrics.stage), event_file_head(metrics.time_seconds), event_record(metrics), metrics);
}

void MetricsFiles::cut(const std::string& stage, std::int64_t step) const {
  rewrite(csv_, [&](const std::string& text) { return lines_until(text, stage, step, of_csv); });
  rewrite(jsonl_, [&](const std::string& text) { return lines_until(text, stage, step, of_json); });
  rewrite(events(stage), [&](const std::string& file) { return events_until(file, step); });
}

}  // namespace rluf
