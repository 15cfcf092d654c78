#pragma once
/// What policies over the arms would be worth, by each estimator, or why that cannot be told. Pure functions.
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/pipeline/evaluation/arm_policies.hpp"
#include "rluf/pipeline/evaluation/statistics.hpp"
#include "rluf/statistics/off_policy.hpp"

namespace rluf {

/// The responses as a policy sees them. The propensity of a row without its own is the share of its arm in its use case
/// and window; the direct model of an arm there is the mean score of its responses (of all its responses where it has
/// none there). Shares and means are those of observed rows.
struct PolicyView {
  std::vector<LoggedResponse> responses;  ///< @shape [num_rows]
  double unsupported = 0;                 ///< share of the policy's traffic where its arms never served
};
/// Arms of a weight above `largest_weight` are those that SWITCH takes the direct model's word for.
PolicyView view_of(const ServedLog& log, const ArmPolicy& policy, double largest_weight);

/// One policy's estimates by name ("dm", "ips", "snips", "dr", "switch", "switch_dr", "ppi"); each is in one of the two
/// maps.
struct PolicyValue {
  std::string name;
  PolicyKind kind = PolicyKind::kArm;
  WeightFacts weights;
  ClusterSums weighted;                     ///< by user, of the observed responses: sums of w r and of w
  double unsupported = 0, model_share = 0;  ///< of the traffic that SWITCH leaves to the love model
  double lambda = 0;                        ///< of the prediction-powered estimate
  std::map<std::string, PolicyEstimate> estimates;
  std::map<std::string, std::string> refusals;  ///< why there is no estimate
  std::string few_hearts;                       ///< why there is no normal interval; empty: there is
};
PolicyValue value_of(const ServedLog& log, const ArmPolicy& policy, const LogOptions& options);

/// {"rows", ..., "reference", "policies": [...]}: each policy with its estimates, intervals, paired differences to the
/// policy `reference`, and its place by "snips" (paired bootstrap over users) among all but the log's own mixture.
nlohmann::json log_table(const ServedLog& log, const std::vector<ArmPolicy>& policies,
                         const std::vector<PolicyValue>& values, std::size_t reference, const LogOptions& options,
                         std::int64_t bootstrap_replicates, std::uint64_t seed);

/// Rows as gate_table() gives, for the policies of evaluate.policies: each passes if losing `margin` of the reference's
/// value is ruled out at `alpha` by "dr", or "snips" without a love model.
nlohmann::json log_gate(const std::vector<PolicyValue>& values, std::size_t reference, double margin, double alpha);

/// The table for the log.
std::string log_table_text(const nlohmann::json& table);

}  // namespace rluf
