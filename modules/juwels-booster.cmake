# UNTESTED. JSC JUWELS Booster (four A100 a node, Slurm). Module names of JSC's EasyBuild stages; Kokkos by hand where the
# stage has none.
#   module load Stages/2025 GCC OpenMPI CUDA NCCL HDF5 Boost nlohmann_json PyTorch CMake
#   cmake -C modules/juwels-booster.cmake -B build -DKokkos_ROOT=... && cmake --build build -j 8 && cmake --install build
set(RLUF_CUDA ON CACHE BOOL "")
set(RLUF_TESTS OFF CACHE BOOL "")
set(CMAKE_CUDA_ARCHITECTURES 80 CACHE STRING "")
set(HDF5_ROOT $ENV{EBROOTHDF5} CACHE PATH "")
set(NCCL_ROOT $ENV{EBROOTNCCL} CACHE PATH "")
set(RLUF_MODULES GCC OpenMPI CUDA NCCL HDF5 Boost PyTorch CACHE STRING "")
