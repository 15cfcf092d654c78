"""The Slurm scripts on a real Slurm: srun and mpirun, stop by the clock, requeue, chain, array, signals, other rank counts."""
import os
import pathlib
import re
import shutil
import tempfile
import time

from batch import build, check, finish, model, output_of, rluf, skip, source, starts_of, steps, text_of, wait

if not shutil.which("sbatch") or output_of("sinfo", "-h").returncode != 0:
    skip("no Slurm answers here (sbatch and sinfo)")
if "idle" not in output_of("sinfo", "-h", "-o", "%T").stdout:
    skip("Slurm has no idle node")
work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_slurm_", dir=os.environ.get("RLUF_JOBS_DIR")))
mpi = "srun --mpi=pmix" if "pmix" in output_of("srun", "--mpi=list").stdout + output_of("srun", "--mpi=list").stderr else "srun"
mpirun = "mpirun --oversubscribe --bind-to none" + (" --allow-run-as-root" if os.geteuid() == 0 else "")
environment = {**os.environ, "RLUF": build, "LAUNCHER": mpi, "SBATCH_WAIT_ALL_NODES": "0"}
environment.pop("OMP_NUM_THREADS", None)


def sbatch(*words, **variables):
    result = output_of("sbatch", "--parsable", "--oversubscribe", *words, cwd=source, env={**environment, **variables})
    check(result.returncode == 0, f"sbatch {words}: {result.stderr}")
    return result.stdout.strip().split(";")[0]


def fact(job, name):
    found = re.search(rf"\b{name}=(\S+)", output_of("scontrol", "show", "job", job).stdout)
    return found[1] if found else ""


