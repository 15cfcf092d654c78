#pragma once
/// The numbers of a run, step by step, in the forms that other programs read.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace rluf {

/// The numbers of one step of a stage.
struct StepMetrics {
  double time_seconds = 0;  ///< since 1970
  std::string stage;
  std::int64_t step = 0;
  const std::map<std::string, double>& values;
};

/// metrics.csv ("time_seconds,stage,step,name,value") always; on demand metrics.jsonl (an object a step, null for what
/// is no number) and TensorBoard's event files, tensorboard/STAGE/events.out.tfevents.0.rluf (values in float32). One
/// process writes them.
class MetricsFiles {
 public:
  /// `also`: jsonl, tensorboard, both or none
  MetricsFiles(const std::string& folder, const std::vector<std::string>& also);
  /// A file that cannot be written is a warning: training goes on.
  void append(const StepMetrics& metrics) const;
  /// Removes the rows of `stage` after `step` from every form that is there, also if it is not asked for any more, and
  /// what a killed start has left half-written.
  void cut(const std::string& stage, std::int64_t step) const;

 private:
  std::string events(const std::string& stage) const;
  std::string csv_, jsonl_, tensorboard_;
  bool with_jsonl_, with_events_;
};

}  // namespace rluf
