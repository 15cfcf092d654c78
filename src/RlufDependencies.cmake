# Finds every third-party library once. On a workstation jobs/setup.sh puts LibTorch and Kokkos under .deps/;
# on a cluster modules or Spack provide all of them through CMAKE_PREFIX_PATH. Nothing is downloaded here.
find_package(MPI REQUIRED COMPONENTS C CXX)
set(HDF5_PREFER_PARALLEL TRUE)
find_package(HDF5 REQUIRED COMPONENTS C)
if(NOT HDF5_IS_PARALLEL)
  message(FATAL_ERROR "HDF5 was built without MPI (ranks could not share one checkpoint file): install a parallel HDF5")
endif()
find_package(Boost 1.74 REQUIRED COMPONENTS program_options iostreams)
find_package(ZLIB REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
list(APPEND CMAKE_PREFIX_PATH ${PROJECT_SOURCE_DIR}/.deps/kokkos)
find_package(Kokkos REQUIRED)
message(STATUS "Kokkos ${Kokkos_VERSION}: ${Kokkos_DIR}")

# LibTorch's libraries are linked directly: TorchConfig.cmake of a CUDA wheel insists on a toolkit of its own version.
file(GLOB torch_in_venv ${PROJECT_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages/torch)
find_path(RLUF_TORCH_DIR share/cmake/Torch/TorchConfig.cmake
          HINTS $ENV{LIBTORCH_DIR} ${torch_in_venv} PATH_SUFFIXES lib/python3/site-packages/torch
          DOC "Folder of LibTorch (holds include/ and lib/)")
if(NOT RLUF_TORCH_DIR)
  message(FATAL_ERROR "LibTorch not found (the models need it): run jobs/setup.sh or pass -DRLUF_TORCH_DIR=/path/to/libtorch")
endif()
message(STATUS "LibTorch: ${RLUF_TORCH_DIR}")
add_library(rluf_torch INTERFACE)
target_include_directories(rluf_torch SYSTEM INTERFACE
  ${RLUF_TORCH_DIR}/include ${RLUF_TORCH_DIR}/include/torch/csrc/api/include)
set(torch_libraries ${RLUF_TORCH_DIR}/lib/libtorch_cpu.so ${RLUF_TORCH_DIR}/lib/libc10.so)
target_link_libraries(rluf_torch INTERFACE ${torch_libraries})
target_link_options(rluf_torch INTERFACE -Wl,--allow-shlib-undefined)

add_library(rluf_options INTERFACE)
target_compile_options(rluf_options INTERFACE
  # GCC 12 warns of an overlap in "text" + std::string that is not there (-Wrestrict).
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers -Wno-restrict>)
target_compile_definitions(rluf_options INTERFACE OMPI_SKIP_MPICXX=1) # the C interface only
target_include_directories(rluf_options INTERFACE ${PROJECT_SOURCE_DIR}/include)
if(RLUF_SANITIZE)
  target_compile_options(rluf_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined -fno-omit-frame-pointer>)
  target_link_options(rluf_options INTERFACE -fsanitize=address,undefined)
endif()

if(RLUF_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90)
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit 12.6 REQUIRED)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} $ENV{NCCL_ROOT}/include REQUIRED)
  find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR} $ENV{NCCL_ROOT}/lib REQUIRED)
  target_link_libraries(rluf_torch INTERFACE ${RLUF_TORCH_DIR}/lib/libtorch_cuda.so ${RLUF_TORCH_DIR}/lib/libc10_cuda.so)
  target_compile_definitions(rluf_options INTERFACE RLUF_CUDA=1)
endif()
