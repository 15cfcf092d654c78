#!/usr/bin/env bash
# Damaged and hostile files for every parser, under the sanitizers if their build is there (bash tests/sanitize.sh makes it).
#   bash tests/fuzz.sh [--runs 100000] [--seed 1]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=build
[[ ! -x build-sanitize/fuzz ]] || build="build-sanitize"
echo "fuzz: with $build"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 OMPI_MCA_memory=^patcher
if (($(id -u) == 0)); then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
RLUF=$PWD/$build/rluf RLUF_FUZZ=$PWD/$build/fuzz RLUF_SOURCE=$PWD OMP_NUM_THREADS=1 exec python3 tests/fuzz/fuzz.py "$@"
