"""A job's life: requests by signal, file and clock, two jobs on one directory, restarts from a named place, bad steps, hangs."""
import csv
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

from program import check, check_error, finish, mpirun, program, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_life_"))
long = ["--sft.epochs=3", "--sft.max_steps=120", "--sft.log_every_steps=1", "--sft.checkpoint_every_steps=10"]
endless = ["--sft.epochs=999999", "--sft.max_steps=1000000"]  # whatever is asked for finds the job at work
cases = 0
began = time.monotonic()


def made(name):
    """A run directory whose data are there and whose reference policy is not."""
    print(f"{time.monotonic() - began:.0f} s: {name}", flush=True)
    folder = work / name
    if not (work / "data").exists():
        for command in ("simulate", "dataset"):
            check(rluf(command, tiny, f"--run.directory={work}/data").returncode == 0, command)
    shutil.copytree(work / "data", folder)
    return folder


def start(folder, *settings, ranks=0, command="sft", env=None):
    launcher = [*mpirun, "-n", str(ranks)] if ranks else []
    return subprocess.Popen([*launcher, program, command, tiny, *long, f"--run.directory={folder}", *settings],
                            stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)


def checkpoints(folder, part="sft"):
    return sorted(int(path.stem[5:]) for path in (folder / "checkpoints" / part).glob("step_*.h5"))


