#pragma once
/// The supervised stage: makes the reference policy, models/reference, which reward models and policies start from.
#include <string>

#include "rluf/config/option_table.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

struct SftOptions {
  TrainOptions train;
  void describe(OptionTable& table);
};

/// Trains model.base on data/sft.h5 (loss on response tokens only), or copies it when there are no such data.
/// Makes models/reference and tables/sft.json. @collective
void run_sft(const SftOptions& options, const DataOptions& data, const StageContext& context);
/// Of one rank. @unit bytes
std::int64_t sft_memory_bytes(const SftOptions& options, const DataOptions& data, const StageContext& context);

/// The folder that later training starts from: `wanted` if given, else models/reference if made, else model.base.
/// @throws Error(kBadInput) if there is none
std::string starting_model(const std::string& wanted, const StageContext& context);

}  // namespace rluf
