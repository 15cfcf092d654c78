#!/usr/bin/env bash
# From a fresh Debian 12 to a report: sets everything up, builds, and runs the whole pipeline on a simulated chat world.
#
# Arithmetic: set-up 5 minutes, build 10 minutes, run at most 10 minutes, all on two cores with 4 GB of memory.
# The run is inputs/quickstart.ini on two ranks; a second call continues where the first one stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash jobs/setup.sh
# A source with LibTorch takes about 1.5 GB while it is compiled.
memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$(nproc)
((jobs * 3 <= memory_gb * 2)) || jobs=$((memory_gb * 2 / 3 > 0 ? memory_gb * 2 / 3 : 1))
cmake -G Ninja -B build -DCMAKE_BUILD_TYPE=Release
cmake --build build --target rluf -j "$jobs"

# Open MPI wants to be told that root is meant, and that two ranks may share the cores that there are.
if (($(id -u) == 0)); then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
mpirun -n 2 --oversubscribe --bind-to none build/rluf run inputs/quickstart.ini "$@"

directory=$(build/rluf run inputs/quickstart.ini "$@" --print-config 2>/dev/null |
  sed -n 's/^ *directory *= *//p' | head -n 1)
echo "The report is $PWD/${directory:-runs/quickstart}/report.html (open it in a browser; it is one file)."
