#pragma once
/// TensorBoard's event files: records of TFRecord, each with one Event message of Protocol Buffers.
/// @source TensorFlow, core/util/event.proto, core/framework/summary.proto, core/lib/io/record_writer.h
#include <cstdint>
#include <string>

#include "rluf/io/metrics_files.hpp"

namespace rluf {

/// What a file begins with.
std::string event_file_head(double time_seconds);
/// A record with a scalar for each metric; a value beyond float32 becomes infinite.
std::string event_record(const StepMetrics& metrics);
/// The whole records of a file that are not after `step`.
std::string events_until(const std::string& file, std::int64_t step);

}  // namespace rluf
