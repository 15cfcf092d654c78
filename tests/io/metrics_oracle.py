"""TensorBoard reads the event files and JSON the lines: the numbers of metrics.csv, each once, also after a restart."""
import collections
import csv
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

source, rluf = pathlib.Path(os.environ["RLUF_SOURCE"]), os.environ["RLUF"]


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def csv_numbers(run, stage):
    with open(run / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == stage]
    numbers = collections.defaultdict(list)
    for row in rows:
        numbers[row["name"]].append((int(row["step"]), float(row["value"]), float(row["time_seconds"])))
    return numbers


def check(run, stage):
    """@return the steps"""
    numbers = csv_numbers(run, stage)
    assert len(numbers) >= 3, numbers
    accumulator = EventAccumulator(str(run / "tensorboard" / stage), size_guidance={"scalars": 0})
    accumulator.Reload()
    assert sorted(accumulator.Tags()["scalars"]) == sorted(numbers)
    for name, values in numbers.items():
        read = [(event.step, event.value, event.wall_time) for event in accumulator.Scalars(name)]
        assert [(step, time) for step, _, time in read] == [(step, time) for step, _, time in values], (name, read, values)
        assert all(abs(a[1] - float32(b[1])) <= 1e-6 * abs(b[1]) for a, b in zip(read, values)), (name, read, values)
    rows = [row for row in map(json.loads, open(run / "metrics.jsonl")) if row["stage"] == stage]
    lines = {name: [(row["step"], row[name], row["time_seconds"]) for row in rows if name in row] for name in numbers}
    for name, values in numbers.items():
        assert [(a, float(f"{b:.9g}"), c) for a, b, c in lines[name]] == values, (name, lines[name], values)
    assert all(set(row) <= {"time_seconds", "stage", "step", *numbers} for row in rows)
    return [step for step, *_ in max(numbers.values(), key=len)]


with tempfile.TemporaryDirectory() as temp:
    run = pathlib.Path(temp) / "run"

    def stage(command, *more):
        result = subprocess.run([rluf, command, str(source / "tests/pipeline/tiny.ini"), f"--run.directory={run}", "--run.keep_every=1",
                                 "--sft.max_steps=40", "--sft.log_every_steps=1", "--sft.checkpoint_every_steps=10", *more],
                                capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-2000:]

    for command in ("simulate", "dataset", "sft"):
        stage(command)
    steps = check(run, "sft")
    assert steps == [*range(1, 41)], steps
    before = csv_numbers(run, "sft")["loss"]
    # As if a start had been killed while it wrote the next step.
    events = next((run / "tensorboard/sft").iterdir())
    for path in (run / "metrics.csv", run / "metrics.jsonl", events):
        path.write_bytes(path.read_bytes() + path.read_bytes()[-30:-7])
    stage("sft", "--restart=30")
    steps = check(run, "sft")
    assert steps == [*range(1, 41)], steps
    after = csv_numbers(run, "sft")["loss"]
    assert [row[:2] for row in after] == [row[:2] for row in before] and after[:30] == before[:30]
    # Whole in TensorFlow's sense: a flipped bit is found by the checksums.
    assert len(list(EventFileLoader(str(events)).Load())) > 40
    content = bytearray(events.read_bytes())
    content[len(content) // 2] ^= 1
    events.write_bytes(content)
    assert len(list(EventFileLoader(str(events)).Load())) < 40, "the reader does not look at checksums: it proves nothing"
    stage("sft", "--restart=30", "--run.metrics=")
    assert max(row["step"] for row in map(json.loads, open(run / "metrics.jsonl")) if row["stage"] == "sft") == 30
print("TensorBoard, JSON Lines and CSV agree before and after a restart")
