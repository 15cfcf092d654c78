#include "tie.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "rluf/pipeline/signals/user_sums.hpp"
#include "rluf/statistics/distributions.hpp"
#include "rluf/statistics/logistic.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr Interval kUndefined{kNaN, kNaN, kNaN};
/// A use case of fewer responses, or with one outcome only, joins the most frequent one: it has no odds of its own.
constexpr std::int64_t kLeastResponses = 30;

using UserRows = std::span<const Interaction>;

struct Observation {
  double retained = 0;  ///< 0..1
  std::vector<double> terms;
};

enum class Unit { kUser, kResponse };

/// What the regression is told. Of a user: share of retained responses on 1, ever gave the signal, log(responses),
/// share of each use case but the most frequent. Of a response: retained on 1, signal, log(1 + the user's earlier
/// responses) (later ones are a part of being retained), use case.
class Design {
 public:
  Design(const UserLog& log, std::size_t signal, Unit unit, const Communicator& comm)
      : log_(log), signal_(signal), unit_(unit), term_of_case_(log.use_cases.size(), 0) {
    std::vector<std::int64_t> counts(2 * log.use_cases.size(), 0);
    for (const Interaction& row : log.rows)
      if (row.retained >= 0 && row.use_case >= 0)
        ++counts[2 * static_cast<std::size_t>(row.use_case) + (row.retained != 0)];
    comm.all_reduce(counts);
    for (std::size_t c = 1; c < log.use_cases.size(); ++c)
      if (counts[2 * c] > 0 && counts[2 * c + 1] > 0 && counts[2 * c] + counts[2 * c + 1] >= kLeastResponses)
        term_of_case_[c] = num_all_++;
    leave_out_dependent(comm);
  }
  std::size_t num_terms() const { return kept_.size(); }
  bool has_signal() const { return kept_.size() > 1 && kept_[1] == 1; }
  std::vector<std::string> adjusted_for() const {
    std::vector<std::string> names;
    if (std::find(kept_.begin(), kept_.end(), 2) != kept_.end()) names.emplace_back("number of responses");
    if (kept_.back() > 2) names.emplace_back("use case");
    return names;
  }

  /// Runs action(user, observations) for every user of whom the log tells signal and retention.
  template <class Action>
  void for_each(const Action& action) const {
    std::vector<Observation> observations;
    for_each_user(std::span<const Interaction>(log_.rows), [&](UserRows user) {
      observations.clear();
      if (unit_ == Unit::kUser) {
        add_user(user, observations);
      } else {
        add_responses(user, observations);
      }
      if (!observations.empty()) action(user[0].user, std::span<const Observation>(observations));
    });
  }

 private:
  void add_user(UserRows user, std::vector<Observation>& to) const {
    std::vector<double> terms(num_all_, 0.0);
    double retained = 0, known = 0;
    bool could_give = false;
    terms[0] = 1;
    terms[2] = std::log(static_cast<double>(user.size()));
    for (const Interaction& row : user) {
      could_give = could_give || row.knows(signal_);
      if (row.has(signal_)) terms[1] = 1;
      if (const std::size_t term = case_term(row); term > 0) terms[term] += 1 / static_cast<double>(user.size());
      if (row.retained < 0) continue;
      retained += row.retained;
      known += 1;
    }
    if (known > 0 && could_give) to.push_back({retained / known, kept_of(terms)});
  }

  void add_responses(UserRows user, std::vector<Observation>& to) const {
    for (std::size_t i = 0; i < user.size(); ++i) {
      if (user[i].retained < 0 || !user[i].knows(signal_)) continue;
      std::vector<double> terms(num_all_, 0.0);
      terms[0] = 1;
      terms[1] = user[i].has(signal_) ? 1 : 0;
      terms[2] = std::log1p(static_cast<double>(i));
      if (const std::size_t term = case_term(user[i]); term > 0) terms[term] = 1;
      to.push_back({static_cast<double>(user[i].retained), kept_of(terms)});
    }
  }

