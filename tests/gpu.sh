#!/usr/bin/env bash
# Carries the CUDA build to a machine with a GPU.
#   bash tests/gpu.sh pack DIR   here: program, GPU tests, MPI and HDF5 libraries and a small model into DIR (at most 48 MiB)
#   bash tests/gpu.sh run DIR    there (or DIR/gpu.sh run): runs them, prints results and figures, or why it skips
# The other machine needs a GPU with a driver for CUDA 13, glibc 2.36 or newer, and Python 3 with PyTorch 2.11, whose
# LibTorch is used. MPI runs as one rank without mpirun. Exit code: 0 all passed or skipped with a reason, 1 a failure.
set -euo pipefail

readonly limit_mib=48 torch_version=2.11

fail() { printf 'gpu.sh: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '3,4s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# Libraries that every machine of this kind has, or that come with PyTorch and the CUDA Toolkit.
is_foreign() {
  case ${1##*/} in
    ld-linux* | libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | libresolv.so* | libutil.so*) return 0 ;;
    libgcc_s.so* | libstdc++.so* | libgomp.so*) return 0 ;;
    libtorch* | libc10* | libcu*13 | libcu*12 | libcu*11 | libcu*10 | libcu*.so.0 | libcudnn* | libnccl* | libnv*) return 0 ;;
  esac
  return 1
}

# add_libraries FILE ...: what they load, into the folder lib.
add_libraries() {
  local file name path
  for file in "$@"; do
    while read -r name path; do
      if is_foreign "$name" || [[ -e $dir/lib/$name ]]; then continue; fi
      [[ -n $path ]] || fail "$file needs $name, which is not here"
      cp -L "$path" "$dir/lib/$name"
    done < <(ldd "$file" | awk '/=>/ {print $1, ($3 ~ /^\//) ? $3 : ""}')
  done
}

