#!/usr/bin/env bash
# Sets everything up, builds everything, runs all tests. Ends with CTest's summary and its exit code.
#   bash tests/run.sh [options of ctest, such as -R '^policy\.' or -L oracle]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash jobs/setup.sh --tests --model smollm2
memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$(nproc)
((jobs * 3 <= memory_gb * 2)) || jobs=$((memory_gb * 2 / 3 > 0 ? memory_gb * 2 / 3 : 1))
cmake -G Ninja -B build -DCMAKE_BUILD_TYPE=Release -DRLUF_TESTS=ON
cmake --build build -j "$jobs"
# The CUDA build too, where its compiler is: through ccache it shares nearly all objects with the first one.
if command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]]; then
  cmake -G Ninja -B build-cuda -DCMAKE_BUILD_TYPE=Release -DRLUF_CUDA=ON
  cmake --build build-cuda -j "$jobs" --target rluf gpu_test
else
  echo "no CUDA compiler (nvcc) here: the CUDA build is left out, and pipeline.cuda_build will skip"
fi
if (($(id -u) == 0)); then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
# Tests on several ranks say so (PROCESSORS), and CTest starts no more at a time than there are cores.
exec ctest --test-dir build -j "$(($(nproc) > 2 ? $(nproc) : 2))" --output-on-failure --no-tests=error "$@"
