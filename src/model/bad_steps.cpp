#include "rluf/model/bad_steps.hpp"

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"

namespace rluf {

BadSteps::BadSteps(std::string stage, const TrainOptions& options, const RunDirectory& directory)
    : stage_(std::move(stage)), limit_(options.skip_bad_steps), directory_(directory) {}

void BadSteps::add(std::int64_t step, const std::string& complaint, const nlohmann::json& examples,
                   LoopCheckpoints& checkpoints) {
  const std::string name = concat("bad_step_", stage_, "_", step + 1),
                    what = concat("step ", step + 1, ": ", complaint);
  directory_.write_table(name,
                         {{"stage", stage_}, {"step", step + 1}, {"complaint", complaint}, {"examples", examples}});
  if (count_ < limit_) {
    ++count_;
    log_info(concat("warning: ", stage_, " ", what, "; the step was not applied (", count_, " of at most ", limit_,
                    "), its examples are in ", directory_.table(name)));
    return;
  }
  checkpoints.finish(step);
  fail_data(concat(stage_, " ", what), "a step would spoil every weight; it was not applied",
            concat("look at its examples in ", directory_.table(name),
                   ", and lower the learning rate or allow more with skip_bad_steps (now ", limit_, ")"));
}

}  // namespace rluf
