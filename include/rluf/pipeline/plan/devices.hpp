#pragma once
/// What one rank computes with and how ranks reach each other, as the makers publish it.
#include <string>
#include <vector>

namespace rluf {

struct Device {
  std::string name, text;
  double bf16_flops = 0, f32_flops = 0;  ///< dense matrix products @unit FLOP/s
  double memory_bytes = 0;
  double memory_bandwidth = 0;   ///< @unit bytes/s
  double link_bandwidth = 0;     ///< to the other devices of a node, one direction @unit bytes/s
  double network_bandwidth = 0;  ///< of the device's share of the node's adapters, one direction @unit bytes/s
  double host_bandwidth = 0;     ///< to the memory of the host, one direction @unit bytes/s
};

/// @throws Error(kBadInput) for a name that is not in the table
const Device& device_named(const std::string& name);
std::vector<std::string> device_names();

}  // namespace rluf