  std::size_t case_term(const Interaction& row) const {
    return row.use_case < 0 ? 0 : term_of_case_[static_cast<std::size_t>(row.use_case)];
  }
  std::vector<double> kept_of(const std::vector<double>& terms) const {
    std::vector<double> kept;
    for (const std::size_t term : kept_) kept.push_back(terms[term]);
    return kept;
  }
  /// Where all users are equally active, say, their activity tells nothing. @collective
  void leave_out_dependent(const Communicator& comm) {
    for (std::size_t term = 0; term < num_all_; ++term) kept_.push_back(term);
    UserSums sums(num_all_ * (num_all_ + 1) / 2);
    for_each([&](std::uint64_t user, std::span<const Observation> observations) {
      std::span<double> to = sums.of(user);
      for (const Observation& one : observations) {
        std::size_t at = 0;
        for (std::size_t i = 0; i < num_all_; ++i)
          for (std::size_t j = i; j < num_all_; ++j) to[at++] += one.terms[i] * one.terms[j];
      }
    });
    kept_ = independent_terms(from_triangle(sums.total(comm), num_all_), num_all_);
  }

  const UserLog& log_;
  std::size_t signal_, num_all_ = 3;
  Unit unit_;
  std::vector<std::size_t> term_of_case_;  ///< 0: none of its own
  std::vector<std::size_t> kept_;
};

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// @collective
RetentionModel regress(const Design& design, double confidence, const Communicator& comm) {
  RetentionModel model{
      .missing = "", .adjusted_for = {}, .odds_ratio = kUndefined, .p = kNaN, .difference = kUndefined};
  if (!design.has_signal()) {
    model.missing = "all are alike in the signal";
    return model;
  }
  const std::size_t n = design.num_terms();
  const LogisticFit fit = fit_logistic(n, [&](std::span<const double> coefficients) {
    UserSums sums(LogisticSums::size_of(n));
    design.for_each([&](std::uint64_t user, std::span<const Observation> observations) {
      for (const Observation& one : observations)
        LogisticSums::add(one.terms, one.retained, 1, coefficients, sums.of(user));
    });
    return sums.total(comm);
  });
  if (!fit.problem.empty()) {
    model.missing = "the regression of retention has no result: " + fit.problem;
    return model;
  }
  // Scores of the users, and the mean change of the probability when everybody gives the signal instead of nobody.
  const std::size_t triangle = n * (n + 1) / 2;
  UserSums sums(triangle + 3 + n);  // outer products; users, observations; change and its gradient
  design.for_each([&](std::uint64_t user, std::span<const Observation> observations) {
    std::span<double> to = sums.of(user);
    std::vector<double> score(n, 0.0);
    for (const Observation& one : observations) {
      const double log_odds = dot(one.terms, fit.coefficients), residual = one.retained - logistic(log_odds);
      const double off = log_odds - one.terms[1] * fit.coefficients[1], p1 = logistic(off + fit.coefficients[1]),
                   p0 = logistic(off), w1 = p1 * (1 - p1), w0 = p0 * (1 - p0);
      to[triangle + 1] += 1;
      to[triangle + 2] += p1 - p0;
      for (std::size_t i = 0; i < n; ++i) {
        score[i] += residual * one.terms[i];
        to[triangle + 3 + i] += i == 1 ? w1 : (w1 - w0) * one.terms[i];
      }
    }
    to[triangle] += 1;
    std::size_t at = 0;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i; j < n; ++j) to[at++] += score[i] * score[j];
  });
  const std::vector<double> total = sums.total(comm);
  const double observations = total[triangle + 1];
  const SquareMatrix covariance =
      clustered_covariance(fit.bread, std::span(total).first(triangle), static_cast<std::int64_t>(total[triangle]),
                           static_cast<std::int64_t>(observations));
  const double b = fit.coefficients[1], variance = covariance[n + 1];
  const Interval log_odds = normal_interval(b, variance, confidence);
  model.odds_ratio = {std::exp(b), std::exp(log_odds.low), std::exp(log_odds.high)};
  model.p = normal_two_sided(b / std::sqrt(variance));
  std::vector<double> gradient(total.begin() + static_cast<std::ptrdiff_t>(triangle + 3), total.end());
  for (double& value : gradient) value /= observations;
  model.difference =
      normal_interval(total[triangle + 2] / observations, quadratic_form(covariance, gradient), confidence);
  model.adjusted_for = design.adjusted_for();
  return model;
}

