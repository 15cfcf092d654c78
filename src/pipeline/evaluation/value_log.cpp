#include "value_log.hpp"

#include "rluf/config/option_table.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/evaluation/log_value.hpp"
#include "rluf/pipeline/signals/signal_choice.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// Where the policy stands that the others are compared with. A baseline that is a candidate alone leaves the log's own
/// mixture.
std::size_t position_of_reference(const std::vector<ArmPolicy>& policies, const std::string& baseline,
                                  bool may_be_a_candidate) {
  for (std::size_t p = 0; p < policies.size(); ++p)
    if (policies[p].name == baseline) return p;
  if (baseline.empty() || may_be_a_candidate) return 0;
  std::vector<std::string> names;
  for (const ArmPolicy& policy : policies) names.push_back(policy.name);
  const std::string nearest = nearest_name(baseline, names);
  fail_input(concat("evaluate.baseline = \"", baseline, "\" is no arm of the log and no policy"),
             "the others are to be compared with it",
             nearest.empty() ? "name an arm or a policy, or leave it out for the log's own mixture"
                             : concat("did you mean ", nearest, "?"));
}

std::string signal_name(const DataOptions& data, const StageContext& context) {
  if (data.signal != "auto") return data.signal;
  const SignalChoice choice = read_signal_choice(signal_choice_path(context.directory));
  if (choice.recommended.empty())
    fail_input("data.signal = auto, but no signal is recommended", choice.reason, "name a signal");
  return choice.recommended;
}

}  // namespace

Json value_log(const EvaluationOptions& options, const DataOptions& data, const RewardModel* love,
               const StageContext& context) {
  std::string signal;
  guarded(context.grid.world, [&] { signal = signal_name(data, context); });
  const ServedLog log = read_served_log(options.log, data, signal, love, options.micro_batch_tokens, context);
  if (log.truncated > 0)
    log_info(concat("evaluate: ", log.truncated, " of ", log.rows.size(),
                    " responses of the log lost their oldest context, or their end, at ", data.max_tokens, " tokens"));
  Json found;
  guarded(context.grid.world, [&] {
    const std::vector<ArmPolicy> policies = arm_policies(log, options.log.policies);
    const std::size_t reference = position_of_reference(policies, options.baseline, !data.candidates.empty());
    std::vector<PolicyValue> values;
    for (const ArmPolicy& policy : policies) values.push_back(value_of(log, policy, options.log));
    Json table = log_table(log, policies, values, reference, options.log, options.bootstrap_replicates, context.seed());
    table["signal"] = signal;
    log_info(log_table_text(table));
    found["log"] = std::move(table);
    if (!options.log.policies.empty())
      found["log_gate"] = log_gate(values, reference, options.gate_margin, options.gate_alpha);
  });
  return found;
}

}  // namespace rluf
