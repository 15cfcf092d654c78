#pragma once
/// What travels on each axis of the process grid, collective by collective.
#include <vector>

#include "rluf/pipeline/plan/machine.hpp"
#include "rluf/pipeline/plan/model_on_layout.hpp"
#include "rluf/pipeline/plan/model_work.hpp"

namespace rluf {

enum class Collective { kAllReduce, kAllGather, kReduceScatter };
const char* name_of(Collective collective);

/// Calls of one collective on one axis and the bytes they hand over on one rank, all calls together: the buffer of an
/// all-reduce, the gathered result of an all-gather, the whole input of a reduce-scatter.
struct PlannedTraffic {
  Axis axis;
  Collective collective;
  Quantity calls, bytes;
  std::string text;
};

/// Of one micro-batch: forward and backward.
std::vector<PlannedTraffic> micro_batch_traffic(const ModelOnLayout& model, const PlanLayout& layout,
                                                const Workload& load);
/// Of one micro-batch that is only scored.
std::vector<PlannedTraffic> forward_traffic(const ModelOnLayout& model, const PlanLayout& layout, const Workload& load);
/// Of the end of a step: sums of gradients and updated rows.
std::vector<PlannedTraffic> end_of_step_traffic(const ModelOnLayout& model, const PlanLayout& layout);
/// Of the weights' way from the training shards to the layout of generation.
std::vector<PlannedTraffic> weights_for_generation_traffic(const ModelOnLayout& model, const PlanLayout& layout);
/// Of one generated token of `sequences` sequences.
std::vector<PlannedTraffic> decode_traffic(const ModelOnLayout& model, const PlanLayout& layout,
                                           const Quantity& sequences);

/// Time of a ring: bytes 2 (n - 1) / n or (n - 1) / n over the bus, and the calls' latency. @unit seconds
Quantity seconds_of(const PlannedTraffic& traffic, const Machine& machine, const PlanLayout& layout);
/// One line for each collective, then the seconds of each, named with the prefix; and their sum.
Quantity add_traffic_figures(const std::vector<PlannedTraffic>& traffic, const std::string& sum, const Machine& machine,
                             const PlanLayout& layout, std::vector<Figure>& figures);

}  // namespace rluf
