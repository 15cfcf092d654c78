"""The whole pipeline, tiny: the same numbers on 1, 2 and 3 ranks, skipping what is done, going on after a stop."""
import csv
import gzip
import json
import pathlib
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
        return {(row["stage"], row["step"], row["name"]): float(row["value"]) for row in csv.DictReader(file)
                if "second" not in row["name"] and "memory" not in row["name"]}


def equal(a, b, what):
    check(a.keys() == b.keys(), f"{what}: other metrics: {sorted(a.keys() ^ b.keys())[:5]}")
    worst = max(((abs(a[key] - b[key]) / max(1, abs(a[key])), key) for key in a.keys() & b.keys()), default=(1, "none"))
    check(worst[0] <= 1e-5, f"{what}: {worst}")
    print(what, "largest difference", worst, flush=True)


def same(a, b):
    """Equal but for the last digits of scores."""
    if isinstance(a, float) or isinstance(b, float):
        return abs(a - b) <= 1e-5 * max(1, abs(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def samples(folder):
    rows = [json.loads(line) for line in gzip.open(folder / "data/baseline.jsonl.gz", "rt")]
    return [row for row in rows if "identity" not in row]  # which names the run's folder


runs = {}
for ranks in (1, 2, 3):
    runs[ranks] = work / f"ranks{ranks}"
    result = rluf("run", tiny, f"--run.directory={runs[ranks]}", ranks=ranks)
    check(result.returncode == 0, f"run on {ranks} ranks\n{result.stderr[-1500:]}")
for ranks in (2, 3):
    equal(numbers(runs[1]), numbers(runs[ranks]), f"{ranks} ranks against 1")
    check(same(samples(runs[1]), samples(runs[ranks])), f"samples on {ranks} ranks are those of 1")

for ranks in (2, 3):
    one, many = [json.loads((runs[n] / "tables/validation.json").read_text()) for n in (1, ranks)]
    check(same(one, many), f"the validation table of {ranks} ranks is that of 1")
page = (runs[2] / "report.html").read_text()
check('class="missing"' not in page, "every picture and stage is in the report: "
      + "; ".join(re.findall(r'class="missing">([^<]*)', page)))
check(page.count("<svg") == 21, f"the report has {page.count('<svg')} pictures, not 21")
for label in ("love per response in the A/B test with love weight 0.3", "mean P[Love]", "helpfulness reward", "true safety",
              "online love rate", "ECE after it", "rows read", "prompts without a survivor", "Users needed", "AUROC"):
    check(label in page, f"the report holds '{label}'")

again = rluf("run", tiny, f"--run.directory={runs[1]}")
check(again.returncode == 0 and again.stderr.count("skipped") >= 7, "a second run skips what is done\n" + again.stderr)
changed = rluf("run", tiny, f"--run.directory={runs[1]}", "--sft.learning_rate=0.5")
check(changed.returncode == 2 and "sft.learning_rate" in changed.stderr, "changed options are named\n" + changed.stderr)

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
check(rluf("sft", tiny, *more, f"--run.directory={stopped}").returncode == 0, "continued")
equal(numbers(whole), numbers(stopped), "stopped and continued against uninterrupted")
shutil.rmtree(work)
finish(21)
