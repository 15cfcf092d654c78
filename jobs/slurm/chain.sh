#!/usr/bin/env bash
# One run as a chain of jobs, for sites that do not allow requeueing: each starts when the one before has ended.
# A job that finds the run done ends at once; the chain is cut when a job fails.
#   bash jobs/slurm/chain.sh LENGTH [inputs/my.ini] [--section.key=value ...]
# Options of sbatch come by its environment (SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# -- site values -------------------------------------------------------------------------------------------------------
SCRIPT=${SCRIPT:-jobs/slurm/submit.sbatch} # what each job of the chain runs
# ----------------------------------------------------------------------------------------------------------------------
length=${1:?how many jobs at most}
shift
[[ $length =~ ^[1-9][0-9]*$ ]] || { echo "the length of the chain is a number, not $length" >&2; exit 2; }
previous=
for ((i = 1; i <= length; ++i)); do
  # afterany: a job that was stopped by its time ends with 75, which Slurm counts as failed. A job that ends with 2 or 3
  # leaves a run that will end the next one at once with the same message, so nothing is spent.
  previous=$(sbatch --parsable ${previous:+--dependency=afterany:$previous} "$SCRIPT" "$@")
  previous=${previous%%;*}
  echo "job $i of $length: $previous"
done
