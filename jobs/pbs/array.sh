#!/usr/bin/env bash
# A sweep over the love weight and seeds as one array of jobs, which put their runs side by side when they end.
#   bash jobs/pbs/array.sh [inputs/my.ini] [--section.key=value ...]
#
# Arithmetic: WEIGHTS x SEEDS runs of the input, each with its own reward models. The table is $SWEEP/summary.csv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# -- site values -------------------------------------------------------------------------------------------------------
export WEIGHTS=${WEIGHTS:-0.05 0.1 0.2 0.3} # each against 0.0
export SEEDS=${SEEDS:-1 2 3}
export SWEEP=${SWEEP:-runs/sweep}           # run directories go below it
export RLUF=${RLUF:-build/rluf} LAUNCHER=${LAUNCHER:-mpirun} MODULES=${MODULES:-} MAX_RESTARTS=${MAX_RESTARTS:-20}
# ----------------------------------------------------------------------------------------------------------------------
read -ra weights <<<"$WEIGHTS"
read -ra seeds <<<"$SEEDS"
count=$((${#weights[@]} * ${#seeds[@]}))
mkdir -p "$SWEEP"
[[ $# -gt 0 ]] || set -- inputs/quickstart.ini
export ARGS="$*"
array=$(qsub -J "0-$((count - 1))" -v ARGS,WEIGHTS,SEEDS,SWEEP,RLUF,LAUNCHER,MODULES,MAX_RESTARTS jobs/pbs/array.pbs)
echo "array of $count runs: $array; the table will be $SWEEP/summary.csv"
