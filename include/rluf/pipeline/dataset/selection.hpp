#pragma once
/// Rules of which rows are trained on: chronological hold-out, balance of labels.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// Position of the first row of the hold-out among all ranks' rows sorted by time, of which `count` are this rank's,
/// with times time_of(0 ... count - 1): about `share` of the rows, never parting equal timestamps (rows as old as the
/// border go to training). @collective
/// @return the number of all rows if share is 0
std::int64_t holdout_begin(std::int64_t count, const std::function<std::int64_t(std::int64_t)>& time_of, double share,
                           const Communicator& comm);

/// Labels of all training rows, of which a rank may hold a part.
struct LabelCounts {
  std::int64_t positives = 0, negatives = 0;
  std::int64_t positives_before = 0;  ///< in the parts of earlier ranks
};
/// Says of one training row after the other how often it is written (0: dropped), so that the share of positives rises
/// to `positive_rate`. `method`: negative_keep (a random share of the negatives, drawn by RandomStream(seed,
/// kSelection, 0, id)) or positive_repeat (copies spread evenly over the positives). A target of 0 or below the natural
/// rate changes nothing.
class Balancer {
 public:
  /// @throws std::logic_error unless both labels occur
  Balancer(const LabelCounts& counts, double positive_rate, const std::string& method, std::uint64_t seed);
  std::int64_t copies(bool positive, std::int64_t id);  ///< of the next row

 private:
  std::uint64_t seed_;
  double keep_ = 1;  ///< share of the negatives
  std::int64_t seen_, positives_, wanted_;
};
/// What that does to the rate.
struct Balance {
  double natural_rate = 0, training_rate = 0;
  double prior_correction = 0;  ///< logit(natural) - logit(training), to ADD to a logit learned on the training rows
};
Balance balance_of(const LabelCounts& counts, std::int64_t written_positives, std::int64_t written_rows);

/// ln(p / (1 - p)).
double log_odds(double p);

}  // namespace rluf
