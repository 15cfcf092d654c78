"""What the tests of the job scripts share: a tiny run, its undisturbed result, and the files that a job leaves."""
import os
import pathlib
import re
import subprocess
import sys
import time

source = pathlib.Path(os.environ.get("RLUF_SOURCE", pathlib.Path(__file__).parents[2]))
sys.path.insert(0, str(source / "tests/pipeline"))
from program import check, finish, rluf  # noqa: E402, F401

build = os.environ.get("RLUF", str(source / "build/rluf"))


def steps(count):
    """A tiny run whose supervised training takes `count` steps, a checkpoint every ten."""
    return ["tests/pipeline/tiny.ini", "--sft.epochs=9999", f"--sft.max_steps={count}", "--sft.checkpoint_every_steps=10"]


def model(folder):
    """Of the last stage but one; nothing where a run has not come so far."""
    path = folder / "models/policy_w0.3/model.safetensors"
    return path.read_bytes() if path.exists() else None


def skip(reason):
    print(f"skipped: {reason}")
    raise SystemExit(77)


def wait(what, seconds, why):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := what():
            return result
        time.sleep(0.3)
    check(False, f"{why}: not within {seconds} s")
    return None


def text_of(path):
    return pathlib.Path(path).read_text() if pathlib.Path(path).exists() else ""


def output_of(*words, **more):
    return subprocess.run([*map(str, words)], capture_output=True, text=True, **more)


def starts_of(folder):
    """How many ranks each start of the run had."""
    return [int(ranks) for ranks in re.findall(r'"ranks":(\d+)', text_of(folder / "starts.jsonl"))]
