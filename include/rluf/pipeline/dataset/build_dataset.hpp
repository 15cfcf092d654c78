#pragma once
/// The dataset stage: JSON Lines in, parallel HDF5 out, every row accounted for.
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// Makes data/{love,helpfulness,safety,prompts,sft}.h5 from the inputs that are given, and tables/dataset.json.
/// The files are the same for every number of ranks.
/// @memory a rank holds its share of the rows, 96 bytes each (up to three times while they are sorted), and at most 8
/// MiB of their tokens; the rest waits in an unnamed file beside the output. On four ranks 100,000 rows took 167 MiB a
/// rank and 1,000,000 rows 242 MiB, of which 130 are the program.
/// @collective @throws Error(kBadData) "FILE:LINE: ..." for rows that cannot be used, or without positives
void run_dataset(const DataOptions& options, const StageContext& context);
/// Of one rank, from the sizes of the inputs. @unit bytes
std::int64_t dataset_memory_bytes(const DataOptions& options, const StageContext& context);

}  // namespace rluf