def end_of(job, seconds=240):
    """State and exit code of a job that has ended."""
    wait(lambda: fact(job, "JobState") in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"), seconds, f"the end of job {job}")
    return fact(job, "JobState"), fact(job, "ExitCode")


def undisturbed_run(name, count):
    """A run without Slurm: its folder, and the seconds that it took."""
    start = time.monotonic()
    result = rluf("run", *[source / word if word.endswith(".ini") else word for word in steps(count)], f"--run.directory={work / name}")
    check(result.returncode == 0, f"the undisturbed run\n{result.stderr[-800:]}")
    return work / name, time.monotonic() - start


undisturbed, short_seconds = undisturbed_run("undisturbed", 60)
_, longer_seconds = undisturbed_run("measured", 660)
# Slurm's signal comes ten seconds after the start: the training is to take longer, but not many starts.
long = 10 * max(60, int(15 * 60 / max(0.1, longer_seconds - short_seconds)))
undisturbed_long, _ = undisturbed_run("undisturbed_long", long)

# submit.sbatch with both launchers.
for name, launcher in (("srun", mpi), ("mpirun", mpirun)):
    folder = work / name
    job = sbatch(f"--output={work}/{name}.out", "--time=00:05:00", "jobs/slurm/submit.sbatch", *steps(60), f"--run.directory={folder}", LAUNCHER=launcher)
    check(end_of(job) == ("COMPLETED", "0:0"), f"submit with {name}: {end_of(job)}\n{text_of(work / f'{name}.out')[-1500:]}")
    check(starts_of(folder) == [2], f"{name} starts one program of two ranks: {starts_of(folder)}")
    check(model(folder) == model(undisturbed), f"{name}: the same bits")

# restart.sbatch: Slurm's signal before the end of a minute, requeue, on to the end.
folder = work / "requeue"
job = sbatch(f"--output={work}/requeue.out", "--time=00:01:00", "--signal=B:USR1@50", "jobs/slurm/restart.sbatch", *steps(long), f"--run.directory={folder}")
wait(lambda: "stopped by USR1" in text_of(work / "requeue.out"), 300, "the stop before the end of the time")
# Slurm waits about two minutes before it starts a requeued job, and a busy machine needs more starts.
check(end_of(job, 2400) == ("COMPLETED", "0:0"), f"restart: {end_of(job)}\n{text_of(work / 'requeue.out')[-1500:]}")
text = text_of(work / "requeue.out")
check(int(fact(job, "Restarts") or 0) >= 1 and "start 2 of at most 21" in text, f"requeued: {fact(job, 'Restarts')}\n{text[-1500:]}")
check(len(starts_of(folder)) >= 2 and model(folder) == model(undisturbed_long), f"requeued: the same bits after {len(starts_of(folder))} starts")

# The job's own clock, from SLURM_JOB_END_TIME or the option; a cap on restarts.
folder = work / "cap"
job = sbatch(f"--output={work}/cap.out", "--time=00:05:00", "jobs/slurm/restart.sbatch", *steps(100000), f"--run.directory={folder}",
             "--run.walltime_minutes=0.1", "--run.walltime_margin_seconds=1", MAX_RESTARTS="1")
check(end_of(job, 300) == ("FAILED", "75:0"), f"capped: {end_of(job)}\n{text_of(work / 'cap.out')[-1500:]}")
check("stopped 2 times: not started again" in text_of(work / "cap.out"), f"the cap is said\n{text_of(work / 'cap.out')[-1000:]}")

# scancel --signal to the steps, then on with another number of ranks; TERM as scancel sends it.
folder = work / "signal"
for signal, ranks in (("USR1", 1), ("TERM", 2)):
    before = len(list(folder.glob("checkpoints/sft/step_*.h5")))
    job = sbatch(f"--output={work}/{signal}.out", "--time=00:05:00", f"--ntasks-per-node={ranks}", "jobs/slurm/submit.sbatch", *steps(100000), f"--run.directory={folder}")
    wait(lambda: "sft: checkpoint at step" in text_of(work / f"{signal}.out"), 120, "a checkpoint")
    output_of("scancel", f"--signal={signal}", job)
    check(end_of(job) == ("FAILED", "75:0"), f"{signal}: {end_of(job)}\n{text_of(work / f'{signal}.out')[-1000:]}")
    check(f"stopped by {signal}" in text_of(work / f"{signal}.out"), f"{signal} is named")
check(starts_of(folder) == [1, 2] and "continuing from the checkpoint" in text_of(work / "TERM.out"), f"other rank counts: {starts_of(folder)}")

# chain.sh: jobs that wait for each other, as many chains as a busy machine needs.
folder = work / "chain"
for _ in range(6):
    result = output_of("bash", "jobs/slurm/chain.sh", "6", *steps(60), f"--run.directory={folder}", "--run.walltime_minutes=0.1", "--run.walltime_margin_seconds=1", cwd=source,
                       env={**environment, "SBATCH_OUTPUT": f"{work}/chain-%j.out", "SBATCH_TIMELIMIT": "00:05:00"})
    jobs = re.findall(r"job \d of 6: (\d+)", result.stdout)
    check(len(jobs) == 6, f"chain of 6: {result.stdout}{result.stderr}")
    states = [end_of(job) for job in jobs]
    for job, state in zip(jobs, states):
        check(state in (("FAILED", "75:0"), ("COMPLETED", "0:0")), f"a job of the chain: {state}\n{text_of(work / f'chain-{job}.out')[-800:]}")
    if states[-1:] == [("COMPLETED", "0:0")]:
        break
check(2 <= len(starts_of(folder)) and model(folder) == model(undisturbed), f"chain: the same bits after {len(starts_of(folder))} starts")

# array.sh: a sweep and its table.
result = output_of("bash", "jobs/slurm/array.sh", *steps(4), cwd=source,
                   env={**environment, "SWEEP": str(work / "sweep"), "WEIGHTS": "0.1 0.3", "SEEDS": "1 2", "SBATCH_OVERSUBSCRIBE": "1"})
table = re.search(r"table after it: (\d+)", result.stdout)
check(table, f"array: {result.stdout}{result.stderr}")
check(table and end_of(table[1], 400) == ("COMPLETED", "0:0"), f"the table's job\n{text_of(work / 'sweep/summary.out')}")
rows = text_of(work / "sweep/summary.csv").splitlines()
check(sum("mean of 2" in row for row in rows) >= 4 and any(",policy_w0.3,0.3,love_probability_lift," in row for row in rows), f"summary.csv\n" + "\n".join(rows[:20]))
check(len({row.split(",")[0] for row in rows[1:] if "mean" not in row}) == 4, "four runs in the table")

# A job whose input is bad ends once, with its own code, and is not started again.
job = sbatch(f"--output={work}/bad.out", "--time=00:05:00", "jobs/slurm/restart.sbatch", "tests/pipeline/tiny.ini", "--sft.learning_rat=1", f"--run.directory={work}/none")
check(end_of(job) == ("FAILED", "2:0") and "starting again would not help" in text_of(work / "bad.out"), f"bad input: {end_of(job)}\n{text_of(work / 'bad.out')}")
result = output_of("bash", "jobs/slurm/interactive.sh", *steps(4), f"--run.directory={work}/interactive", cwd=source,
                   env={**environment, "RESOURCES": "--nodes=1 --ntasks-per-node=2 --time=00:05:00"})
check(result.returncode == 0 and "this allocation can carry a run" in result.stdout and "rluf: done" in result.stdout, f"interactive\n{result.stdout[-800:]}{result.stderr[-800:]}")
shutil.rmtree(work)
finish(24)
