# UNTESTED. NERSC Perlmutter, GPU nodes (four A100, Slurm). Module names as published by NERSC; Kokkos has none there:
# install it with Spack or by hand and pass -DKokkos_ROOT.
#   module load PrgEnv-gnu cudatoolkit cray-hdf5-parallel nccl pytorch cmake
#   cmake -C modules/perlmutter.cmake -B build -DKokkos_ROOT=... && cmake --build build -j 8 && cmake --install build
set(CMAKE_C_COMPILER cc CACHE STRING "")
set(CMAKE_CXX_COMPILER CC CACHE STRING "") # Cray's wrappers bring MPI and HDF5
set(RLUF_CUDA ON CACHE BOOL "")
set(RLUF_TESTS OFF CACHE BOOL "")
set(CMAKE_CUDA_ARCHITECTURES 80 CACHE STRING "")
set(HDF5_ROOT $ENV{HDF5_ROOT} CACHE PATH "")
set(NCCL_ROOT $ENV{NCCL_HOME} CACHE PATH "")
set(RLUF_MODULES PrgEnv-gnu cudatoolkit cray-hdf5-parallel nccl pytorch CACHE STRING "")
