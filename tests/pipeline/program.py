"""Starts the real executable and looks at what it says. Shared by the scripts of this folder."""
import os
import pathlib
import subprocess

source = pathlib.Path(os.environ.get("RLUF_SOURCE", pathlib.Path(__file__).parents[2]))
program = os.environ.get("RLUF", str(source / "build/rluf"))
mpirun = os.environ.get("RLUF_MPIRUN", "mpirun --oversubscribe --allow-run-as-root --bind-to none").split()
tiny = str(source / "tests/pipeline/tiny.ini")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")  # a rank that waits leaves its core to who works


def rluf(*arguments, ranks=0, **more):
    """ranks 0: without mpirun."""
    launcher = mpirun + ["-n", str(ranks)] if ranks else []
    return subprocess.run(launcher + [program, *map(str, arguments)], capture_output=True, text=True, timeout=900, **more)


def results_of(directory):
    """What a run has made, by name: all but the log, and what says how the last start was given."""
    aside = {"log.txt", "used.ini", "metrics.csv", "metrics.jsonl", "run.json", "run.csv", "status.json", "starts.jsonl",
             "events.out.tfevents.0.rluf"}
    return {path.relative_to(directory): path.read_bytes() for path in sorted(directory.rglob("*"))
            if path.is_file() and path.name not in aside and path.parent.name != "stages"}


failures = []


def check(truth, what):
    if not truth:
        failures.append(what)
        print("FAILED:", what, flush=True)


def check_error(result, code, parts, what):
    """The exit code, and one error message that holds all parts."""
    message = [line for line in result.stderr.splitlines() if "error: " in line]
    text = result.stderr[-1500:]
    check(result.returncode == code, f"{what}: exit code {result.returncode}, not {code}\n{text}")
    check(len(message) == 1, f"{what}: {len(message)} error messages, not 1\n{text}")
    for part in parts:
        check(any(part in line for line in message), f"{what}: the message lacks '{part}'\n{text}")


def finish(count):
    print(f"{count} cases, {len(failures)} failures")
    raise SystemExit(1 if failures or count == 0 else 0)
