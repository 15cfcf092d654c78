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

/// What the regression knows of a user.
struct UserTerms {
  double retained = 0;        ///< share of the user's responses after which the user was retained
  std::vector<double> terms;  ///< 1, ever gave the signal, log(responses), share of each use case but the first
};

class Design {
 public:
  Design(const UserLog& log, std::size_t signal, const Communicator& comm)
      : signal_(signal), term_of_case_(log.use_cases.size(), 0) {
    std::vector<std::int64_t> counts(2 * log.use_cases.size(), 0);
    for (const Interaction& row : log.rows)
      if (row.retained >= 0 && row.use_case >= 0)
        ++counts[2 * static_cast<std::size_t>(row.use_case) + (row.retained != 0)];
    comm.all_reduce(counts);
    for (std::size_t c = 1; c < log.use_cases.size(); ++c)
      if (counts[2 * c] > 0 && counts[2 * c + 1] > 0 && counts[2 * c] + counts[2 * c + 1] >= kLeastResponses)
        term_of_case_[c] = num_all_++;
    leave_out_dependent(log, comm);
  }
  std::size_t num_terms() const { return kept_.size(); }
  bool has_signal() const { return kept_.size() > 1 && kept_[1] == 1; }
  std::vector<std::string> adjusted_for() const {
    std::vector<std::string> names;
    for (const std::size_t term : kept_) {
      if (term == 2) names.emplace_back("number of responses");
      if (term > 2) {
        names.emplace_back("use cases");
        break;
      }
    }
    return names;
  }
  /// False where the log does not tell the user's retention or signal.
  bool fill(UserRows user, UserTerms& out) const {
    std::vector<double>& terms = all_;
    terms.assign(num_all_, 0.0);
    double retained = 0, known = 0;
    bool could_give = false;
    for (const Interaction& row : user) {
      could_give = could_give || row.knows(signal_);
      if (row.has(signal_)) terms[1] = 1;
      if (row.use_case >= 0)
        if (const std::size_t term = term_of_case_[static_cast<std::size_t>(row.use_case)]; term > 0)
          terms[term] += 1 / static_cast<double>(user.size());
      if (row.retained < 0) continue;
      retained += row.retained;
      known += 1;
    }
    terms[0] = 1;
    terms[2] = std::log(static_cast<double>(user.size()));
    out.terms.clear();
    for (const std::size_t term : kept_) out.terms.push_back(terms[term]);
    out.retained = retained / known;
    return known > 0 && could_give;
  }

 private:
  /// Where all users are equally active, say, their activity tells nothing. @collective
  void leave_out_dependent(const UserLog& log, const Communicator& comm) {
    for (std::size_t term = 0; term < num_all_; ++term) kept_.push_back(term);
    UserSums sums(num_all_ * (num_all_ + 1) / 2);
    UserTerms one;
    for_each_user(std::span<const Interaction>(log.rows), [&](UserRows user) {
      if (!fill(user, one)) return;
      std::span<double> to = sums.of(user[0].user);
      std::size_t at = 0;
      for (std::size_t i = 0; i < num_all_; ++i)
        for (std::size_t j = i; j < num_all_; ++j) to[at++] += one.terms[i] * one.terms[j];
    });
    kept_ = independent_terms(from_triangle(sums.total(comm), num_all_), num_all_);
  }

  std::size_t signal_, num_all_ = 3;
  std::vector<std::size_t> term_of_case_;  ///< 0: none of its own
  std::vector<std::size_t> kept_;
  mutable std::vector<double> all_;  ///< of the user in hand
};

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Runs action(user, what the regression knows of him). Terms are made anew each time: users may be many.
template <class Action>
void for_each_term(const UserLog& log, const Design& design, const Action& action) {
  UserTerms one;
  for_each_user(std::span<const Interaction>(log.rows), [&](UserRows user) {
    if (design.fill(user, one)) action(user[0].user, one);
  });
}

