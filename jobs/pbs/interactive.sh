#!/usr/bin/env bash
# A shell in an allocation, to try things while you watch.
#   bash jobs/pbs/interactive.sh
# In the shell that opens:
#   cd $PBS_O_WORKDIR; source jobs/launch.sh; RLUF=build/rluf LAUNCHER=mpirun
#   rluf_preflight; rluf_run run inputs/quickstart.ini
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# -- site values -------------------------------------------------------------------------------------------------------
RESOURCES=${RESOURCES:--l select=1:ncpus=2:mpiprocs=2 -l walltime=00:30:00} # of qsub
# ----------------------------------------------------------------------------------------------------------------------
# shellcheck disable=SC2086
exec qsub -I $RESOURCES
