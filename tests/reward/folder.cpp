// reward_folder BASE OUT: a chat model with a random score head as a reward model's folder, for
// classification_oracle.py.
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/environment.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"

int main(int argc, char** argv) {
  rluf::Environment environment(argc, argv);
  if (argc != 3) return 2;
  try {
    rluf::ModelOptions options;
    const rluf::RewardModel reward{.model = rluf::Llama::load(argv[1], at::kCPU, 1, 5),
                                   .text = rluf::load_model_text(argv[1], options),
                                   .calibration = {.objective = "love", .kind = "binary"}};
    reward.save(argv[2], "float32");
  } catch (const rluf::Error& error) {
    rluf::log_error(error.what());
    return static_cast<int>(error.code());
  }
}
