# UNTESTED. ALCF Polaris (four A100 a node, PBS). Module names as published by ALCF; LibTorch comes from the conda module,
# Kokkos is to be installed by hand.
#   module use /soft/modulefiles && module load PrgEnv-gnu cudatoolkit-standalone cray-hdf5-parallel spack-pe-base cmake conda
#   cmake -C modules/polaris.cmake -B build -DKokkos_ROOT=... && cmake --build build -j 8 && cmake --install build
set(CMAKE_C_COMPILER cc CACHE STRING "")
set(CMAKE_CXX_COMPILER CC CACHE STRING "")
set(RLUF_CUDA ON CACHE BOOL "")
set(RLUF_TESTS OFF CACHE BOOL "")
set(CMAKE_CUDA_ARCHITECTURES 80 CACHE STRING "")
set(HDF5_ROOT $ENV{HDF5_ROOT} CACHE PATH "")
set(LIBTORCH_DIR $ENV{LIBTORCH_DIR} CACHE PATH "python3 -c 'import torch; print(torch.__path__[0])'")
set(RLUF_MODULES PrgEnv-gnu cudatoolkit-standalone cray-hdf5-parallel CACHE STRING "")
