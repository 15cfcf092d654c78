#include "rluf/pipeline/plan/devices.hpp"

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

const std::vector<Device>& table() {
  static const std::vector<Device> devices{
      // NVIDIA H100 Tensor Core GPU data sheet, SXM5: bf16 1,979 TFLOPS with sparsity, half of it dense; FP32 67; 80
      // GB;
      // 3.35 TB/s; NVLink 900 GB/s for both directions; PCIe gen 5 128 GB/s for both. DGX H100 data sheet: eight
      // adapters of 400 Gb/s for eight GPUs.
      {"h100-sxm", "NVIDIA H100 SXM5 80 GB, NVLink 4, 400 Gb/s a GPU", 989.4e12, 66.9e12, 80e9, 3.35e12, 450e9, 50e9,
       64e9},
      // NVIDIA H200 Tensor Core GPU data sheet, SXM: matrix rates and links of the H100; 141 GB; 4.8 TB/s.
      {"h200", "NVIDIA H200 SXM 141 GB, NVLink 4, 400 Gb/s a GPU", 989.4e12, 66.9e12, 141e9, 4.8e12, 450e9, 50e9, 64e9},
      // NVIDIA A100 Tensor Core GPU data sheet, SXM4 80 GB: bf16 312 TFLOPS dense; FP32 19.5; 2,039 GB/s; NVLink
      // 600 GB/s for both directions; PCIe gen 4 64 GB/s for both. DGX A100 data sheet: 200 Gb/s a GPU.
      {"a100-80", "NVIDIA A100 SXM4 80 GB, NVLink 3, 200 Gb/s a GPU", 312e12, 19.5e12, 80e9, 2.039e12, 300e9, 25e9,
       32e9},
      // NVIDIA GH200 Grace Hopper Superchip data sheet, 96 GB HBM3: bf16 990 TFLOPS dense; FP32 67; 4 TB/s; NVLink-C2C
      // 900 GB/s for both directions. Four a node with NVLink 4 and one Slingshot adapter of 200 Gb/s each: the public
      // description of the Alps system (CSCS).
      {"gh200", "NVIDIA GH200 96 GB, four a node, 200 Gb/s a GPU", 989.4e12, 66.9e12, 96e9, 4.0e12, 450e9, 25e9, 450e9},
      // One core of an AMD EPYC 9755 (data sheet: 128 cores, 2.7 GHz, twelve channels of DDR5-6400, 614 GB/s a socket;
      // Zen 5 has two 512-bit FMA units: 64 float32 operations a cycle, twice as many bf16 ones) with 6 GB and a share
      // of a 400 Gb/s adapter; ranks of a node meet in memory, where a copy reads and writes.
      {"cpu-core", "one core of AMD EPYC 9755, 6 GB a core", 345.6e9, 172.8e9, 6e9, 4.8e9, 2.4e9, 0.39e9, 4.8e9},
  };
  return devices;
}

}  // namespace

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (const Device& device : table()) names.push_back(device.name);
  return names;
}

const Device& device_named(const std::string& name) {
  for (const Device& device : table())
    if (device.name == name) return device;
  fail_input(concat("plan.device = ", name, " is not in the table"), "its speed and memory are unknown",
             "see rluf options for the names, and give measured figures in [plan]");
}

}  // namespace rluf
