#include <cstdio>
#include <iostream>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"

namespace rluf {
namespace {

std::string p_text(const Json& p) {
  if (!p.is_number()) return "p unknown";
  char text[32];
  std::snprintf(text, sizeof text, "p = %.3g", p.get<double>());
  return text;
}

void print_table(const Json& table) {
  const std::string signal = table.at("signal");
  std::cout << "rows         " << table.at("rows") << ", of these before the test " << table.at("rows_before") << ", "
            << interval_text(table.at("days"), 1, 1) << " days\n";
  if (table.at("users_of_several_arms") > 0)
    std::cout << "left out     " << table["users_of_several_arms"] << " users that several arms served, with "
              << table.at("rows_of_several_arms") << " rows\n";
  for (const Json& name : table.at("small_arms"))
    std::cout << "left out     the arm " << name.get<std::string>() << ", which has too few users\n";
  std::cout << "sample ratio chi-square " << interval_text(table.at("sample_ratio").at("chi_square"), 1, 2) << ", "
            << p_text(table["sample_ratio"].at("p")) << '\n';
  for (const Json& arm : table.at("arms"))
    std::cout << "arm          " << arm.at("name").get<std::string>() << ": " << arm.at("users") << " users, "
              << interval_text(arm.at("responses"), 1, 0) << " responses, " << signal << ' '
              << interval_text(arm.at("rate"), 100, 3) << " %\n";
  for (const Json& row : table.at("comparisons")) {
    std::cout << '\n'
              << row.at("name").get<std::string>() << " against " << table.at("control").get<std::string>() << '\n'
              << "  lift of " << signal << "  " << interval_text(row.at("lift"), 100, 1) << " %, "
              << p_text(row.at("p")) << "; Fieller " << interval_text(row.at("lift_fieller"), 100, 1) << " %\n"
              << "  with pre-period  " << interval_text(row.at("cuped").at("difference"), 100, 3) << " points, "
              << p_text(row["cuped"].at("p")) << ", variance x "
              << interval_text(row["cuped"].at("variance_ratio"), 1, 2) << '\n'
              << "  valid any time   " << interval_text(row.at("any_time").at("difference"), 100, 3) << " points, "
              << p_text(row["any_time"].at("p")) << '\n';
    for (const Json& guardrail : row.at("guardrails"))
      std::cout << "  guardrail        " << guardrail.at("name").get<std::string>() << ' '
                << interval_text(guardrail.at("lift"), 100, 1) << " %, no rise beyond the margin: Holm "
                << p_text(guardrail.at("p_holm")) << '\n';
    for (const Json& segment : row.at("segments"))
      if (segment.at("differs").get<bool>())
        std::cout << "  segment          " << segment.at("name").get<std::string>() << ' '
                  << interval_text(segment.at("lift"), 100, 1) << " %, Benjamini-Hochberg "
                  << p_text(segment.at("p_bh")) << '\n';
    std::cout << "  verdict          " << row.at("decision").at("verdict").get<std::string>() << ": "
              << row["decision"].at("reason").get<std::string>() << '\n';
  }
  std::cout << "\nto see a lift of " << interval_text(table.at("expected_lift"), 100, 0)
            << " %: " << interval_text(table.at("users_needed_per_arm"), 1, 0) << " users an arm, "
            << interval_text(table.at("days_needed"), 1, 0) << " days at the present rate (design effect "
            << interval_text(table.at("design_effect"), 1, 2) << ")\n"
            << std::flush;
}

}  // namespace

void tool_abtest(const RunConfig& config, const std::vector<std::string>& operands) {
  if (operands.size() != 1)
    fail_input("wrong number of arguments: rluf abtest LOG.jsonl[.gz]", "the command does not know what to work on",
               "see --help");
  const Json table = ab_log_table(read_ab_log(operands[0], config.abtest), config.abtest);
  if (!config.abtest.output.empty()) write_json(config.abtest.output, table);
  print_table(table);
  if (!config.abtest.gate) return;
  for (const Json& row : table.at("comparisons"))
    if (row.at("decision").at("verdict") != "ship")
      throw Error(ExitCode::kAlarm, concat("the gate stays shut for ", row.at("name").get<std::string>(), " (",
                                           row["decision"].at("verdict").get<std::string>(),
                                           "): ", row["decision"].at("reason").get<std::string>()));
}

}  // namespace rluf