def wait_for(what, process, seconds=120):
    end = time.monotonic() + seconds
    while not what() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def ranks_of(process):
    """The processes of the ranks below mpirun."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in children]


def end_of(process):
    text = process.communicate(timeout=180)[1]
    return process.returncode, text


def model(folder):
    return (folder / "models/reference/model.safetensors").read_bytes()


whole = made("whole")
check(rluf("sft", tiny, *long, f"--run.directory={whole}").returncode == 0, "the uninterrupted run")

# USR1 through mpirun: a checkpoint, exit code 75, the reason; then on with another number of ranks, to the same bits.
folder = made("usr1")
process = start(folder, "--sft.checkpoint_every_steps=1", ranks=2)  # the signal comes after a few steps
wait_for(lambda: checkpoints(folder), process)
process.send_signal(signal.SIGUSR1)
code, text = end_of(process)
stopped_at = re.search(r"stopped by USR1, (\d+\.\d\d) s ago, in stage sft at step (\d+) \(a checkpoint was written in", text)
check(code == 75 and stopped_at, f"USR1: {code}\n{text[-1500:]}")
check(stopped_at and int(stopped_at[2]) == checkpoints(folder)[-1] < 120, "the checkpoint of the stop")
check(not (folder / "lock").exists(), "the lock is given back")
status = rluf("status", folder)
check("state        stopped: stopped by USR1" in status.stdout, f"status of a stopped job\n{status.stdout}")
result = rluf("sft", tiny, *long, f"--run.directory={folder}", ranks=3)
check(result.returncode == 0 and f"continuing from the checkpoint at step {stopped_at and stopped_at[2]}" in result.stderr, f"on 3 ranks\n{result.stderr[-800:]}")
check(model(folder) == model(whole), "stopped by USR1 and continued on 3 ranks: the same bits")
status = rluf("status", folder)
check("state        done" in status.stdout and "starts       4" in status.stdout, f"status of a finished job\n{status.stdout}")
cases += 7

# USR2 and request files: a checkpoint out of turn, and on.
folder = made("usr2")
process = start(folder, *endless, "--sft.checkpoint_every_steps=0")
wait_for(lambda: (folder / "metrics.csv").exists() and "sft" in (folder / "metrics.csv").read_text(), process)
process.send_signal(signal.SIGUSR2)
wait_for(lambda: checkpoints(folder), process)
check(checkpoints(folder) and process.poll() is None, "USR2 writes a checkpoint and the job goes on")
check(rluf("request", folder, "stop").returncode == 0, "request stop")
code, text = end_of(process)
check("checkpoint asked for by USR2" in text and code == 75 and "stopped by the request file" in text, f"USR2 and request: {code}\n{text[-1500:]}")
check(not (folder / "request").exists(), "the request was taken")
check_error(rluf("request", folder, "stop"), 2, ["no job works on"], "a request that nobody would read")
check_error(rluf("request", folder, "stopp"), 2, ["unknown request stopp"], "an unknown request")
check_error(rluf("status", work), 2, ["no run directory"], "status of something else")
cases += 6

# What a running job is doing, from its files.
folder = made("status")
process = start(folder, *endless, "--sft.checkpoint_every_steps=1", ranks=2)
wait_for(lambda: checkpoints(folder) and "stage        sft, " in rluf("status", folder).stdout, process)
status = rluf("status", folder)
for part in (r"state +running\n", r"job +none, sft on 2 ranks, host ", r"stage +sft, \d+ of \d+ steps, \S+ steps/s, this part ends in .* \(20", r"checkpoint +\S+step_\d+.h5, \d+ s old", r"warnings +0"):
    check(status.returncode == 0 and re.search(part, status.stdout), f"status of a running job lacks {part}\n{status.stdout}{status.stderr}")
check(rluf("request", folder, "stop").returncode == 0 and end_of(process)[0] == 75, "request stop to a running job")
cases += 6

# The clock, by option and by Slurm's environment; enough is left for the checkpoint. A busy machine may need all of a
# short time to begin, and is given more.
for name in ("minutes", "slurm"):
    folder = made(name)
    for seconds in (3, 10, 30, 90):
        setting = [f"--run.walltime_minutes={seconds / 60}"] if name == "minutes" else []
        end = {"SLURM_JOB_END_TIME": str(int(time.time()) + seconds)} if name == "slurm" else {}
        code, text = end_of(start(folder, *endless, "--run.walltime_margin_seconds=1", *setting, env={**os.environ, **end}))
        check(code == 75 and "stopped by the end of the job's time" in text, f"{name}: {code}\n{text[-800:]}")
        if checkpoints(folder):
            break
    check(checkpoints(folder), f"{name}: a checkpoint")
    cases += 2

# Long loops without checkpoints of their own stop too: reading the log, writing a world, scoring.
for command, settings, doing in (("simulate", ["--simulate.rows=30000000"], "simulating"), ("dataset", [], "reading"), ("reward", ["--reward.objective=love", "--love.max_steps=1"], "scoring")):
    folder = work / f"loop_{command}"
    if command == "dataset":
        shutil.copytree(whole, folder)
        big = folder / "world/interactions.jsonl.gz"
        big.write_bytes(big.read_bytes() * 600)  # gzip members follow each other
    if command == "reward":  # thousands of held-out rows, scored one at a time: seconds of work
        settings += ["--simulate.rows=60000", "--love.micro_batch_tokens=1", "--love.checkpoint_every_steps=0", "--sft.max_steps=1"]
        for part in ("simulate", "dataset", "sft"):
            result = rluf(part, tiny, *settings, f"--run.directory={folder}")
            check(result.returncode == 0, f"{part} of a larger world\n{result.stderr[-600:]}")
    process = start(folder, *settings, ranks=2, command=command)
    log = folder / "log.txt"
    before = log.read_text().count("== ") if log.exists() else 0
    wait_for(lambda: log.exists() and log.read_text().count("== ") > before and (command != "reward" or "love: checkpoint at step 1 complete" in log.read_text()), process)
    time.sleep(0.2)
    process.send_signal(signal.SIGUSR1)
    code, text = end_of(process)
    check(code == 75 and doing in text, f"{command} stops: {code}\n{text[-600:]}")
    cases += 1

# In the middle of a round of the policy: the half-drawn round is done again, with the same result.
rounds = ["--policy.rounds=40", "--policy.checkpoint_every_rounds=0", "--policy.love_weights=0.3", "--policy.prompts_per_batch=1"]
whole_policy = work / "policy"
check(rluf("run", tiny, *rounds, f"--run.directory={whole_policy}").returncode == 0, "the run with the undisturbed policy")
before = work / "before"
shutil.copytree(whole_policy, before)
shutil.rmtree(before / "models/policy_w0.3")
shutil.rmtree(before / "checkpoints/policy_w0.3")
places, inside = [], "policy_w0.3 continues after"
for attempt in range(20):
    if attempt >= 3 and any(inside in place for place in places):
        break
    folder = work / f"round{attempt}"
    shutil.copytree(before, folder)
    process = start(folder, *rounds, command="policy", ranks=1 + attempt % 2)
    wait_for(lambda: "policy_w0.3,3," in (folder / "metrics.csv").read_text().rsplit("stage_seconds", 1)[-1], process)
    time.sleep(0.03 * attempt)
    process.send_signal(signal.SIGUSR1)
    code, text = end_of(process)
    check(code == 75, f"a stop of the policy: {code}\n{text[-800:]}")
    places += re.findall(r"policy_w0.3 continues after round \d+|in stage policy_w0.3 at round \d+", text)
    check(len(places) == attempt + 1, f"where it stopped\n{text[-800:]}")
    result = rluf("policy", tiny, *rounds, f"--run.directory={folder}", ranks=2 - attempt % 2)
    check(result.returncode == 0 and "policy_w0.3: continuing from the checkpoint at round" in result.stderr, f"policy goes on\n{result.stderr[-800:]}")
    one, two = [(place / "models/policy_w0.3/model.safetensors").read_bytes() for place in (whole_policy, folder)]
    check(one == two, f"stopped in a round ({places[-1:]}) and continued: the same bits")
    shutil.rmtree(folder)
    cases += 4
check(any(inside in place for place in places), f"at least one stop came inside of a round: {places}")

# Two jobs on one directory; a job that was killed is no holder.
folder = made("lock")
process = start(folder, ranks=2)
wait_for(lambda: checkpoints(folder), process)
for pid in ranks_of(process):  # it is at work for as long as the second one takes to start
    os.kill(pid, signal.SIGSTOP)
second = rluf("sft", tiny, *long, f"--run.directory={folder}", ranks=2)
check_error(second, 2, ["another job works on this run directory", "process ", "would overwrite"], "a second job")
os.killpg(process.pid, signal.SIGKILL)
process.communicate()
wait_for(lambda: False, process)
for pid in subprocess.run(["pgrep", "-f", f"run.directory={folder}"], capture_output=True, text=True).stdout.split():
    os.kill(int(pid), signal.SIGKILL)
time.sleep(0.3)
kept, log = checkpoints(folder)[-1], (folder / "log.txt").read_text()
result = rluf("sft", tiny, *long, f"--run.directory={folder}")
check(result.returncode == 0 and "taking over the run directory from a job that is gone" in result.stderr, f"after kill -9\n{result.stderr[-800:]}")
check(model(folder) == model(whole), "killed and continued: the same bits")
rows = [tuple(row[:4]) for row in csv.reader(open(folder / "metrics.csv")) if row[1] == "sft" and row[2] != "0"]
rows = [row[1:] for row in rows]
check(len(rows) == len(set(rows)) and len({row[1] for row in rows}) == 120, "no row of metrics.csv stands twice, none is missing")
text = (folder / "log.txt").read_text()
announced = re.findall(r"checkpoint at step (\d+) complete", text)
check(len(announced) == len(set(announced)), f"no line of the log stands twice: {announced}")
superseded = folder / "log.txt.superseded"  # not there if the kill came right after the checkpoint had its name
everything = (text + (superseded.read_text() if superseded.exists() else "")).splitlines()
check(all(line in everything for line in log.splitlines()), "what was done again stands in log.txt.superseded")
cases += 6

# A second TERM, when a step does not end, ends the job at once; the last checkpoint is whole.
folder = made("term")
process = start(folder, *endless, ranks=2)
wait_for(lambda: checkpoints(folder), process)
ranks = ranks_of(process)
check(len(ranks) == 2, f"two ranks: {ranks}")
os.kill(ranks[1], signal.SIGSTOP)
for _ in range(2):
    os.kill(ranks[0], signal.SIGTERM)
    time.sleep(1.3)
code, text = end_of(process)
check(code not in (0, 75), f"a second TERM: {code}")
verified = rluf("verify", folder)
check(verified.returncode == 0 and " 0 damaged" in verified.stdout, f"after a second TERM\n{verified.stdout}{verified.stderr}")
cases += 3

# A rank that hangs: the watchdog of another names stage, step and collective.
folder = made("hang")
process = start(folder, *endless, "--run.watchdog_seconds=2", ranks=2)
wait_for(lambda: checkpoints(folder), process)
os.kill(ranks_of(process)[1], signal.SIGSTOP)
code, text = end_of(process)
check(code not in (0, 75) and re.search(r"rank 0: stage sft step \d+: in the collective \w+ \(number \d+ of axis \w+\): no progress for 2 s", text), f"a hanging rank: {code}\n{text[-1200:]}")
cases += 1

# Restarts from a named place.
folder = made("restart")
check_error(rluf("sft", tiny, *long, "--run.restart=latest", f"--run.directory={folder}"), 2, ["run.restart = latest", "no checkpoint"], "latest without one")
keep = [*long, "--run.keep_every=10"]
check(rluf("run", tiny, *keep, f"--run.directory={folder}").returncode == 0, "run")
bits = model(folder)
check_error(rluf("sft", tiny, *keep, "--restart=77", f"--run.directory={folder}"), 2, ["no checkpoint at that step", "it has 10, 20"], "a step that is not there")
check_error(rluf("sft", tiny, *keep, "--run.restart=nowhere.h5", f"--run.directory={folder}"), 2, ["no file nowhere.h5"], "a file that is not there")
for value, at in (("100", 100), (f"{folder}/checkpoints/sft/step_00000060.h5", 60), ("latest", 120), ("none", 0)):
    result = rluf("run", tiny, *keep, f"--run.restart={value}", f"--run.directory={folder}")
    what = f"restart = {value}"
    check(result.returncode == 0 if value != "100" else True, f"{what}\n{result.stderr[-800:]}")
    if value == "100":  # `run`: the part that worked last is a policy
        check(result.returncode == 2 and "policy_w" in result.stderr, f"{what}: the part that worked last\n{result.stderr[-600:]}")
        result = rluf("sft", tiny, *keep, f"--run.restart={value}", f"--run.directory={folder}")
    said = f"sft: continuing from the checkpoint at step {at}\n"
    check((said in result.stderr) == (at not in (0, 120)), f"{what}: where it goes on\n{result.stderr[-2500:]}")
    check(result.returncode == 0 and model(folder) == bits, f"{what}: the same model")
    cases += 3
check(len(list((folder / "checkpoints").glob("aside-*"))) >= 2, "what was not used is aside")
moved = work / "moved"
folder.rename(moved)
result = rluf("run", tiny, *keep, f"--run.directory={moved}")
check(result.returncode == 0 and result.stderr.count("done before, skipped") == 8, f"a moved run directory\n{result.stderr[-1500:]}")
cases += 5

# Steps that must not be applied: passed over up to a limit, written down, never in a checkpoint.
folder = made("bad")
settings = ["--sft.explosion_norm=1e-9", "--sft.max_steps=5"]
result = rluf("sft", tiny, *long, *settings, "--sft.skip_bad_steps=2", f"--run.directory={folder}", ranks=2)
check_error(result, 3, ["sft step 3: the gradient norm is", "not applied", "bad_step_sft_3.json"], "more bad steps than allowed")
batch = json.loads((folder / "tables/bad_step_sft_2.json").read_text())
check(batch["step"] == 2 and len(batch["examples"]) > 0, "the examples of a bad step")
check(checkpoints(folder) == [2], f"a checkpoint of the last good state: {checkpoints(folder)}")
result = rluf("sft", tiny, *long, *settings, "--sft.skip_bad_steps=5", f"--run.directory={folder}")
check(result.returncode == 0 and "continuing from the checkpoint at step 2" in result.stderr, f"more allowed\n{result.stderr[-800:]}")
base = rluf("compare", folder / "models/reference", folder / "world/base")
check(base.returncode == 0, f"no bad step was applied\n{base.stdout[-400:]}")
cases += 5

shutil.rmtree(work)
finish(cases)
