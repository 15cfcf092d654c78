#pragma once
/// What a policy begins as.
#include "rluf/model/training.hpp"

namespace rluf {

/// A policy to train while `reference` stays what it is: a copy, or where adapters are trained the same weights in the
/// same memory, since nobody changes them then.
inline Llama policy_to_train(const Llama& reference, const TrainOptions& options) {
  return options.lora_rank > 0 ? reference : reference.clone();
}

}  // namespace rluf
