#pragma once
/// The dataset stage: JSON Lines in, parallel HDF5 out, every row accounted for.
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// Makes data/{love,helpfulness,safety,prompts,sft}.h5 from the inputs that are given, and tables/dataset.json.
/// The files are the same for every number of ranks.
/// @memory does not depend on the number of rows: they wait in unnamed files beside the output, at their most 470 bytes
/// a row besides its tokens and facts, and pass through memory in slices. On four ranks 100,000 rows took 150 MiB a
/// rank and 1,000,000 rows 153 MiB, of which 130 are the program.
/// @collective @throws Error(kBadData) "FILE:LINE: ..." for rows that cannot be used, or without positives
void run_dataset(const DataOptions& options, const StageContext& context);
/// Of one rank, whatever the inputs hold. @unit bytes
std::int64_t dataset_memory_bytes(const StageContext& context);

}  // namespace rluf
