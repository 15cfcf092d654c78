# Finds every third-party library once. On a workstation jobs/setup.sh puts LibTorch and Kokkos under .deps/;
# on a cluster modules or Spack provide all of them through CMAKE_PREFIX_PATH. Nothing is downloaded here.
find_package(MPI REQUIRED COMPONENTS C CXX)
set(HDF5_PREFER_PARALLEL TRUE)
find_package(HDF5 REQUIRED COMPONENTS C)
if(NOT HDF5_IS_PARALLEL)
  message(FATAL_ERROR "HDF5 was built without MPI (ranks could not share one checkpoint file): install a parallel HDF5")
endif()
if(POLICY CMP0167) # newer CMakes leave the search to Boost itself
  cmake_policy(SET CMP0167 NEW)
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
cmake_path(CONVERT "$ENV{CMAKE_PREFIX_PATH}" TO_CMAKE_PATH_LIST prefixes NORMALIZE)
list(PREPEND prefixes ${CMAKE_PREFIX_PATH})
set(torch_places ${LIBTORCH_DIR} $ENV{LIBTORCH_DIR})
foreach(prefix IN LISTS prefixes) # LibTorch's folder, its share/cmake, or a Python installation with the package torch
  file(GLOB in_python ${prefix}/lib*/python3*/site-packages/torch)
  list(APPEND torch_places ${prefix} ${prefix}/../.. ${in_python})
endforeach()
file(GLOB torch_in_venv ${PROJECT_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages/torch)
find_path(RLUF_TORCH_DIR share/cmake/Torch/TorchConfig.cmake HINTS ${torch_places} ${torch_in_venv} NO_DEFAULT_PATH
          DOC "Folder of LibTorch (holds include/ and lib/)")
if(NOT RLUF_TORCH_DIR)
  message(FATAL_ERROR "LibTorch not found (the models need it): run jobs/setup.sh, load a module with "
                      "LibTorch or PyTorch, or pass -DLIBTORCH_DIR=/path/to/libtorch")
endif()
message(STATUS "LibTorch: ${RLUF_TORCH_DIR}")
set(CMAKE_INSTALL_RPATH ${RLUF_TORCH_DIR}/lib) # CMake leaves out what lies below the source folder, such as .deps/
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
  target_compile_options(rluf_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer>)
  target_link_options(rluf_options INTERFACE -fsanitize=address,undefined)
endif()

# CUDA, NCCL and the CUDA half of LibTorch. Only the room parallel compiles against them (see src/CMakeLists.txt): all
# other objects are the same in both builds, so that ccache makes the second one cheap.
if(RLUF_CUDA)
  find_package(CUDAToolkit 12.6 REQUIRED)
  if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90)
  endif()
  enable_language(CUDA)
  # The last place is the Python package that LibTorch's own comes from; it has no plain libnccl.so.
  set(nccl_beside_torch ${RLUF_TORCH_DIR}/../nvidia/nccl)
  find_path(NCCL_INCLUDE_DIR nccl.h
    HINTS ${NCCL_ROOT}/include $ENV{NCCL_ROOT}/include ${CUDAToolkit_INCLUDE_DIRS} ${nccl_beside_torch}/include REQUIRED)
  find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2
    HINTS ${NCCL_ROOT}/lib $ENV{NCCL_ROOT}/lib ${CUDAToolkit_LIBRARY_DIR} ${nccl_beside_torch}/lib REQUIRED)
  if(NOT EXISTS ${RLUF_TORCH_DIR}/lib/libtorch_cuda.so)
    message(FATAL_ERROR "${RLUF_TORCH_DIR} has no libtorch_cuda.so (it was built for CPUs only): use a LibTorch with CUDA")
  endif()
  message(STATUS "CUDA ${CUDAToolkit_VERSION}, NCCL: ${NCCL_LIBRARY}")
  add_library(rluf_cuda INTERFACE)
  set(rluf_cuda_includes ${CUDAToolkit_INCLUDE_DIRS} ${NCCL_INCLUDE_DIR})
  list(REMOVE_DUPLICATES rluf_cuda_includes)
  list(TRANSFORM rluf_cuda_includes PREPEND "-isystem;")
  # No symbol of libtorch_cuda is named anywhere, it registers itself when it is loaded: the linker must keep it.
  target_link_libraries(rluf_cuda INTERFACE
    -Wl,--push-state,--no-as-needed,${RLUF_TORCH_DIR}/lib/libtorch_cuda.so,--pop-state
    ${RLUF_TORCH_DIR}/lib/libc10_cuda.so ${NCCL_LIBRARY} ${CUDA_cudart_LIBRARY})
  # LibTorch's own libraries look for theirs (cuBLAS, cuDNN, ...) here too: that takes RPATH, for RUNPATH does not pass
  # on. Those beside LibTorch come first, they are what it was built with.
  file(REAL_PATH ${RLUF_TORCH_DIR}/.. around_torch)
  file(GLOB beside_torch ${around_torch}/nvidia/*/lib)
  set(CMAKE_BUILD_RPATH ${RLUF_TORCH_DIR}/lib ${beside_torch} ${CUDAToolkit_LIBRARY_DIR})
  set(CMAKE_INSTALL_RPATH ${CMAKE_BUILD_RPATH})
  add_link_options(LINKER:--disable-new-dtags)
endif()
