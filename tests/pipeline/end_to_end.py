"""The whole pipeline, tiny: the same bits on 1 to 4 ranks, skipping what is done, going on after a stop."""
import csv
import gzip
import json
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

from program import check, finish, program, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_end_"))


def numbers(folder):
    """Every number of metrics.csv that is not a time, a speed or a size in memory."""
    with open(folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    keys = [(row["stage"], row["step"], row["name"]) for row in rows if row["step"] != "0"]
    check(len(keys) == len(set(keys)), f"{folder}: a row of metrics.csv stands twice")
    lines = [json.loads(line) for line in open(folder / "metrics.jsonl")]
    flat = [(row["stage"], str(row["step"]), name, f"{value:.9g}") for row in lines for name, value in row.items()
            if name not in ("time_seconds", "stage", "step") and value is not None]
    finite = [(row["stage"], row["step"], row["name"], row["value"]) for row in rows if row["value"].lstrip("-") not in ("nan", "inf")]
    check(flat == finite, f"{folder}: metrics.jsonl is not metrics.csv: {[pair for pair in zip(flat, finite) if pair[0] != pair[1]][:3]}")
    return {(row["stage"], row["step"], row["name"]): float(row["value"]) for row in rows
            if "second" not in row["name"] and "memory" not in row["name"]}


def equal(a, b, what):
    check(len(a) > 0 and a == b, f"{what}: {[(key, a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)][:5]}")


def models(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "models").rglob("*") if path.is_file()}


def samples(folder):
    rows = [json.loads(line) for line in gzip.open(folder / "data/baseline.jsonl.gz", "rt")]
    return [row for row in rows if "identity" not in row]  # which names the run's folder


runs, also = {}, "--love.also=copy, retained_14d, continue:regression"
for ranks in (1, 2, 3, 4):
    runs[ranks] = work / f"ranks{ranks}"
    result = rluf("run", tiny, also, f"--run.directory={runs[ranks]}", ranks=ranks)
    check(result.returncode == 0, f"run on {ranks} ranks\n{result.stderr[-1500:]}")
for ranks in (2, 3, 4):
    equal(numbers(runs[1]), numbers(runs[ranks]), f"metrics of {ranks} ranks against 1")
    equal(models(runs[1]), models(runs[ranks]), f"models of {ranks} ranks against 1")
    check(samples(runs[1]) == samples(runs[ranks]), f"samples on {ranks} ranks are those of 1")
    for table in ("validation", "reward_love", "audit", "recommendation"):
        one, many = [json.loads((runs[n] / f"tables/{table}.json").read_text()) for n in (1, ranks)]
        one.pop("base", None), many.pop("base", None)  # names the run's folder
        check(one == many, f"the table {table} of {ranks} ranks is that of 1")
decision = json.loads((runs[2] / "tables/recommendation.json").read_text())
check(decision["recommended"] in ("policy_w0.0", "policy_w0.3") and [row["name"] for row in decision["policies"]] == ["policy_w0.3"],
      f"which policy to ship: {decision}")
check((runs[1] / "models/reference/model.safetensors").read_bytes() != (runs[1] / "models/policy_w0.3/model.safetensors").read_bytes(),
      "the policy has learnt, so that equal bits mean something")
page = (runs[2] / "report.html").read_text()
check('class="missing"' not in page, "every picture and stage is in the report: "
      + "; ".join(re.findall(r'class="missing">([^<]*)', page)))
check(page.count("<svg") == 34, f"the report has {page.count('<svg')} pictures, not 34")
for label in ("love per response in the A/B test with love weight 0.3", "mean P[Love]", "helpfulness reward", "true safety",
              "online love rate", "ECE after it", "rows read", "prompts without a survivor", "Users needed", "AUROC", "odds ratio, adjusted", decision["sentence"],
              "hearts to predicted", "What P[Love] rewards", "Learned beside love", "R squared"):
    check(label in page, f"the report holds '{label}'")

