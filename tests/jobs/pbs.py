"""The PBS scripts on a real OpenPBS over two hosts: stop by rluf's own clock, self-continuing, chain, array, request file, other hosts, qdel.

RLUF_PBS is the folder that pbs-loopback.sh was given (its script is RLUF_PBS_TOOL); without it the test skips."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from batch import build, check, finish, model, rluf, skip, source, starts_of, steps, text_of, wait

place, tool = os.environ.get("RLUF_PBS"), os.environ.get("RLUF_PBS_TOOL")
if not place or not tool:
    skip("no PBS is named (RLUF_PBS and RLUF_PBS_TOOL)")
work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_pbs_"))
work.chmod(0o777)


def pbs(*words, **variables):
    """A command as an ordinary user on the first host, in the project's folder."""
    exports = [f"{name}={value}" for name, value in variables.items()]
    line = ["bash", tool, "as-user", place, "env", *exports, "bash", "-c", f'cd {source} && exec "$@"', "-", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True)


if pbs("qstat", "-B").returncode != 0:
    skip(f"the PBS of {place} does not answer")
launcher = work / "mpirun"
launcher.write_text(f"""#!/bin/bash
# Debian's Open MPI knows nothing of PBS: hosts and the way to them are named.
exec mpirun -n "$(wc -l <"$PBS_NODEFILE")" --hostfile "$PBS_NODEFILE" --oversubscribe --map-by node --bind-to none --mca plm_rsh_agent {place}/agent \\
  --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 -x OMP_NUM_THREADS -x PATH "$@"
""")
launcher.chmod(0o755)
base = {"RLUF": build, "LAUNCHER": launcher, "TMPDIR": "/tmp"}


def qsub(script, arguments, *words, **variables):
    variables = {**base, **variables, "ARGS": " ".join(map(str, arguments))}
    names = ",".join(name for name in variables if name != "TMPDIR")
    result = pbs("qsub", "-j", "oe", "-o", f"{work}/out/", *words, "-v", names, script, **variables)
    check(result.returncode == 0, f"qsub {script}: {result.stderr}")
    return result.stdout.strip()


def fact(job, name):
    found = re.search(rf"^ *{name} = (.*)$", pbs("qstat", "-xf", job).stdout, re.M)
    return found[1] if found else ""


def end_of(job, seconds=300):
    """The exit status of a job that has ended."""
    wait(lambda: fact(job, "job_state") in ("F", "X"), seconds, f"the end of {job}")
    return fact(job, "Exit_status")


def output(job):
    return text_of(work / f"out/{job}.OU")


def ranks_of(folder):
    """Processes of the ranks at work on a folder, on both hosts."""
    found = subprocess.run(["pgrep", "-f", f"run.directory={folder}"], capture_output=True, text=True).stdout.split()
    programs = {pid: os.path.realpath(f"/proc/{pid}/exe") for pid in found}
    return [pid for pid, program in programs.items() if program == os.path.realpath(build)]


def hosts_of(folder):
    """How many of the hosts, each with a network of its own, they are on."""
    return len({os.readlink(f"/proc/{pid}/ns/net") for pid in ranks_of(folder)})


def jobs_after(first):
    """Jobs of the user after this one, oldest first."""
    ids = re.findall(r"^(\d+)\.pbs0", pbs("qstat", "-x").stdout, re.M)
    return [f"{i}.pbs0" for i in sorted(map(int, ids)) if i > int(first.split(".")[0])]


(work / "out").mkdir()
(work / "out").chmod(0o777)
undisturbed = work / "undisturbed"
result = rluf("run", *[source / word if word.endswith(".ini") else word for word in steps(60)], f"--run.directory={undisturbed}")
check(result.returncode == 0, f"the undisturbed run\n{result.stderr[-800:]}")
two_hosts = "-l select=2:ncpus=1:mpiprocs=1 -l place=scatter".split()
tight = ["--run.walltime_margin_seconds=5"]

# Over two hosts, to the end, with the same bits.
folder = work / "two_hosts"
job = qsub("jobs/pbs/submit.pbs", [*steps(60), f"--run.directory={folder}"], *two_hosts, "-l", "walltime=00:10:00")
check(end_of(job) == "0" and "rluf: done" in output(job), f"submit over two hosts: {end_of(job)}\n{output(job)[-1500:]}")
check(starts_of(folder) == [2] and model(folder) == model(undisturbed), f"two hosts: the same bits {starts_of(folder)}")

# Stopped by rluf's own clock before PBS would kill; the job submits the next one, until the run is done.
folder = work / "restart"
first = qsub("jobs/pbs/restart.pbs", [*steps(60), *tight, f"--run.directory={folder}"], *two_hosts, "-l", "walltime=00:00:16")
check(end_of(first) == "75", f"the first job: {end_of(first)}\n{output(first)[-1500:]}")
check("stopped by the end of the job's time" in output(first) and "on 2 hosts" in output(first), f"by its own clock\n{output(first)[-1000:]}")
chain = [first]
while end_of(chain[-1]) == "75" and len(chain) < 40:
    later = wait(lambda: jobs_after(chain[-1]), 30, "the next job")
    chain.append(later[0])
check(end_of(chain[-1]) == "0" and model(folder) == model(undisturbed), f"continued by {len(chain)} jobs: {[end_of(job) for job in chain]}\n{output(chain[-1])[-1200:]}")
check(len(starts_of(folder)) == len(chain), f"a start a job: {starts_of(folder)}")

