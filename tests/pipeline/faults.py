"""Faults at random moments: killed ranks, killed mpirun, signals, stopped and slow ranks, damaged files; every run must end like an undisturbed one."""
import argparse
import collections
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

from program import check, finish, mpirun, program, rluf, tiny

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--kills", type=int, default=12)
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
random = random.Random(arguments.seed)
work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_faults_"))
steps = ["--sft.max_steps=60", "--love.max_steps=60", "--helpfulness.max_steps=40", "--safety.max_steps=40", "--policy.rounds=12",
         "--sft.checkpoint_every_steps=5", "--love.checkpoint_every_steps=5", "--helpfulness.checkpoint_every_steps=5",
         "--safety.checkpoint_every_steps=5", "--policy.checkpoint_every_rounds=2"]
settings = [tiny, *steps]
hang_seconds = 240
counts = collections.Counter()
kinds = ["rank", "all", "mpirun", "term", "usr1", "stop", "flip", "slow"]
reported = ["kills", "restarts", "runs", "lost", "unreadable", "hangs", "orphans", *kinds]


def models(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "models").rglob("*") if path.is_file()}


def last_announced(text):
    """The newest checkpoint of each part that the log calls complete."""
    steps = {}
    for part, step in re.findall(r" (\S+): checkpoint at (?:step|round) (\d+) complete", text):
        steps[part] = int(step)
    return steps


def processes_of(folder):
    found = subprocess.run(["pgrep", "-f", f"rluf.*run.directory={folder}"], capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in found if int(pid) != os.getpid()]


def ranks_of(folder, launcher):
    return [pid for pid in processes_of(folder) if pid != launcher.pid]


def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def slow_down(pids, process):
    """One rank goes at a fifth of its speed for a while; all wait for it, and nothing else happens."""
    slow = random.sample(pids, min(1, len(pids)))
    for _ in range(random.randrange(5, 25)):
        send(slow, signal.SIGSTOP)
        time.sleep(0.2)
        send(slow, signal.SIGCONT)
        time.sleep(0.05)
        if process.poll() is not None:
            break


def bounds():
    return max(0.05, random.expovariate(1 / 2.0))


def flip(folder):
    """A bit of a checkpoint; the older one, if there is one, must serve."""
    files = sorted((folder / "checkpoints").glob("*/step_*.h5"))
    if not files:
        return None
    path = random.choice(files)
    content = bytearray(path.read_bytes())
    if random.random() < 0.3:
        content = content[:random.randrange(len(content))]
    else:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)
    return path


straight = work / "straight"
result = rluf("run", *settings, f"--run.directory={straight}", ranks=2)
if result.returncode != 0:
    raise SystemExit("the undisturbed run failed:\n" + result.stderr[-2000:])
expected = models(straight)

run = 0
while counts["kills"] < arguments.kills:
    run += 1
    folder = work / f"run{run}"
    announced, damaged = {}, set()
    for attempt in range(200):
        quiet = counts["kills"] >= arguments.kills
        count = random.randrange(1, 4)
        fault = "none" if quiet or random.random() < 0.1 else random.choice(kinds)
        # The watchdog is there for the stopped rank; a rank that only waits for a busy machine is none.
        watchdog = f"--run.watchdog_seconds={20 if fault == 'stop' else 200}"
        with open(work / "stderr", "w") as errors:
            process = subprocess.Popen([*mpirun, "-n", str(count), program, "run", *settings, watchdog, f"--run.directory={folder}"],
                                       stderr=errors, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(timeout=hang_seconds if fault == "none" else bounds())
        except subprocess.TimeoutExpired:
            if fault == "none":
                counts["hangs"] += 1
                check(False, f"run {run}: a hang with {count} ranks")
                send(processes_of(folder), signal.SIGKILL)
            while fault == "stop" and process.poll() is None and "== " not in (work / "stderr").read_text():
                time.sleep(0.1)  # a rank that stops before it has started is waited for much longer
            pids = ranks_of(folder, process)
            if fault == "rank":
                send(random.sample(pids, min(1, len(pids))), signal.SIGKILL)
            elif fault in ("all", "flip"):
                send([*pids, process.pid], signal.SIGKILL)
            elif fault == "mpirun":
                send([process.pid], signal.SIGKILL)
            elif fault == "term":
                send([process.pid], signal.SIGTERM)
            elif fault == "usr1":
                send([process.pid], signal.SIGUSR1)
            elif fault == "stop":  # the watchdog of the others, or nobody, ends it: one rank alone is continued
                send(random.sample(pids, min(1, len(pids))), signal.SIGSTOP)
                if len(pids) < 2:
                    time.sleep(0.5)
                    send(pids, signal.SIGCONT)
            elif fault == "slow":
                slow_down(pids, process)
            counts[fault] += 1
            counts["kills"] += 1
            try:
                process.wait(timeout=hang_seconds)
            except subprocess.TimeoutExpired:
                counts["hangs"] += 1
                check(False, f"run {run}: a hang after {fault} with {count} ranks")
                send(processes_of(folder), signal.SIGKILL)
                process.wait()
            for _ in range(100):  # ranks whose launcher was killed go by themselves
                if not ranks_of(folder, process):
                    break
                time.sleep(0.1)
            orphans = ranks_of(folder, process)
            if orphans:
                counts["orphans"] += 1
                check(False, f"run {run}: {len(orphans)} ranks live on after {fault}")
                send(orphans, signal.SIGKILL)
        text = (work / "stderr").read_text()
        for part, at in announced.items():  # what was announced before this start was found by it
            found = re.search(rf"{re.escape(part)}: continuing from the checkpoint at (?:step|round) (\d+)", text)
            if found and int(found[1]) < at and part not in damaged:
                counts["lost"] += at - int(found[1])
                check(False, f"run {run}: {part} was announced at {at} and went on from {found[1]}")
        if "error: " in text and process.returncode in (2, 3):
            counts["unreadable"] += 1
            check(False, f"run {run} cannot go on\n{text[-1500:]}")
            break
        if process.returncode == 0:
            break
        check(fault not in ("none", "slow"), f"run {run}: {process.returncode} with {count} ranks, one of them {fault}\n{text[-1500:]}")
        counts["restarts"] += 1
        log = (folder / "log.txt").read_text() if (folder / "log.txt").exists() else ""
        announced = last_announced(log)
        if fault == "flip" and (path := flip(folder)):
            damaged.add(path.parent.name)
    check(process.returncode == 0, f"run {run} did not end: {process.returncode}")
    check(models(folder) == expected, f"run {run}: the models are those of the undisturbed run")
    verified = rluf("verify", folder)
    check(" damaged" in verified.stdout, f"verify\n{verified.stderr}")
    counts["runs"] += 1
    shutil.rmtree(folder)
    print("faults: " + ", ".join(f"{counts[name]} {name}" for name in reported), flush=True)
shutil.rmtree(work)
finish(counts["runs"])