again = rluf("run", tiny, also, f"--run.directory={runs[1]}")
check(again.returncode == 0 and again.stderr.count("skipped") >= 8, "a second run skips what is done\n" + again.stderr)
changed = rluf("run", tiny, also, f"--run.directory={runs[1]}", "--sft.learning_rate=0.5")
check(changed.returncode == 2 and "sft.learning_rate" in changed.stderr, "changed options are named\n" + changed.stderr)

# A signal in the middle of a stage, then on with another number of ranks.
more = ["--sft.max_steps=200", "--sft.log_every_steps=1", "--sft.checkpoint_every_steps=5"]
whole, stopped = work / "whole", work / "stopped"
for folder in (whole, stopped):
    for command in ("simulate", "dataset"):
        check(rluf(command, tiny, f"--run.directory={folder}").returncode == 0, command)
check(rluf("sft", tiny, *more, f"--run.directory={whole}").returncode == 0, "uninterrupted")
process = subprocess.Popen([program, "sft", tiny, *more, f"--run.directory={stopped}"], stderr=subprocess.PIPE, text=True)
while process.poll() is None and not list(stopped.glob("checkpoints/sft/step_*.h5")):
    time.sleep(0.01)
process.send_signal(signal.SIGTERM)
message = process.communicate()[1]
check(process.returncode == 75, f"stopped with {process.returncode}, not 75\n{message[-800:]}")
check(not (stopped / "models/reference/config.json").exists(), "the stop came in the middle")
check(rluf("sft", tiny, *more, f"--run.directory={stopped}", ranks=2).returncode == 0, "continued")
equal(numbers(whole), numbers(stopped), "stopped and continued against uninterrupted")
equal(models(whole), models(stopped), "the model of stopped and continued against uninterrupted")

# From any checkpoint, on any number of ranks: N steps are n steps, a restart, and N - n steps, in each stage that trains.
steps = [also, "--sft.max_steps=8", "--love.max_steps=8", "--helpfulness.max_steps=8", "--safety.max_steps=8", "--policy.rounds=8",
         "--sft.checkpoint_every_steps=1", "--love.checkpoint_every_steps=1", "--helpfulness.checkpoint_every_steps=1",
         "--safety.checkpoint_every_steps=1", "--policy.checkpoint_every_rounds=1", "--run.keep_every=1"]
folder, straight = work / "resumed", work / "straight"  # the same place each time: paths are part of what a run is
result = rluf("run", tiny, *steps, f"--run.directory={folder}", ranks=2)
folder.rename(straight)
check(result.returncode == 0, f"straight run\n{result.stderr[-1500:]}")
random = random.Random(7)
training = {"sft": "sft", "love": "reward", "helpfulness": "reward", "safety": "reward", "policy_w0.0": "policy",
            "policy_w0.3": "policy"}
order = ["simulate", "signals", "dataset", "sft", "reward", "evaluate", "policy", "validate"]
cases = 0
for part in list(training) + random.choices(list(training), k=4):
    n, ranks, stage = random.randrange(1, 8), random.randrange(1, 5), training[part]
    shutil.copytree(straight, folder)
    kept = list(training)[:list(training).index(part) + 1]
    for other in training:
        for path in (folder / "checkpoints" / other).glob("step_*.h5"):
            if other not in kept or (other == part and int(path.stem[5:]) > n):
                path.unlink()
    for mark in order[order.index(stage):]:
        (folder / "stages" / f"{mark}.json").unlink(missing_ok=True)
    result = rluf("run", tiny, *steps, f"--run.directory={folder}", ranks=ranks)
    what = f"{part} from step {n} on {ranks} ranks"
    check(result.returncode == 0, f"{what}\n{result.stderr[-1500:]}")
    unit = "round" if stage == "policy" else "step"
    check(f"{part}: continuing from the checkpoint at {unit} {n}" in result.stderr, f"{what}: it starts there\n{result.stderr[-3000:]}")
    equal(models(straight), models(folder), f"models: {what}")
    equal(numbers(straight), numbers(folder), f"metrics: {what}")
    shutil.rmtree(folder)
    cases += 1
shutil.rmtree(work)
finish(21 + 4 * cases)
