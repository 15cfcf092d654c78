#pragma once
/// The dataset stage: JSON Lines in, parallel HDF5 out, every row accounted for.
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// Makes data/{love,helpfulness,safety,prompts,sft}.h5 from the inputs that are given, and tables/dataset.json.
/// The files are the same for every number of ranks.
/// @memory a rank holds 96 bytes for every row of the input (320 at the peak, while rows are gathered) and at most
/// 256 MiB of its own tokens; the rest waits in an unnamed file beside the output. 1,000,000 rows of 96 tokens: 0.7 GB
/// on one rank, 0.6 GB on each of two (slope of 100,000 and 300,000 rows, with 0.14 GB for the program).
/// @collective @throws Error(kBadData) "FILE:LINE: ..." for rows that cannot be used, or without positives
void run_dataset(const DataOptions& options, const StageContext& context);
/// Of one rank, from the sizes of the inputs. @unit bytes
std::int64_t dataset_memory_bytes(const DataOptions& options, const StageContext& context);

}  // namespace rluf