# A request by file, on to another number of hosts.
folder = work / "request"
job = qsub("jobs/pbs/submit.pbs", [*steps(100000), f"--run.directory={folder}"], "-l", "walltime=00:10:00", "-l", "select=1:ncpus=1:mpiprocs=1")
wait(lambda: "stage        sft" in pbs(build, "status", folder).stdout, 120, "the status from the login node")
check(pbs(build, "request", folder, "checkpoint").returncode == 0, "request checkpoint")
wait(lambda: "checkpoint asked for by the request file" in text_of(folder / "log.txt"), 60, "the checkpoint")
check(pbs(build, "request", folder, "stop").returncode == 0, "request stop")
check(end_of(job) == "75" and "stopped by the request file" in output(job), f"request: {end_of(job)}\n{output(job)[-800:]}")
job = qsub("jobs/pbs/submit.pbs", [*steps(100000), f"--run.directory={folder}"], *two_hosts, "-l", "walltime=00:10:00")
wait(lambda: len(starts_of(folder)) == 2 and "continuing from the checkpoint" in text_of(folder / "log.txt"), 120, "the second start")
check(starts_of(folder) == [1, 2] and hosts_of(folder) == 2, f"one host, then two: {starts_of(folder)}, {hosts_of(folder)}")

# qdel: TERM to every process, KILL ten seconds later. The last checkpoint is whole and no rank is left.
time.sleep(2)
pbs("qdel", job)
end_of(job)
wait(lambda: not subprocess.run(["pgrep", "-f", f"run.directory={folder}"], capture_output=True, text=True).stdout, 30, "the end of all ranks")
verified = rluf("verify", folder)
check(verified.returncode == 0 and " 0 damaged" in verified.stdout, f"after qdel\n{verified.stdout}{verified.stderr}")
job = qsub("jobs/pbs/submit.pbs", [*steps(100000), f"--run.directory={folder}"], "-l", "walltime=00:10:00")
wait(lambda: len(starts_of(folder)) == 3, 90, "a start after qdel")
pbs(build, "request", folder, "stop")
check(end_of(job) == "75", f"after qdel it goes on: {end_of(job)}\n{output(job)[-800:]}")

# A chain that is submitted at once, as often as a busy machine needs it.
folder = work / "chain"
for _ in range(6):
    result = pbs("bash", "jobs/pbs/chain.sh", 4, *steps(60), "--run.walltime_minutes=0.15", *tight, f"--run.directory={folder}", **base,
                 SCRIPT="jobs/pbs/submit.pbs")
    jobs = re.findall(r"job \d of 4: (\S+)", result.stdout)
    ends = [end_of(job) for job in jobs]
    check(len(jobs) == 4 and set(ends) <= {"0", "75"}, f"chain: {result.stdout}{result.stderr}{ends}")
    if ends[-1:] == ["0"]:
        break
check(model(folder) == model(undisturbed), f"chain: the same bits after {len(starts_of(folder))} starts")

# A sweep as an array, and its table.
result = pbs("bash", "jobs/pbs/array.sh", *steps(4), **base, SWEEP=work / "sweep", WEIGHTS="0.1 0.3", SEEDS="1 2")
array = re.search(r"array of 4 runs: (\S+);", result.stdout)
check(array, f"array: {result.stdout}{result.stderr}")
wait(lambda: len(list((work / "sweep").glob("w*/tables/validation.json"))) == 4 and array and fact(array[1], "job_state") in ("F", "X"), 400, "the sweep")
rows = text_of(work / "sweep/summary.csv").splitlines()
check(sum("mean of 2" in row for row in rows) >= 4, "summary.csv\n" + "\n".join(rows[:20]))

# The cable between the hosts is pulled: every rank's watchdog ends it, and the run goes on from its last checkpoint.
def cable(state):
    pid = text_of(f"{place}/pbs1.pid").strip()
    subprocess.run(["nsenter", "-t", pid, "-n", "ip", "link", "set", "rlpbs1", state], check=True)


folder = work / "cable"
job = qsub("jobs/pbs/submit.pbs", [*steps(100000), "--run.watchdog_seconds=8", f"--run.directory={folder}"], *two_hosts, "-l", "walltime=00:10:00")
wait(lambda: list(folder.glob("checkpoints/sft/step_*.h5")), 120, "a checkpoint")
check(hosts_of(folder) == 2, "a rank on each end of the cable")
cable("down")
ended = wait(lambda: "no progress for" in text_of(folder / "log.txt"), 60, "the watchdog's message")
wait(lambda: not ranks_of(folder), 60, "the end of all ranks")
cable("up")
pbs("qdel", job)
end_of(job, 120)
check(re.search(r"stage \S+ step \d+: in the collective \w+ \(number \d+ of axis \w+\): no progress", text_of(folder / "log.txt")), f"the message\n{text_of(folder / 'log.txt')[-600:]}")
verified = rluf("verify", folder)
check(verified.returncode == 0 and " 0 damaged" in verified.stdout, f"after the cable\n{verified.stdout}{verified.stderr}")
job = qsub("jobs/pbs/submit.pbs", [*steps(100000), f"--run.directory={folder}"], *two_hosts, "-l", "walltime=00:10:00")
wait(lambda: len(starts_of(folder)) == 2 and "continuing from the checkpoint" in text_of(folder / "log.txt"), 90, "a start after the cable")
pbs(build, "request", folder, "stop")
check(end_of(job) == "75", f"after the cable it goes on: {end_of(job)}\n{output(job)[-800:]}")
shutil.rmtree(work, ignore_errors=True)
for leftover in source.glob("rluf*.o[0-9]*"):
    leftover.unlink()
finish(25)
