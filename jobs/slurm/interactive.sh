#!/usr/bin/env bash
# A short run while you watch: asks for an allocation, checks it, runs in it.
#   bash jobs/slurm/interactive.sh [inputs/my.ini] [--section.key=value ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# -- site values -------------------------------------------------------------------------------------------------------
RESOURCES=${RESOURCES:---nodes=1 --ntasks-per-node=2 --cpus-per-task=1 --time=00:30:00} # of salloc
MODULES=${MODULES:-}
export RLUF=${RLUF:-build/rluf} LAUNCHER=${LAUNCHER:-srun}
# ----------------------------------------------------------------------------------------------------------------------
# shellcheck disable=SC2086
[[ -z $MODULES ]] || module load $MODULES
[[ $# -gt 0 ]] || set -- inputs/quickstart.ini
# shellcheck disable=SC2086,SC2016
exec salloc $RESOURCES bash -c 'source jobs/launch.sh; rluf_preflight "$@"; rluf_run run "$@"; exit "$code"' interactive "$@"
