# A PBS cluster with GPU nodes whose modules put their prefixes into CMAKE_PREFIX_PATH and the compilers into PATH.
#   module load gcc cmake openmpi hdf5 boost kokkos pytorch cuda nccl
#   cmake -C modules/generic-pbs.cmake -B build && cmake --build build -j 8 && cmake --install build
set(RLUF_CUDA ON CACHE BOOL "")
set(RLUF_TESTS OFF CACHE BOOL "")
set(CMAKE_CUDA_ARCHITECTURES 80 90 CACHE STRING "A100 and H100; 100 for B200")
set(CMAKE_INSTALL_PREFIX $ENV{HOME}/rluf CACHE PATH "")
# What the modulefile of rluf loads with it: the names that were loaded for the build.
set(RLUF_MODULES gcc openmpi hdf5 boost kokkos pytorch cuda nccl CACHE STRING "")
# mpirun must know PBS's hosts: an Open MPI without --with-tm needs --hostfile $PBS_NODEFILE in LAUNCHER (jobs/pbs/).
