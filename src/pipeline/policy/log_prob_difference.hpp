#pragma once
/// How far the log-probabilities that came with drawn tokens are from those of the training pass. Both are of the same
/// policy: between them stand only other kernels and other roundings.
#include <span>
#include <vector>

#include "rluf/model/generation.hpp"

namespace rluf {

class LogProbDifference {
 public:
  /// `samples`: of each trained document; null where it was not drawn by this policy.
  explicit LogProbDifference(std::vector<const Sample*> samples);
  /// The training pass's log-probabilities of a document's response tokens. A document is seen by one rank.
  void see(std::size_t document, std::span<const float> log_probs);
  /// What all ranks have seen. @collective
  void reduce(const Communicator& data);
  double mean() const;  ///< of the absolute differences, over tokens; 0 where none was compared. @unit nats
  double largest() const;

 private:
  std::vector<const Sample*> samples_;
  std::vector<double> sums_, largest_;  ///< of each document
};

}  // namespace rluf