pack() {
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  local build=${RLUF_CUDA_BUILD:-build-cuda}
  [[ -x $build/rluf && -x $build/gpu_test ]] ||
    fail "$build holds no CUDA build: cmake -G Ninja -B $build -DRLUF_CUDA=ON && cmake --build $build --target rluf gpu_test"
  mkdir -p "$1"
  dir=$(cd "$1" && pwd)
  rm -rf "${dir:?}"/{bin,lib,plugins,model,gpu.sh,tiny.ini,prompts.jsonl}
  mkdir -p "$dir"/{bin,lib,plugins}
  cp "$build/rluf" "$build/gpu_test" "$dir/bin/"
  add_libraries "$dir"/bin/*

  # Open MPI's plugins, without those for networks that one rank does not use.
  local plugins plugin
  plugins=$(dirname "$(readlink -f "$(ldd "$dir/bin/rluf" | awk '/libmpi.so/ {print $3}')")")/openmpi/lib/openmpi3
  [[ -d $plugins ]] || plugins=$(ompi_info --path pkglibdir -parsable | sed 's/^path:pkglibdir://')
  for plugin in "$plugins"/mca_*.so; do
    case ${plugin##*/} in
      *_ofi* | *_ucx* | *_openib* | *_psm* | *_usnic* | *_verbs* | *netlink* | *monitoring*) continue ;;
      *_slurm* | *_flux* | *_jsm* | *_memheap* | *_sshmem* | *_scoll* | *_spml* | *_atomic*) continue ;;
    esac
    cp "$plugin" "$dir/plugins/"
  done
  add_libraries "$dir"/plugins/*.so

  # Search paths of this machine go, symbols go.
  local file
  for file in "$dir"/bin/* "$dir"/lib/* "$dir"/plugins/*; do
    strip --strip-unneeded "$file" 2>/dev/null || true
    printf 'file(RPATH_REMOVE FILE "%s")\n' "$file"
  done >"$dir/rpath.cmake"
  cmake -P "$dir/rpath.cmake" >/dev/null
  rm "$dir/rpath.cmake"

  # The base model of the simulated world, a few thousand weights, and prompts for it.
  local work
  work=$(mktemp -d)
  "$build/rluf" simulate tests/pipeline/tiny.ini --run.device=cpu --run.directory="$work" 2>"$work/log" ||
    { cat "$work/log" >&2; fail "the small model could not be made"; }
  cp -r "$work/world/base" "$dir/model"
  head -n 16 < <(zcat "$work/world/prompts.jsonl.gz") >"$dir/prompts.jsonl"
  rm -rf "$work"
  cp tests/gpu.sh tests/pipeline/tiny.ini "$dir/"

  local bytes
  bytes=$(du -sb "$dir" | cut -f1)
  printf '%s: %d files, %.1f MiB\n' "$dir" "$(find "$dir" -type f | wc -l)" "$(awk "BEGIN {print $bytes / 1048576}")"
  ((bytes <= limit_mib * 1048576)) || fail "more than $limit_mib MiB: it would not fit through the door"
}

result() { printf '%-5s %-28s %s\n' "$1" "$2" "$3"; }

# compare A B: losses of the training stages within 1e-3, everything else only told.
compare() {
  python3 - "$1/metrics.csv" "$2/metrics.csv" <<'PY'
import csv, sys
a, b = ({(r["stage"], r["step"], r["name"]): float(r["value"]) for r in csv.DictReader(open(path))
         if "second" not in r["name"] and "memory" not in r["name"]} for path in sys.argv[1:])
worst = {True: (0.0, "none"), False: (0.0, "none")}
for key in a.keys() & b.keys():
    strict = key[2] in ("loss", "grad_norm") and not key[0].startswith("policy")
    worst[strict] = max(worst[strict], (abs(a[key] - b[key]) / max(1.0, abs(a[key])), " ".join(key)))
print(f"{len(a)} numbers; largest difference in losses and gradient norms {worst[True][0]:.1e} ({worst[True][1]}), "
      f"elsewhere {worst[False][0]:.1e} ({worst[False][1]})")
sys.exit(a.keys() != b.keys() or not a or worst[True][0] > 1e-3)
PY
}

run() {
  dir=$(cd "$1" && pwd)
  [[ -x $dir/bin/rluf ]] || fail "$1 holds no pack: bash tests/gpu.sh pack $1"
  local torch version
  torch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__), torch.__version__)' 2>/dev/null) ||
    { result SKIP everything "python3 has no module torch here (its LibTorch is what the program needs)"; return 0; }
  version=${torch##* } torch=${torch% *}
  [[ $version == "$torch_version"* ]] ||
    { result SKIP everything "PyTorch is $version here, the program was linked against $torch_version"; return 0; }

  local cuda=${CUDA_HOME:-/usr/local/cuda} folder
  LD_LIBRARY_PATH=$dir/lib:$torch/lib
  for folder in "$torch"/../nvidia/*/lib "$cuda"/lib64; do
    if [[ -d $folder ]]; then LD_LIBRARY_PATH+=:$folder; fi
  done
  export LD_LIBRARY_PATH
  # Open MPI finds its plugins here; a machine without its configuration files is no reason to speak.
  export OPAL_PREFIX=$dir OPAL_PKGLIBDIR=$dir/plugins OMPI_MCA_mca_base_component_path=$dir/plugins
  export PMIX_MCA_mca_base_component_path=$dir/plugins OMPI_MCA_mca_base_component_show_load_errors=0
  export HWLOC_PLUGINS_PATH=$dir/plugins
  # One rank, without Open MPI's daemon, which is not packed.
  export OMPI_MCA_ess_singleton_isolated=1 OMPI_MCA_btl=self OMPI_MCA_pml=ob1
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  local rluf=$dir/bin/rluf failures=0 start

  if ! "$rluf" --version >"$work/version" 2>&1; then
    cat "$work/version"
    ldd "$rluf" 2>&1 | grep 'not found' || true
    result FAIL start "the program does not start"
    return 1
  fi
  cat "$work/version"
  echo
  result PASS start "PyTorch $version"
  local device=cuda
  if grep -q 'no GPU' "$work/version"; then
    device=cpu
    result SKIP gpu "$(sed -n 's/.*(no GPU: \(.*\))/no GPU: \1/p' "$work/version")"
  fi

  # Without a GPU the comparisons run between CPU and CPU, which at least tests them.
  if [[ $device == cpu ]]; then export RLUF_GPU_TEST_DEVICE=cpu; fi
  start=$SECONDS
  local passed skipped
  if "$dir/bin/gpu_test" >"$work/tests" 2>&1; then
    passed=$(grep -c '^\[       OK' "$work/tests") || true
    skipped=$(grep -c '^\[  SKIPPED \] [^ ]* (' "$work/tests") || true
    result PASS "GPU tests" "$passed compared $device with cpu in $((SECONDS - start)) s"
    if ((skipped > 0)); then result SKIP "GPU tests" "$skipped say nothing without a GPU"; fi
  else
    result FAIL "GPU tests" "$(tail -n 1 "$work/tests")"
    grep -v '^\[ RUN\|^\[       OK' "$work/tests"
    failures=$((failures + 1))
  fi
  grep '^figure:' "$work/tests" || true

  local name
  for name in cpu $device; do
    "$rluf" generate "$dir/model" "$dir/prompts.jsonl" --run.device="$name" --policy.temperature=0 \
      --policy.max_new_tokens=16 >"$work/generated.$name" 2>"$work/log" || { cat "$work/log"; : >"$work/generated.$name"; }
  done
  if [[ -s $work/generated.cpu ]] && cmp -s "$work/generated.cpu" "$work/generated.$device"; then
    result PASS "greedy responses" "$(wc -l <"$work/generated.cpu") prompts, $device as cpu"
  else
    result FAIL "greedy responses" "$device and cpu differ"
    failures=$((failures + 1))
  fi

  for name in cpu $device; do
    if [[ -d $work/run.$name ]]; then continue; fi
    start=$SECONDS
    if "$rluf" run "$dir/tiny.ini" --run.device="$name" --run.directory="$work/run.$name" 2>"$work/log"; then
      result PASS "whole run on $name" "$((SECONDS - start)) s"
    else
      tail -n 20 "$work/log"
      result FAIL "whole run on $name" "exit code not 0"
      failures=$((failures + 1))
    fi
  done
  if [[ $device == cuda ]] && name=$(compare "$work/run.cpu" "$work/run.cuda"); then
    result PASS "run on cuda against cpu" "$name"
  elif [[ $device == cuda ]]; then
    result FAIL "run on cuda against cpu" "$name"
    failures=$((failures + 1))
  fi
  echo
  echo "$failures failures"
  ((failures == 0))
}

(($# == 2)) || usage
case $1 in
  pack) pack "$2" ;;
  run) run "$2" ;;
  *) usage ;;
esac
