// Driver of the oracle test: writes OUT/checkpoints/step_00000005.h5 with all ranks, and OUT/model with rank 0.
#include <ATen/ATen.h>

#include <iostream>

#include "rluf/io/checkpoint.hpp"
#include "rluf/io/safetensors.hpp"

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int result = 1;
  try {
    const std::string out = argv[1];
    const rluf::Communicator world = rluf::Communicator::world();
    const rluf::NamedTensors tensors{{"a", at::arange(35, at::kFloat).view({7, 5}) / 3},
                                     {"b", at::arange(9, at::kFloat).to(at::kBFloat16)},
                                     {"n", at::arange(4)}};
    rluf::write_checkpoint(
        out + "/checkpoints", {"oracle", 5, {{"seed", 1}}},
        [&](rluf::StateArchive& archive) {
          for (const auto& [name, tensor] : tensors) {
            at::Tensor copy = tensor;
            archive.tensor(name, copy);
          }
        },
        world);
    if (world.rank() == 0) rluf::write_safetensors(out + "/model", tensors);
    result = 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
  }
  MPI_Finalize();
  return result;
}
