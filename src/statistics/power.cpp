#include "rluf/statistics/power.hpp"

#include <boost/math/tools/roots.hpp>
#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/statistics/distributions.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Variance of treatment - control, times the number of users.
double difference_variance(const AbDesign& design, double lift) {
  return design.user_variance(design.rate * (1 + lift)) / design.share_of_treatment() +
         design.user_variance(design.rate) / design.share_of_control();
}

bool is_possible(const AbDesign& design, double lift) {
  const double other = design.rate * (1 + lift);
  return design.rate > 0 && design.rate < 1 && other >= 0 && other <= 1 && lift != 0;
}

}  // namespace

double AbDesign::share_of_control() const { return control_share > 0 ? control_share : 1 / static_cast<double>(arms); }
double AbDesign::share_of_treatment() const { return (1 - share_of_control()) / static_cast<double>(arms - 1); }
double AbDesign::z_alpha() const {
  RLUF_ASSERT(arms >= 2);
  return normal_quantile(1 - alpha / (2 * static_cast<double>(arms - 1)));
}
double AbDesign::user_variance(double rate_of_arm) const {
  return rate_of_arm * (1 - rate_of_arm) * design_effect / responses_per_user *
         (1 - cuped_correlation * cuped_correlation);
}

AbUsers users_for(const AbDesign& design, double lift) {
  if (!is_possible(design, lift)) return {kNaN, kNaN, kNaN};
  const double z = design.z_alpha() + normal_quantile(design.power), change = design.rate * lift;
  const double total = z * z * difference_variance(design, lift) / (change * change);
  AbUsers users{.treatment = std::ceil(total * design.share_of_treatment()),
                .control = std::ceil(total * design.share_of_control()),
                .total = 0};
  users.total = users.treatment * static_cast<double>(design.arms - 1) + users.control;
  return users;
}

double power_with(const AbDesign& design, double lift, double total_users) {
  if (!is_possible(design, lift) || !(total_users > 0)) return kNaN;
  const double error = std::sqrt(difference_variance(design, lift) / total_users);
  return normal_upper(design.z_alpha() - design.rate * std::abs(lift) / error);
}

double detectable_lift(const AbDesign& design, double total_users) {
  const auto lacking = [&](double lift) { return design.power - power_with(design, lift, total_users); };
  const double low = 1e-9, high = 1 / design.rate - 1;
  if (!(total_users > 0) || !(high > low) || !(lacking(high) <= 0)) return kNaN;
  if (lacking(low) <= 0) return low;
  const auto [from, to] = boost::math::tools::bisect(
      lacking, low, high, [](double a, double b) { return std::abs(b - a) <= 1e-12 * std::abs(b); });
  return to;
}

}  // namespace rluf
