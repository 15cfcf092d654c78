#!/usr/bin/env bash
# Builds with the address, leak and undefined-behaviour sanitizers and runs the unit tests, on one and on two ranks.
#   bash tests/sanitize.sh [BUILD_FOLDER] [options of ctest, such as -R '^io\.']
# Cost: about 20 minutes of two cores the first time. LibTorch, MPI and HDF5 are not instrumented: errors inside of them
# go unseen, and leaks of theirs are listed with their reasons in tests/sanitizers.supp.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source=$PWD

build="build-sanitize"
if (($# > 0)) && [[ $1 != -* ]]; then build=$1; shift; fi
memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=${RLUF_JOBS:-$(nproc)}
((jobs * 4 <= memory_gb * 2)) || jobs=$((memory_gb / 2 > 0 ? memory_gb / 2 : 1))
cmake -G Ninja -B "$build" -DRLUF_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1 -D_GLIBCXX_ASSERTIONS"
cmake --build "$build" -j "$jobs"

export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
# Frame pointers end at libraries that have none; the slow way of unwinding gets through them to a name.
ASAN_OPTIONS+=:fast_unwind_on_malloc=0
# GCC 12's leak search crashes on thread-local memory of plugins; without it the search is stricter, not weaker.
export LSAN_OPTIONS=suppressions=$source/tests/sanitizers.supp:print_suppressions=0:use_tls=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export OMPI_MCA_memory=^patcher # Open MPI's own hooks on memory calls would replace the sanitizer's
if (($(id -u) == 0)); then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
# What runs the whole program or compares with other programs belongs to tests/run.sh, and so do 3 and 4 ranks.
exec ctest --test-dir "$build" -j "$(nproc)" --output-on-failure --no-tests=error \
  -LE 'oracle|pipeline|style|jobs|modules' -E '/[3-9]$' "$@"
