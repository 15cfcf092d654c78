#include <iostream>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"
#include "rluf/pipeline/validation/ab_plan.hpp"

namespace rluf {

void tool_plan_ab(const RunConfig& config) {
  std::optional<LogTraffic> log;
  if (!config.data.interactions.empty()) {
    if (config.data.signal == "auto")
      fail_input("data.signal = auto", "plan-ab looks at no run that could have recommended one", "name the signal");
    log = traffic_of_log(config.data.interactions, config.data.signal, config.data.max_rows);
  }
  const Json table = ab_plan_table(config.plan_ab, log);
  if (!config.plan_ab.output.empty()) write_json(config.plan_ab.output, table);
  std::cout << ab_plan_text(table) << std::flush;
}

}  // namespace rluf
