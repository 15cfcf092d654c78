#include "rluf/pipeline/reward/reward_model.hpp"

#include <cmath>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {

double calibrated_logit(double raw_score, const Calibration& calibration) {
  return calibration.scale * (raw_score + calibration.prior_correction) + calibration.shift;
}

double calibrated_probability(double raw_score, const Calibration& calibration) {
  return 1 / (1 + std::exp(-calibrated_logit(raw_score, calibration)));
}

RewardModel RewardModel::load(const std::string& folder, const ModelOptions& options, at::Device device,
                              const LayoutPointer& layout) {
  const std::string path = folder + "/rluf_reward.json";
  if (!std::filesystem::exists(path))
    fail_input(concat(folder, " is no reward model of rluf"),
               "rluf_reward.json, which says how scores become probabilities, is missing",
               "run the reward stage first, or name a folder that it made");
  const Json json = read_json(path);
  RewardModel reward{
      .model = Llama::load(folder, device, 0, 0, layout), .text = load_model_text(folder, options), .calibration = {}};
  try {
    reward.calibration = {.objective = json.at("objective"),
                          .kind = json.at("kind"),
                          .prior_correction = json.at("prior_correction"),
                          .scale = json.at("scale"),
                          .shift = json.at("shift")};
  } catch (const Json::exception& error) {
    fail_input(concat(path, " is incomplete (", error.what(), ")"), "scores could not become probabilities",
               "run the reward stage again");
  }
  if (reward.model.config().num_scores < 1)
    fail_input(concat(folder, " has no score head"), "it is a chat model", "name a reward model's folder");
  reward.model.set_compute_type(compute_type(options));
  return reward;
}

void RewardModel::save(const std::string& folder, const std::string& dtype) const {
  if (!model.layout() || model.layout()->grid.world.rank() == 0) {
    std::filesystem::create_directories(folder);
    write_json(folder + "/rluf_reward.json", {{"objective", calibration.objective},
                                              {"kind", calibration.kind},
                                              {"prior_correction", calibration.prior_correction},
                                              {"scale", calibration.scale},
                                              {"shift", calibration.shift}});
  }
  model.save(folder, text->tokenizer.path(), dtype);
}

}  // namespace rluf
