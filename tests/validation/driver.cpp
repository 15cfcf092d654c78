// validation_driver CASES.json OUT.json: the A/B statistics of the cases that ab_oracle.py made.
#include <Kokkos_Core.hpp>

#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/validation/ab_statistics.hpp"

using namespace rluf;

namespace {

Json bounds(const Interval& interval) { return {interval.value, interval.low, interval.high}; }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const Kokkos::ScopeGuard kokkos(argc, argv);
  const Json cases = read_json(argv[1]);
  Json out{{"tails", Json::array()}, {"shares", Json::array()}, {"ratios", Json::array()}};
  for (const Json& one : cases.at("tails")) out["tails"].push_back(chi_square_tail(one[0], one[1]));
  for (const Json& counts : cases.at("shares")) {
    const ChiSquare test = equal_shares_test(counts.get<std::vector<std::int64_t>>());
    out["shares"].push_back({test.statistic, test.p});
  }
  for (const Json& arms : cases.at("ratios")) {
    const auto column = [&](int i) { return arms[static_cast<std::size_t>(i)].get<std::vector<double>>(); };
    const Ratio treatment = ratio_of_sums(column(0), column(1)), control = ratio_of_sums(column(2), column(3));
    const RatioComparison comparison = compare_ratios(treatment, control);
    out["ratios"].push_back({{"treatment", {treatment.value, treatment.variance, design_effect(treatment)}},
                             {"difference", bounds(comparison.difference)},
                             {"lift", bounds(comparison.lift)},
                             {"p", comparison.p}});
  }
  write_json(argv[2], out);
}
