#!/usr/bin/env bash
# A sweep over the love weight and seeds as one array of jobs, then a job that puts the runs side by side.
#   bash jobs/slurm/array.sh [inputs/my.ini] [--section.key=value ...]
#
# Arithmetic: WEIGHTS x SEEDS runs of the input, each with its own reward models. The table is $SWEEP/summary.csv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# -- site values -------------------------------------------------------------------------------------------------------
WEIGHTS=${WEIGHTS:-0.05 0.1 0.2 0.3} # each against 0.0
SEEDS=${SEEDS:-1 2 3}
SWEEP=${SWEEP:-runs/sweep}           # run directories go below it
AT_ONCE=${AT_ONCE:-8}                # jobs of the array that may run together
RLUF=${RLUF:-build/rluf}
# ----------------------------------------------------------------------------------------------------------------------
read -ra weights <<<"$WEIGHTS"
read -ra seeds <<<"$SEEDS"
count=$((${#weights[@]} * ${#seeds[@]}))
mkdir -p "$SWEEP"
export WEIGHTS SEEDS SWEEP RLUF
array=$(sbatch --parsable --array="0-$((count - 1))%$AT_ONCE" --output="$SWEEP/job-%a.out" jobs/slurm/array.sbatch "$@")
array=${array%%;*}
echo "array of $count runs: $array"
table=$(sbatch --parsable --dependency="afterany:$array" --job-name=rluf-summary --ntasks=1 --time=00:10:00 \
  --output="$SWEEP/summary.out" --wrap="'$RLUF' summary '$SWEEP'/w* > '$SWEEP/summary.csv'")
echo "table after it: ${table%%;*}, $SWEEP/summary.csv"
