#!/usr/bin/env bash
# Measures rluf against peers in the same run on the same cores and prints a table of ratios.
#   bash tests/bench/run.sh [--tests reward,decode,rollout,tokenizer,dataset,checkpoint]
# Environment: THREADS (all cores), REPETITIONS (5). A ratio below its goal is no failure, since machines are noisy; work
# that differs between the two sides is. About a quarter of an hour on two quiet cores, 8 GB of memory.
set -euo pipefail
tests=reward,decode,rollout,tokenizer,dataset,checkpoint
while (($# > 0)); do
  case $1 in
    --tests) tests=${2:?--tests needs names}; shift ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "bench: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash jobs/setup.sh --bench --model smollm2
targets=(simulation_stage)
for name in ${tests//,/ }; do
  case $name in
    reward) targets+=(reward_step) ;;
    decode | rollout) targets+=(bench_generate) ;;
    tokenizer) targets+=(bench_tokenize) ;;
    dataset) targets+=(dataset_stage) ;;
    checkpoint) targets+=(bench_checkpoint) ;;
    *) echo "bench: unknown test $name (known: reward, decode, rollout, tokenizer, dataset, checkpoint)" >&2; exit 2 ;;
  esac
done
cmake -G Ninja -B build -DCMAKE_BUILD_TYPE=Release -DRLUF_TESTS=ON >/dev/null
cmake --build build -j "$(nproc)" --target "${targets[@]}"

export RLUF_BUILD=$PWD/build
mkdir -p build/bench
model=$PWD/.deps/models/smollm2 lines=build/bench/lines.jsonl failed=0
: >$lines
for name in ${tests//,/ }; do
  echo "bench: $name"
  case $name in
    reward) command=(bench_reward.py "$model") ;;
    decode | rollout) command=(bench_generate.py "$model" "$name") ;;
    tokenizer) command=(bench_tokenizer.py "$model") ;;
    dataset) command=(bench_dataset.py "$model") ;;
    checkpoint) command=(bench_checkpoint.py) ;;
  esac
  if ! .deps/oracle/bin/python tests/bench/"${command[0]}" "${command[@]:1}" >build/bench/"$name".out 2>build/bench/"$name".err; then
    echo "bench: $name failed:" >&2
    tail -n 5 build/bench/"$name".out build/bench/"$name".err >&2
    failed=1
  fi
  grep '^{"bench"' build/bench/"$name".out >>$lines || true
done
.deps/oracle/bin/python tests/bench/table.py $lines build/bench/table.json
exit $failed
