#!/usr/bin/env bash
# Kills runs at random moments and starts them again until they are done; then compares with an undisturbed run.
#   bash tests/faults.sh [--kills 1000] [--seed 1]
# Needs a build (bash tests/run.sh makes one). Ends with the report: kills, restarts, steps lost, unreadable runs, hangs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (($(id -u) == 0)); then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
RLUF=${RLUF:-$PWD/build/rluf} RLUF_SOURCE=$PWD OMP_NUM_THREADS=1 exec python3 tests/pipeline/faults.py "$@"
