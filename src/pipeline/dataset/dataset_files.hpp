#pragma once
/// Builders of the five files. Each returns its part of the table, with totals that add up.
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/signals/signal_choice.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// What every builder needs. @collective all builders
struct BuildContext {
  const DataOptions& data;        ///< with the name of the label in place of auto
  const ReactorLimits& reactors;  ///< of the label
  const ModelText& text;
  const Communicator& comm;
  std::uint64_t seed;
  std::string about;  ///< kept in every file: template, limits, tokenizer
};

nlohmann::json build_love(const std::string& input, const std::string& output, const BuildContext& context);
nlohmann::json build_pairs(const std::string& input, const std::string& output, const BuildContext& context);
nlohmann::json build_prompts(const std::string& input, const std::string& output, const BuildContext& context);
nlohmann::json build_sft(const std::string& input, const std::string& output, const BuildContext& context);

}  // namespace rluf
