// evaluation_driver CASES.json OUT.json: the statistics of the cases that statistics_oracle.py made.
#include <Kokkos_Core.hpp>

#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/evaluation/statistics.hpp"
#include "rluf/statistics/distributions.hpp"

using namespace rluf;

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const Kokkos::ScopeGuard kokkos(argc, argv);
  const Json cases = read_json(argv[1]);
  Json out{{"quantiles", Json::array()}, {"fisher", Json::array()}, {"spearman", Json::array()}};
  for (const Json& p : cases.at("quantiles")) out["quantiles"].push_back(normal_quantile(p));
  for (const Json& one : cases.at("fisher")) {
    const Interval interval = fisher_interval(one[0], one[1], one[2]);
    out["fisher"].push_back({interval.low, interval.high});
  }
  for (const Json& one : cases.at("spearman"))
    out["spearman"].push_back(spearman(one[0].get<std::vector<double>>(), one[1].get<std::vector<double>>()));
  write_json(argv[2], out);
}
