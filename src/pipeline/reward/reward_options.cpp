#include <algorithm>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/reward/auxiliary.hpp"
#include "rluf/pipeline/reward/reward.hpp"
#include "rluf/pipeline/sft/sft.hpp"

namespace rluf {

void ObjectiveOptions::describe(OptionTable& table, const std::string& name, bool pairs) {
  table.section(name, concat("The ", name, " model: ",
                             pairs ? "Bradley-Terry on pairs of responses."
                                   : "P[Love], binary cross-entropy on labelled responses."));
  table.add("base", &base,
            {.text = "model folder to start from; empty: models/reference, else model.base", .allow_empty = true});
  if (pairs) {
    table.add("margin", &margin, {.text = "factor of a pair's margin in the loss", .low = 0});
    table.add("centering", &centering, {.text = "weight of the squared sum of a pair's scores", .low = 0});
  } else {
    table.add(
        "calibrate", &calibrate,
        {.text = "prior: undo the raised rate of positives; temperature (scale), platt (scale and shift), isotonic "
                 "(rising steps): also fit on the last tenth of the training rows, which are then not trained on",
         .choices = {"prior", "temperature", "platt", "isotonic"}});
    table.add("positive_weight", &positive_weight,
              {.text = "factor of a positive's loss, undone in the prior correction; 0: both classes weigh the same",
               .low = 0});
  }
  table.add("length_bias", &length_bias,
            {.text = "residual: what scores rise with the logarithm of the response's length is taken off, by a line "
                     "fitted on the last tenth of the training rows, which are then not trained on",
             .choices = {"keep", "residual"}});
  table.add("heads", &heads,
            {.text = "scalar heads on one trunk, each learning from a resample of its own; their spread is the model's "
                     "disagreement with itself. They pull the trunk in several directions: a head_learning_rate of "
                     "ten times the learning rate lets them learn as fast as one alone",
             .low = 1,
             .high = 64});
  table.add("heads_score", &heads_score, {.text = "how heads become one score", .choices = {"mean", "lower"}});
  table.add("heads_deviations", &heads_deviations,
            {.text = "lower: standard deviations below the mean of the heads", .low = 0});
  if (!pairs) {
    table.add("also", &also,
              {.text = "what else is learned from the same responses, each by a head of its own: other signals and "
                       "numeric fields of the log, as NAME (0 or 1), NAME:ordinal:LEVELS (1 to LEVELS) or "
                       "NAME:regression; rows without it are left out of its loss",
               .allow_empty = true});
    table.add("also_weight", &also_weight,
              {.text = "weight of the mean loss of each of these heads, where that of love has 1", .low = 0});
  }
  train.describe(table);
}

void ObjectiveOptions::check_also(const std::string& label) const {
  for (const AuxiliaryTarget& target : parse_targets(also))
    if (target.name == label)
      fail_input(concat("love.also names ", label), "that is what the love model learns already (data.signal)",
                 "leave it out");
  if (!also.empty() && also_weight == 0)
    fail_input("love.also_weight = 0 with love.also", "heads without a loss learn nothing",
               "raise the weight, or leave love.also empty");
}

std::int64_t ObjectiveOptions::num_score_rows() const {
  std::int64_t rows = heads;
  for (const AuxiliaryTarget& target : parse_targets(also)) rows += 1 + target.num_thresholds();
  return rows;
}

void RewardOptions::describe(OptionTable& table) {
  table.section("reward", "Which reward models are trained, and how they are measured.");
  table.add("objective", &objective,
            {.text = "all: every one that has data", .choices = {"all", "love", "helpfulness", "safety"}});
  table.add("bootstrap_replicates", &bootstrap_replicates,
            {.text = "resamples behind each interval", .low = 20, .high = 100000});
  love.describe(table, "love", false);
  helpfulness.describe(table, "helpfulness", true);
  safety.describe(table, "safety", true);
}

std::int64_t reward_memory_bytes(const RewardOptions& options, const StageContext& context) {
  std::int64_t most = 0;
  for (const auto& [name, objective] : {std::pair<std::string, const ObjectiveOptions&>{"love", options.love},
                                        {"helpfulness", options.helpfulness},
                                        {"safety", options.safety}}) {
    std::error_code missing;
    const auto file_bytes = std::filesystem::file_size(context.directory.data(name + ".h5"), missing);
    if (missing || (options.objective != "all" && options.objective != name)) continue;
    const std::string base = starting_model(objective.base, context);
    LlamaConfig config = LlamaConfig::from_folder(base);
    config.num_scores = objective.num_score_rows();
    // The held-out documents, labels and the bootstrap's weights are together smaller than the file.
    most = std::max(most, training_memory_bytes(config, objective.train, context.grid.world.size()) +
                              text_memory_bytes(base) + static_cast<std::int64_t>(file_bytes));
  }
  return most;
}

}  // namespace rluf
