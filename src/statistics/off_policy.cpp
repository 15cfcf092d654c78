#include "rluf/statistics/off_policy.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/statistics/ratio.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Errors of rows, added up user by user.
class UserErrors {
 public:
  explicit UserErrors(std::int64_t num_users)
      : sums_(static_cast<std::size_t>(num_users), 0.0), is_there_(static_cast<std::size_t>(num_users), false) {}
  void add(std::int64_t user, double error) {
    const auto at = static_cast<std::size_t>(user);
    RLUF_ASSERT(at < sums_.size());
    sums_[at] += error;
    is_there_[at] = true;
  }
  PolicyEstimate estimate(double value) && {
    const auto num_users = std::count(is_there_.begin(), is_there_.end(), true);
    return {.value = value, .influence = std::move(sums_), .num_users = num_users};
  }

 private:
  std::vector<double> sums_;
  std::vector<bool> is_there_;
};

using Term = std::function<double(const LoggedResponse&)>;

/// Mean of `term` over the observed rows; `error_term` is what its error comes from, where that is more.
PolicyEstimate mean_of(std::span<const LoggedResponse> responses, std::int64_t num_users, const Term& term,
                       const Term& error_term) {
  double sum = 0, error_sum = 0, n = 0;
  for (const LoggedResponse& response : responses) {
    if (!response.observed) continue;
    sum += term(response);
    error_sum += error_term(response);
    n += 1;
  }
  UserErrors errors(num_users);
  for (const LoggedResponse& response : responses)
    if (response.observed) errors.add(response.user, (error_term(response) - error_sum / n) / n);
  return std::move(errors).estimate(n > 0 ? sum / n : kNaN);
}

/// Self-normalised mean of `term` over the rows that are observed, or over the others.
PolicyEstimate weighted_mean(std::span<const LoggedResponse> responses, std::int64_t num_users, bool observed,
                             const Term& term) {
  double sum = 0, weights = 0;
  for (const LoggedResponse& response : responses) {
    if (response.observed != observed) continue;
    sum += response.weight * term(response);
    weights += response.weight;
  }
  const double mean = weights > 0 ? sum / weights : kNaN;
  UserErrors errors(num_users);
  for (const LoggedResponse& response : responses)
    if (response.observed == observed && response.weight > 0)
      errors.add(response.user, response.weight * (term(response) - mean) / weights);
  return std::move(errors).estimate(mean);
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double score_of(const LoggedResponse& response) { return response.score; }
double reward_of(const LoggedResponse& response) { return response.reward; }

}  // namespace

double PolicyEstimate::variance() const {
  if (num_users < 2) return kNaN;
  const auto users = static_cast<double>(num_users);
  return users / (users - 1) * dot(influence, influence);
}

Interval PolicyEstimate::interval(double confidence) const { return normal_interval(value, variance(), confidence); }

PolicyEstimate difference_of(const PolicyEstimate& a, const PolicyEstimate& b) {
  RLUF_ASSERT(a.influence.size() == b.influence.size());
  PolicyEstimate difference{
      .value = a.value - b.value, .influence = a.influence, .num_users = std::max(a.num_users, b.num_users)};
  for (std::size_t user = 0; user < b.influence.size(); ++user) difference.influence[user] -= b.influence[user];
  return difference;
}

PolicyEstimate direct_method(std::span<const LoggedResponse> responses, std::int64_t num_users) {
  // Predictions that are means of the log's own scores err as these scatter.
  return mean_of(
      responses, num_users, [](const LoggedResponse& row) { return row.policy_predicted; },
      [](const LoggedResponse& row) { return row.policy_predicted + row.weight * (row.score - row.predicted); });
}

PolicyEstimate importance_sampling(std::span<const LoggedResponse> responses, std::int64_t num_users) {
  const Term term = [](const LoggedResponse& row) { return row.weight * row.reward; };
  return mean_of(responses, num_users, term, term);
}

PolicyEstimate self_normalized(std::span<const LoggedResponse> responses, std::int64_t num_users) {
  return weighted_mean(responses, num_users, true, reward_of);
}

PolicyEstimate doubly_robust(std::span<const LoggedResponse> responses, std::int64_t num_users) {
  return switch_doubly_robust(responses, num_users, std::numeric_limits<double>::infinity());
}

PolicyEstimate switch_estimator(std::span<const LoggedResponse> responses, std::int64_t num_users,
                                double largest_weight) {
  const auto weighted = [](const LoggedResponse& row) { return row.weight * row.reward; };
  return mean_of(
      responses, num_users,
      [=](const LoggedResponse& row) {
        return row.rare_predicted + (row.weight <= largest_weight ? weighted(row) : 0.0);
      },
      [=](const LoggedResponse& row) {  // with the scatter of the scores behind the predictions
        return row.rare_predicted +
               (row.weight <= largest_weight ? weighted(row) : row.weight * (row.score - row.predicted));
      });
}

PolicyEstimate switch_doubly_robust(std::span<const LoggedResponse> responses, std::int64_t num_users,
                                    double largest_weight) {
  const auto corrected = [=](const LoggedResponse& row) {
    return row.policy_predicted + row.weight * (row.reward - row.predicted);
  };
  return mean_of(
      responses, num_users,
      [=](const LoggedResponse& row) { return row.weight <= largest_weight ? corrected(row) : row.policy_predicted; },
      [=](const LoggedResponse& row) {
        return row.weight <= largest_weight ? corrected(row)
                                            : row.policy_predicted + row.weight * (row.score - row.predicted);
      });
}

PredictionPowered prediction_powered(std::span<const LoggedResponse> responses, std::int64_t num_users, double lambda) {
  const PolicyEstimate rewards = weighted_mean(responses, num_users, true, reward_of),
                       here = weighted_mean(responses, num_users, true, score_of),
                       there = weighted_mean(responses, num_users, false, score_of);
  PolicyEstimate powered = difference_of(there, here);  // what lambda multiplies
  if (std::isnan(lambda)) {
    const double spread = dot(powered.influence, powered.influence);
    lambda = spread > 0 ? std::clamp(-dot(rewards.influence, powered.influence) / spread, 0.0, 1.0) : 0.0;
  }
  for (std::size_t user = 0; user < powered.influence.size(); ++user)
    powered.influence[user] = rewards.influence[user] + lambda * powered.influence[user];
  powered.value = rewards.value + lambda * powered.value;
  powered.num_users = rewards.num_users;  // the fewer, so that the interval is not too short
  return {.estimate = std::move(powered), .lambda = lambda};
}

WeightFacts weight_facts(std::span<const LoggedResponse> responses) {
  WeightFacts facts;
  double sum = 0, squares = 0;
  for (const LoggedResponse& response : responses) {
    if (!response.observed || !(response.weight > 0)) continue;
    sum += response.weight;
    squares += response.weight * response.weight;
    facts.largest = std::max(facts.largest, response.weight);
    facts.num_responses += 1;
    facts.num_events += response.reward > 0 ? 1 : 0;
  }
  if (sum > 0) {
    facts.effective = sum * sum / squares;
    facts.largest_share = facts.largest / sum;
  }
  return facts;
}

}  // namespace rluf
