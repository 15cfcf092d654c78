# shellcheck shell=bash
# For the job scripts, which source it: starts rluf so that requests to stop reach it, and says how it ended.
#
#   rluf_preflight           checks the allocation; ends the job where a run would fail
#   rluf_run ARGUMENT ...    runs rluf with these arguments; its exit code is in $code (75: stopped with a checkpoint)
#   slurm_requeue JOB        puts this job into Slurm's queue again if $code is 75, at most MAX_RESTARTS times
#   pbs_minutes_left         prints the minutes that PBS leaves to this job
#   pbs_continue SCRIPT      submits the job again, to start after this one, if $code is 75, at most MAX_RESTARTS times
#
# They use: LAUNCHER   what starts the ranks ("srun", "mpirun ...")
#           RLUF       the program
code=0

rluf_preflight() {
  # shellcheck disable=SC2086  # LAUNCHER holds several words
  ${LAUNCHER:?} "${RLUF:?}" preflight "$@" || { code=$?; echo "the allocation cannot carry a run (exit code $code)"; exit "$code"; }
}

rluf_run() {
  local interrupted launcher last=0
  # shellcheck disable=SC2086
  ${LAUNCHER:?} "${RLUF:?}" "$@" &
  launcher=$!
  # The launcher hands USR1 and USR2 to every rank. TERM would make mpirun kill them two seconds later, so it becomes USR1.
  trap 'interrupted=1; kill -USR1 "$launcher" 2>/dev/null || true' USR1 TERM
  trap 'interrupted=1; kill -USR2 "$launcher" 2>/dev/null || true' USR2
  while :; do
    interrupted=
    last=0
    wait "$launcher" || last=$?
    ((last == 127)) || code=$last # 127: it had been waited for already
    [[ -n $interrupted ]] || break
  done
  trap - USR1 USR2 TERM
  case $code in
    0) echo "rluf: done" ;;
    75) echo "rluf: stopped with a checkpoint; the same command goes on from it" ;;
    2) echo "rluf: bad input, see the message above; starting again would not help" ;;
    3) echo "rluf: bad data or checkpoint, see the message above; starting again would not help" ;;
    *) echo "rluf: failed with exit code $code" ;;
  esac
}

slurm_requeue() {
  ((code == 75)) || return 0
  if ((${SLURM_RESTART_COUNT:-0} < ${MAX_RESTARTS:?})); then
    scontrol requeue "$1"
    sleep 60 # Slurm ends this job now
  else
    echo "stopped $((MAX_RESTARTS + 1)) times: not started again; submit it once more if that is meant"
  fi
}

pbs_minutes_left() {
  local facts walltime start
  facts=$(qstat -f "$PBS_JOBID")
  walltime=$(awk '/Resource_List.walltime = / {split($3, t, ":"); print (t[1] * 60 + t[2]) * 60 + t[3]}' <<<"$facts")
  start=$(date -d "$(sed -n 's/^ *stime = //p' <<<"$facts")" +%s)
  awk -v seconds="$((start + walltime - $(date +%s)))" 'BEGIN {printf "%.2f\n", seconds / 60}'
}

pbs_continue() {
  ((code == 75)) || return 0
  if ((${RESTARTS:-0} < ${MAX_RESTARTS:?})); then
    RESTARTS=$((${RESTARTS:-0} + 1)) qsub -W "depend=afterany:$PBS_JOBID" -v "RESTARTS,ARGS,MODULES,RLUF,LAUNCHER,MAX_RESTARTS${2:+,$2}" "$1"
  else
    echo "stopped $((MAX_RESTARTS + 1)) times: not started again; submit it once more if that is meant"
  fi
}
