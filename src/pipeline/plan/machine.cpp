#include "rluf/pipeline/plan/machine.hpp"

#include "rluf/core/error.hpp"
#include "rluf/pipeline/plan/devices.hpp"

namespace rluf {

Machine machine_of(const PlanOptions& options, const std::string& compute) {
  const Device& device = device_named(options.device);
  const auto rate = [](const char* symbol, double measured, double unit, double published) {
    return Quantity(symbol, measured > 0 ? measured * unit : published);
  };
  const double published_peak = compute == "bf16" ? device.bf16_flops : device.f32_flops;
  Machine m;
  m.device = device.name;
  m.on_host = device.name == "cpu-core";
  m.peak = rate("peak", options.matrix_tflops, 1e12, published_peak);
  const Quantity memory_speed = rate("memory_speed", options.memory_gb_per_second, 1e9, device.memory_bandwidth);
  const Quantity link = rate("link", options.link_gb_per_second, 1e9, device.link_bandwidth);
  const Quantity network = rate("network", options.network_gb_per_second, 1e9, device.network_bandwidth);
  const Quantity host = rate("host_link", options.host_gb_per_second, 1e9, device.host_bandwidth);
  const Quantity e_matrix("e_matrix", options.matrix_efficiency);
  const Quantity e_attention("e_attention", options.attention_efficiency);
  const Quantity e_memory("e_memory", options.memory_efficiency);
  const Quantity e_network("e_network", options.network_efficiency);
  m.memory = rate("memory", options.memory_gb, 1e9, device.memory_bytes);
  m.program = Quantity("program", options.program_gb * 1e9);
  const Quantity spare_share("spare_share", options.spare_share);
  m.spare = (spare_share * m.memory).as("spare");
  m.matrix_rate = (m.peak * e_matrix).as("matrix_rate");
  m.attention_rate = (m.peak * e_attention).as("attention_rate");
  m.memory_rate = (memory_speed * e_memory).as("memory_rate");
  m.link_rate = (link * e_network).as("link_rate");
  m.network_rate = (network * e_network).as("network_rate");
  m.host_rate = (host * e_network).as("host_rate");
  m.host_memory_rate = Quantity("host_memory_rate", options.host_memory_gb_per_second * 1e9);
  m.file_rate = Quantity("file_rate", options.file_system_gb_per_second * 1e9);
  m.latency = Quantity("latency", options.collective_microseconds * 1e-6);
  m.figures = {{"peak of matrix products in " + compute, m.peak, "FLOP/s"},
               {"share of it that matrix products reach", e_matrix},
               {"share of it that attention reaches", e_attention},
               {"the memory's speed", memory_speed, "B/s"},
               {"share of it that is reached", e_memory},
               {"between ranks of a node, one direction", link, "B/s"},
               {"a rank's adapter, one direction", network, "B/s"},
               {"between device and host, one direction", host, "B/s"},
               {"share of these that is reached", e_network},
               {"share of the memory that the allocator cannot use", spare_share},
               {"reached by matrix products", m.matrix_rate, "FLOP/s"},
               {"reached by attention", m.attention_rate, "FLOP/s"},
               {"memory of a rank", m.memory, "B"},
               {"of it: libraries and contexts", m.program, "B"},
               {"of it: what the allocator cannot use", m.spare, "B"},
               {"reached of the memory's speed", m.memory_rate, "B/s"},
               {"reached between ranks of a node", m.link_rate, "B/s"},
               {"reached through a rank's adapter", m.network_rate, "B/s"},
               {"reached between device and host", m.host_rate, "B/s"},
               {"a rank's share of its host's memory speed", m.host_memory_rate, "B/s"},
               {"the file system, all ranks together", m.file_rate, "B/s"},
               {"an empty collective", m.latency, "s"},
               {"share of arithmetic and memory that hides the shard axis", Quantity("overlap", options.overlap)}};
  return m;
}

Quantity bus_rate(const Machine& machine, const PlanLayout& layout, Axis axis) {
  const std::int64_t on_node = ranks_on_node(layout, axis);
  const std::string name = concat("bus_", name_of(axis));
  if (on_node == size_of(layout, axis)) return (1 * machine.link_rate).as(name);
  return min(machine.link_rate, static_cast<double>(on_node) * machine.network_rate).as(name);
}

std::vector<Figure> grid_figures(const Machine& machine, const PlanLayout& layout) {
  const auto number = [](const char* symbol, std::int64_t value) {
    return Quantity(symbol, static_cast<double>(value));
  };
  std::vector<Figure> figures = {{"ranks", number("ranks", layout.ranks)},
                                 {"tensor axis", number("T", layout.tensor)},
                                 {"shard axis", number("S", layout.shard)},
                                 {"replicas: tensor groups", number("replicas", layout.replicas())}};
  if (layout.divides_weights())
    figures.push_back({"layers whose weights are gathered before their turn", number("ahead", layout.gather_ahead)});
  for (const Axis axis : {Axis::kTensor, Axis::kShard, Axis::kData, Axis::kReplicas}) {
    if (size_of(layout, axis) == 1 && axis != Axis::kData) continue;
    const std::string name = name_of(axis);
    figures.push_back({name + " axis: ranks of a group", number(("n_" + name).c_str(), size_of(layout, axis))});
    figures.push_back({name + " axis: moved in and out of a rank", bus_rate(machine, layout, axis), "B/s"});
  }
  return figures;
}

}  // namespace rluf
