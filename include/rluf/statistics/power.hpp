#pragma once
/// How many users an A/B test of a rate needs, and what so many can show. Pure functions.
#include <cstdint>

namespace rluf {

/// Users are dealt to one control and arms - 1 treatments, each of which is compared with the control.
struct AbDesign {
  double rate = 0;                ///< events per response of the control
  double responses_per_user = 1;  ///< in the time of the test
  double design_effect = 1;       ///< variance of the rate over users, relative to independent responses
  double alpha = 0.05;            ///< two-sided, of all comparisons together (Bonferroni)
  double power = 0.8;
  double cuped_correlation = 0;  ///< between a user's figure before the test and in it
  double control_share = 0;      ///< of the users; 0: as many as every treatment
  std::int64_t arms = 2;         ///< with the control

  double share_of_control() const;
  double share_of_treatment() const;  ///< of one
  double z_alpha() const;             ///< z_{1 - alpha / (2 (arms - 1))}
  /// Variance that one user of an arm with `rate` gives to its figure:
  /// rate (1 - rate) * design effect / responses per user * (1 - correlation^2).
  double user_variance(double rate) const;
};

struct AbUsers {
  double treatment = 0, control = 0;  ///< of one arm; NaN where the effect leaves 0..1 or is none
  double total = 0;
};
/// Users to see rate turn into rate (1 + lift): total = (z_alpha + z_power)^2 (v' / t + v / c) / (rate lift)^2 with
/// user variances v', v and shares t, c of treatment and control. @source two-sample test of proportions, unpooled:
/// Fleiss, Levin and Paik 2003; a rate over users: Deng, Knoblich and Lu 2018; CUPED: Deng, Xu, Kohavi and Walker 2013
AbUsers users_for(const AbDesign& design, double lift);
/// Chance that `total_users` show the lift: Phi(rate |lift| / standard error - z_alpha).
double power_with(const AbDesign& design, double lift, double total_users);
/// The smallest rise that `total_users` show with the design's power; NaN if none does.
double detectable_lift(const AbDesign& design, double total_users);

}  // namespace rluf
