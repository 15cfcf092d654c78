#include "log_prob_difference.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "rluf/core/error.hpp"

namespace rluf {

LogProbDifference::LogProbDifference(std::vector<const Sample*> samples)
    : samples_(std::move(samples)), sums_(samples_.size()), largest_(samples_.size()) {}

void LogProbDifference::see(std::size_t document, std::span<const float> log_probs) {
  const Sample* const sample = samples_.at(document);
  if (sample == nullptr) return;
  RLUF_ASSERT(log_probs.size() == sample->log_probs.size());
  for (std::size_t t = 0; t < log_probs.size(); ++t) {
    const double difference = std::abs(static_cast<double>(log_probs[t]) - sample->log_probs[t]);
    sums_[document] += difference;
    largest_[document] = std::max(largest_[document], difference);
  }
}

void LogProbDifference::reduce(const Communicator& data) {
  data.all_reduce(sums_);
  data.all_reduce(largest_);
}

double LogProbDifference::mean() const {
  double num_tokens = 0;
  for (const Sample* const sample : samples_)
    num_tokens += sample == nullptr ? 0.0 : static_cast<double>(sample->tokens.size());
  return num_tokens > 0 ? std::accumulate(sums_.begin(), sums_.end(), 0.0) / num_tokens : 0.0;
}

double LogProbDifference::largest() const {
  return std::accumulate(largest_.begin(), largest_.end(), 0.0, [](double a, double b) { return std::max(a, b); });
}

}  // namespace rluf