/// Fills what comes out of the regression. @collective
void regress(const UserLog& log, const Design& design, double confidence, const Communicator& comm, Tie& tie) {
  if (!design.has_signal()) {
    tie.missing = "all users are alike in the signal";
    return;
  }
  const std::size_t n = design.num_terms();
  const LogisticFit fit = fit_logistic(n, [&](std::span<const double> coefficients) {
    UserSums sums(LogisticSums::size_of(n));
    for_each_term(log, design, [&](std::uint64_t user, const UserTerms& one) {
      LogisticSums::add(one.terms, one.retained, 1, coefficients, sums.of(user));
    });
    return sums.total(comm);
  });
  if (!fit.problem.empty()) {
    tie.missing = "the regression of retention has no result: " + fit.problem;
    return;
  }
  // Scores of the users, and the mean change of the probability when everybody gives the signal instead of nobody.
  const std::size_t triangle = n * (n + 1) / 2;
  UserSums sums(triangle + 2 + n);  // outer products; users; change and its gradient
  for_each_term(log, design, [&](std::uint64_t user, const UserTerms& one) {
    std::span<double> to = sums.of(user);
    const double log_odds = dot(one.terms, fit.coefficients), residual = one.retained - logistic(log_odds);
    const double off = log_odds - one.terms[1] * fit.coefficients[1], p1 = logistic(off + fit.coefficients[1]),
                 p0 = logistic(off), w1 = p1 * (1 - p1), w0 = p0 * (1 - p0);
    std::size_t at = 0;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i; j < n; ++j) to[at++] += residual * residual * one.terms[i] * one.terms[j];
    to[at++] += 1;
    to[at++] += p1 - p0;
    for (std::size_t i = 0; i < n; ++i) to[at++] += i == 1 ? w1 : (w1 - w0) * one.terms[i];
  });
  const std::vector<double> total = sums.total(comm);
  const double users = total[triangle];
  const auto num_users = static_cast<std::int64_t>(users);
  const SquareMatrix covariance =
      clustered_covariance(fit.bread, std::span(total).first(triangle), num_users, num_users);
  const double b = fit.coefficients[1], variance = covariance[n + 1];
  const Interval log_odds = normal_interval(b, variance, confidence);
  tie.odds_ratio = {std::exp(b), std::exp(log_odds.low), std::exp(log_odds.high)};
  tie.p = normal_two_sided(b / std::sqrt(variance));
  std::vector<double> gradient(total.begin() + static_cast<std::ptrdiff_t>(triangle + 2), total.end());
  for (double& value : gradient) value /= users;
  tie.adjusted_difference =
      normal_interval(total[triangle + 1] / users, quadratic_form(covariance, gradient), confidence);
  tie.adjusted_for = design.adjusted_for();
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

Tie measure_tie(const UserLog& log, std::size_t signal, const Tally& tally, double confidence,
                const Communicator& comm) {
  Tie tie{.missing = "", .adjusted_for = {}, .odds_ratio = kUndefined, .p = kNaN, .adjusted_difference = kUndefined};
  tie.responses = contrast_of(tally.with_outcome(signal, kRetained), confidence);
  tie.user_difference = user_difference(log, signal, confidence, comm);
  std::tie(tie.within_user, tie.within_users) =
      within_user(log, signal, confidence, comm, [](const Interaction& row) { return row.retained; });
  const auto returns = std::find(log.signals.begin(), log.signals.end(), "return_next_day") - log.signals.begin();
  const auto next_day = static_cast<std::size_t>(returns);
  std::tie(tie.within_return, tie.within_return_users) =
      within_user(log, signal, confidence, comm, [&](const Interaction& row) {
        return next_day != signal && row.knows(next_day) ? static_cast<int>(row.has(next_day)) : -1;
      });
  const Contrast& responses = tie.responses;
  if (tally.retention().sum(1) == 0) {
    tie.missing = "no row says whether the user was retained";
  } else if (responses.num_with == 0 || responses.num_without == 0) {
    tie.missing = "every response whose retention is known is alike in the signal";
  } else if (responses.both == 0 || responses.both == responses.num_with) {
    tie.missing = "retention is the same after every response with it";
  } else {
    regress(log, Design(log, signal, comm), confidence, comm, tie);
  }
  return tie;
}

}  // namespace rluf