/// Mean retention of the users who ever gave the signal - of the others, by Welch's interval. @collective
Interval user_difference(const UserLog& log, std::size_t signal, double confidence, const Communicator& comm) {
  UserSums sums(6);  // users, sum and sum of squares of their means; without the signal, with it
  for_each_user(std::span<const Interaction>(log.rows), [&](UserRows user) {
    double retained = 0, known = 0;
    bool gave = false, could = false;
    for (const Interaction& row : user) {
      gave = gave || row.has(signal);
      could = could || row.knows(signal);
      if (row.retained < 0) continue;
      retained += row.retained;
      known += 1;
    }
    if (known == 0 || !could) return;
    const double mean = retained / known;
    std::span<double> to = sums.of(user[0].user).subspan(gave ? 3 : 0, 3);
    to[0] += 1;
    to[1] += mean;
    to[2] += mean * mean;
  });
  const std::vector<double> s = sums.total(comm);
  if (s[0] < 2 || s[3] < 2) return kUndefined;
  const auto variance_of_mean = [&](std::size_t at) {
    return std::max(0.0, s[at + 2] - s[at + 1] * s[at + 1] / s[at]) / (s[at] - 1) / s[at];
  };
  return normal_interval(s[4] / s[3] - s[1] / s[0], variance_of_mean(0) + variance_of_mean(3), confidence);
}

/// Outcome after the signal - after other responses of the same user, over users who have both; a user counts as its
/// responses tell: n1 n0 / (n1 + n0). The estimate of a regression with an intercept for each user, its variance
/// clustered by user. `outcome(row)`: 0, 1; -1 unknown. @collective
template <class Outcome>
std::pair<Interval, std::int64_t> within_user(const UserLog& log, std::size_t signal, double confidence,
                                              const Communicator& comm, const Outcome& outcome) {
  UserSums sums(6);  // users; w, w d; (w d)^2, w^2 d, w^2
  for_each_user(std::span<const Interaction>(log.rows), [&](UserRows user) {
    double n[2] = {0, 0}, y[2] = {0, 0};
    for (const Interaction& row : user) {
      const int value = outcome(row);
      if (value < 0 || !row.knows(signal)) continue;
      n[row.has(signal)] += 1;
      y[row.has(signal)] += value;
    }
    if (n[0] == 0 || n[1] == 0) return;
    const double w = n[0] * n[1] / (n[0] + n[1]), d = y[1] / n[1] - y[0] / n[0];
    std::span<double> to = sums.of(user[0].user);
    const double terms[6] = {1, w, w * d, w * w * d * d, w * w * d, w * w};
    for (std::size_t i = 0; i < 6; ++i) to[i] += terms[i];
  });
  const std::vector<double> s = sums.total(comm);
  const auto users = static_cast<std::int64_t>(s[0]);
  if (users < 2) return {kUndefined, users};
  const double mean = s[2] / s[1];
  const double variance =
      std::max(0.0, s[3] - 2 * mean * s[4] + mean * mean * s[5]) / (s[1] * s[1]) * s[0] / (s[0] - 1);
  return {normal_interval(mean, variance, confidence), users};
}

}  // namespace

const RetentionModel& Tie::judged() const {
  if (!users.missing.empty()) return responses;
  if (!responses.missing.empty()) return users;
  return responses.difference.high - responses.difference.low < users.difference.high - users.difference.low ? responses
                                                                                                             : users;
}

Tie measure_tie(const UserLog& log, std::size_t signal, const Tally& tally, double confidence,
                const Communicator& comm) {
  const RetentionModel none{.missing = "not tried", .odds_ratio = kUndefined, .p = kNaN, .difference = kUndefined};
  Tie tie{.missing = "", .users = none, .responses = none};
  tie.after = contrast_of(tally.with_outcome(signal, kRetained), confidence);
  tie.user_difference = user_difference(log, signal, confidence, comm);
  std::tie(tie.within_user, tie.within_users) =
      within_user(log, signal, confidence, comm, [](const Interaction& row) { return row.retained; });
  const auto returns = std::find(log.signals.begin(), log.signals.end(), "return_next_day") - log.signals.begin();
  const auto next_day = static_cast<std::size_t>(returns);
  std::tie(tie.within_return, tie.within_return_users) =
      within_user(log, signal, confidence, comm, [&](const Interaction& row) {
        return next_day != signal && row.knows(next_day) ? static_cast<int>(row.has(next_day)) : -1;
      });
  const Contrast& after = tie.after;
  if (tally.retention().sum(1) == 0) {
    tie.missing = "no row says whether the user was retained";
  } else if (after.num_with == 0 || after.num_without == 0) {
    tie.missing = "every response whose retention is known is alike in the signal";
  } else if (after.both == 0 || after.both == after.num_with) {
    tie.missing = "retention is the same after every response with it";
  } else {
    tie.users = regress(Design(log, signal, Unit::kUser, comm), confidence, comm);
    tie.responses = regress(Design(log, signal, Unit::kResponse, comm), confidence, comm);
    if (!tie.users.missing.empty()) tie.missing = tie.responses.missing;
  }
  return tie;
}

}  // namespace rluf
