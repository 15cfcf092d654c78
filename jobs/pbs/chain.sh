#!/usr/bin/env bash
# One run as a chain of jobs that are submitted at once: each starts when the one before has ended.
# A job that finds the run done ends at once. restart.pbs does the same by submitting only what is needed.
#   bash jobs/pbs/chain.sh LENGTH [inputs/my.ini] [--section.key=value ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# -- site values -------------------------------------------------------------------------------------------------------
SCRIPT=${SCRIPT:-jobs/pbs/submit.pbs} # what each job of the chain runs
export RLUF=${RLUF:-build/rluf} LAUNCHER=${LAUNCHER:-mpirun} MODULES=${MODULES:-}
# ----------------------------------------------------------------------------------------------------------------------
length=${1:?how many jobs at most}
shift
[[ $length =~ ^[1-9][0-9]*$ ]] || { echo "the length of the chain is a number, not $length" >&2; exit 2; }
[[ $# -gt 0 ]] || set -- inputs/quickstart.ini
export ARGS="$*"
previous=
for ((i = 1; i <= length; ++i)); do
  previous=$(qsub ${previous:+-W depend=afterany:$previous} -v ARGS,RLUF,LAUNCHER,MODULES "$SCRIPT")
  echo "job $i of $length: $previous"
done
