#pragma once
/// The run directory: used.ini, log.txt, metrics.csv, tables/, data/, checkpoints/STAGE/, models/, report.html, and on
/// demand metrics.jsonl and tensorboard/.
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/io/checkpoint.hpp"
#include "rluf/io/metrics_files.hpp"
#include "rluf/parallel/communicator.hpp"

namespace rluf {

class RunDirectory {
 public:
  /// Makes the folders on rank 0. `metrics_also`: see MetricsFiles. @collective @throws Error(kBadInput) if not
  /// writable
  RunDirectory(const std::string& path, const Communicator& comm, const Retention& retention = {},
               const std::vector<std::string>& metrics_also = {});
  const std::string& path() const { return path_; }
  std::string data(const std::string& name) const { return path_ + "/data/" + name; }
  std::string model(const std::string& name) const { return path_ + "/models/" + name; }
  std::string checkpoints(const std::string& stage) const { return path_ + "/checkpoints/" + stage; }
  const Retention& retention() const { return retention_; }  ///< of checkpoints
  std::string table(const std::string& name) const { return path_ + "/tables/" + name + ".json"; }

  /// Rank 0 writes the table, as NAME.json and by csv_of as NAME.csv; the others return at once. Not collective.
  void write_table(const std::string& name, const nlohmann::json& table) const;
  bool has_table(const std::string& name) const;
  nlohmann::json read_table(const std::string& name) const;
  /// Appends a row for each metric to metrics.csv, and to its other forms (rank 0 only).
  void append_metrics(const std::string& stage, std::int64_t step, const std::map<std::string, double>& metrics) const;
  /// Removes the rows of `stage` after `step`, so that a resumed stage writes none twice (rank 0 only).
  void cut_metrics(const std::string& stage, std::int64_t step) const;

  /// The identity with names of files inside this directory as RUN/..., so that a run may be moved or copied.
  nlohmann::json portable(const nlohmann::json& identity) const;
  /// Forgets that the stage is done if it was with another identity: its results are about to change. (rank 0 only)
  void forget_other(const std::string& stage, const nlohmann::json& identity) const;
  /// A stage is done when its mark exists; the mark holds `identity` (what the result depends on).
  void mark_done(const std::string& stage, const nlohmann::json& identity) const;
  /// @collective same answer on all ranks @throws Error(kBadInput) if done with another identity
  bool is_done(const std::string& stage, const nlohmann::json& identity) const;
  /// Forgets that the stage is done, whatever its identity. Not collective.
  void forget(const std::string& stage) const;

 private:
  std::string path_;
  Communicator comm_;
  Retention retention_;
  MetricsFiles metrics_;
};

}  // namespace rluf
