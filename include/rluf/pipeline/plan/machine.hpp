#pragma once
/// The machine of a plan in symbols: rates, sizes, and how much of them is reached.
#include <vector>

#include "rluf/pipeline/plan/layout.hpp"
#include "rluf/pipeline/plan/plan_options.hpp"
#include "rluf/pipeline/plan/quantity.hpp"

namespace rluf {

struct Machine {
  std::string device;
  bool on_host = false;                  ///< the device's memory is the host's
  Quantity peak;                         ///< of matrix products in the compute type @unit FLOP/s
  Quantity matrix_rate, attention_rate;  ///< reached @unit FLOP/s
  Quantity memory;                       ///< @unit bytes
  Quantity program, spare;               ///< of it: libraries, and what the allocator cannot use @unit bytes
  Quantity memory_rate, link_rate, network_rate, host_rate, file_rate;  ///< reached @unit bytes/s
  Quantity host_memory_rate;                                            ///< a rank's share @unit bytes/s
  Quantity latency;                                                     ///< of a collective @unit seconds
  std::vector<Figure> figures;
};
/// The table's row with measured figures in place of the published ones. `compute`: f32 or bf16.
Machine machine_of(const PlanOptions& options, const std::string& compute);

/// Bytes a second that a ring over a group of this axis moves in and out of each rank: between nodes a ring can use the
/// adapters of all its ranks on a node at once. @source nccl-tests doc/PERFORMANCE.md, "bus bandwidth"
Quantity bus_rate(const Machine& machine, const PlanLayout& layout, Axis axis);

/// The sizes of the axes and their rates, under the symbols of all formulas.
std::vector<Figure> grid_figures(const Machine& machine, const PlanLayout& layout);

}  // namespace rluf
