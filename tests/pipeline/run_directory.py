"""What a run leaves: used.ini, log, metrics, tables, checkpoints, models; memory beside its estimate; progress; no user ids."""
import csv
import gzip
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import tempfile

from program import check, check_error, finish, mpirun, program, results_of, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_left_"))
run = work / "run"
check(rluf("simulate", tiny, f"--run.directory={work}/sim").returncode == 0, "simulate")
world = work / "sim/world"

# A log of users whose names would be recognised anywhere; the key of their hashes comes from the environment.
secrets = {}
rows = [json.loads(line) for line in gzip.open(world / "interactions.jsonl.gz", "rt")]
for row in rows:
    row["user_id"] = secrets.setdefault(row["user_id"], f"jane.doe{len(secrets)}@example.org")
(work / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
settings = [tiny, f"--run.directory={run}", "--run.simulate=false", f"--model.base={world}/base", f"--data.interactions={work}/log.jsonl",
            *[f"--data.{name}={world}/{name}.jsonl.gz" for name in ("helpfulness_pairs", "safety_pairs", "prompts", "sft")],
            f"--data.candidates={world}/candidates", f"--data.online={world}/online.json", "--data.user_key=${RLUF_TEST_KEY}"]
environment = {**os.environ, "RLUF_TEST_KEY": "a-secret-of-ours"}
result = rluf("run", *settings, ranks=2, env=environment)
check(result.returncode == 0, f"run: {result.returncode}\n{result.stderr[-1500:]}")

# Every file that issue and README name.
stages = ("dataset", "sft", "reward", "evaluate", "policy", "validate", "report")
for path in ("used.ini", "log.txt", "metrics.csv", "report.html", *[f"stages/{stage}.json" for stage in stages],
             *[f"tables/{name}.json" for name in ("run", "dataset", "sft", "reward_love", "reward_helpfulness", "reward_safety", "evaluation", "policy")],
             *[f"models/{name}/{file}" for name in ("reference", "love", "helpfulness", "safety", "policy_w0.0", "policy_w0.3")
               for file in ("config.json", "model.safetensors", "tokenizer.json")]):
    check((run / path).is_file(), f"the run has no {path}")
for stage in ("sft", "love", "helpfulness", "safety", "policy_w0.0", "policy_w0.3"):
    check(list((run / "checkpoints" / stage).glob("step_*.h5")), f"no checkpoint of {stage}")


def table_rows(value, record="", name=""):
    """What the CSV of a table must hold: (record, name, value)."""
    if not isinstance(value, (dict, list)) or not value:
        return [(record, name, value)]
    parts = value if isinstance(value, dict) else dict(enumerate(value))
    kinds = [isinstance(part, (dict, list)) for part in value] if isinstance(value, list) else [isinstance(part, dict) for part in value.values()]
    begins_records = any(kinds) if isinstance(value, list) else all(kinds)
    rows = []
    for key, part in parts.items():
        path = (record, name, str(key)) if begins_records else (name, str(key))
        path = ".".join(word for word in path if word)
        rows += table_rows(part, path, "") if begins_records else table_rows(part, record, path)
    return rows


def is_text_of(text, value):
    return text == (value or "") if isinstance(value, str) or value is None else json.loads(text) == value


tables = sorted((run / "tables").glob("*.json"))
check([path.stem for path in tables] == sorted(path.stem for path in (run / "tables").glob("*.csv")) and len(tables) >= 9, "a CSV of each table")
for path in tables:
    with open(path.with_suffix(".csv"), newline="") as file:
        head, *lines = csv.reader(file)
    expected = table_rows(json.loads(path.read_text()))
    check(head == ["record", "name", "value"] and [tuple(line[:2]) for line in lines] == [row[:2] for row in expected], f"rows of {path.stem}.csv")
    check(all(len(line) == 3 and is_text_of(line[2], want[2]) for line, want in zip(lines, expected)), f"values of {path.stem}.csv")
check(len({row[0] for row in csv.reader(open(run / "tables/dataset.csv"))}) == 6, "records of dataset.csv: the head and five inputs")
check(not list(run.rglob("*.part")), "temporary files are left")
metrics = list(csv.DictReader(open(run / "metrics.csv")))
check({"time_seconds", "stage", "step", "name", "value"} == set(metrics[0]), "columns of metrics.csv")

# Memory: the estimate before the stage, both figures after it, near each other.
log = (run / "log.txt").read_text()
for stage in stages:
    before = re.search(rf"== {stage}: .*\(memory estimated (\d+) MiB per rank\)", log)
    after = re.search(rf" {stage}: done in \d+ s; memory estimated (\d+) MiB, peak (\d+) MiB per rank \(\d+, \d+\)", log)
    check(before and after, f"{stage}: no memory in the log\n{log[-2000:]}")
    if before and after:
        estimate, peak = int(after[1]), int(after[2])
        check(before[1] == after[1] and before.start() < after.start(), f"{stage}: two estimates")
        print(f"memory of {stage}: estimated {estimate} MiB, peak {peak} MiB", flush=True)
        check(0.5 <= estimate / peak <= 2, f"{stage}: estimated {estimate} MiB, peak {peak} MiB")
        values = {row["name"]: float(row["value"]) for row in metrics if row["stage"] == stage}
        check(values.get("memory_peak_mib") == peak and values.get("memory_estimate_mib") == estimate, f"{stage}: metrics.csv")
check(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", log), "log lines start with the time")
check("data.user_key = ${RLUF_TEST_KEY}" in log and "sft.max_steps = 4" in log, "the log names the options that were given")

# Users are hashes; neither their names nor the key of the hashes is anywhere.
for path in run.rglob("*"):
    if path.is_file():
        content = path.read_bytes()
        content += gzip.decompress(content) if path.suffix == ".gz" else b""
        for secret in (b"jane.doe", b"example.org", b"a-secret-of-ours"):
            check(secret not in content, f"{path.relative_to(run)} holds {secret.decode()}")
check("user_key = ${RLUF_TEST_KEY}" in (run / "used.ini").read_text(), "used.ini names where the key comes from")
(work / "bad.jsonl").write_text(json.dumps(rows[0]) + '\n{"user_id": "jane.doe1@example.org" "timestamp": 3}\n')
bad = rluf("dataset", *settings, f"--run.directory={work}/bad", f"--data.interactions={work}/bad.jsonl", env=environment)
check_error(bad, 3, ["bad.jsonl:2: broken JSON at column"], "a broken row")
check("jane.doe" not in bad.stderr, "the message quotes a user's row")

# used.ini gives the same run: all stages are done.
again = rluf("run", run / "used.ini", env=environment)
check(again.returncode == 0 and again.stderr.count("done before, skipped") == 7, f"used.ini does not give the same run\n{again.stderr}")
again = rluf("run", run / "used.ini", "--alarms.action=stop", env=environment)
check(again.returncode == 0 and again.stderr.count("done before, skipped") == 7, f"after a stop by an alarm a run may go on\n{again.stderr}")
# Options of a finished stage changed: said before anything is written.
untouched, used = results_of(run), (run / "used.ini").read_text()
for option, name in (("--love.learning_rate=0.25", "love.learning_rate"), ("--run.seed=9", "run.seed")):
    changed = rluf("run", *settings, option, env=environment, ranks=2)
    check_error(changed, 2, ["was done with other options", name, "(was "], f"{name} changed")
other_key = rluf("run", *settings, env={**environment, "RLUF_TEST_KEY": "another"})
check_error(other_key, 2, ["stage signals was done with other options", "data.user_key"], "another key")
check(untouched == results_of(run) and used == (run / "used.ini").read_text(), "a refused start has changed the run")
operational = rluf("run", *settings, "--sft.log_every_steps=1", env=environment)
check(operational.returncode == 0, f"an option that changes no result is no other run\n{operational.stderr[-600:]}")


# Tools on what the run made.
def exported(source, *options):
    out = work / f"out_{source}"
    result = rluf("export", run / "models" / source, out, *options)
    check(result.returncode == 0, f"export {source}\n{result.stderr[-600:]}")
    return out


half = exported("love", "--model.save_dtype=bfloat16")
check(json.loads((half / "rluf_reward.json").read_text()) == json.loads((run / "models/love/rluf_reward.json").read_text()), "the calibration is exported")
check((half / "model.safetensors").stat().st_size < 0.6 * (run / "models/love/model.safetensors").stat().st_size, "bfloat16 is half")
candidates = next((world / "candidates").glob("*.jsonl.gz"))
scores = [[json.loads(line) for line in rluf("score", folder, candidates).stdout.splitlines()] for folder in (run / "models/love", half)]
check(scores[0] and len(scores[0]) == len(scores[1]), "scores of the exported model")
check(all(abs(a["raw_score"] - b["raw_score"]) < 0.05 and 0 < a["calibrated_probability"] < 1 for a, b in zip(*scores)), "scores are near")
chat = exported("policy_w0.3")
check((chat / "model.safetensors").read_bytes() == (run / "models/policy_w0.3/model.safetensors").read_bytes(), "float32 stays as it is")
check((chat / "tokenizer.json").is_file() and (chat / "generation_config.json").is_file(), "a chat model is exported whole")
for path, parts in ((run / "models/love", ["a reward model, whole", "prior_correction"]), (chat, ["a chat model, whole", "chat template"]),
                    (next((run / "checkpoints/love").glob("*.h5")), ["a checkpoint of stage love", "all checksums are right"]),
                    (run / "data/love.h5", ["a data set of rluf", "train/tokens", "holdout/labels"])):
    text = rluf("inspect", path).stdout
    check(all(part in text for part in parts), f"inspect {path.name} does not say {parts}:\n{text[:600]}")


# compare, verify, prune: bit-equal or not, whole or damaged, kept or removed.
same = rluf("compare", chat, run / "models/policy_w0.3")
check(same.returncode == 0 and "equal in every bit" in same.stdout, f"compare of equal folders\n{same.stdout}{same.stderr}")
differ = rluf("compare", run / "models/reference", run / "models/policy_w0.3")
check(differ.returncode == 1 and "elements differ, the first is" in differ.stdout, f"compare of the reference and a policy\n{differ.stdout[-800:]}")
first, last = sorted((run / "checkpoints/love").glob("step_*.h5"))
other = rluf("compare", first, last)
check(other.returncode == 1 and "second/score.weight: " in other.stdout, f"compare of two checkpoints\n{other.stdout[-800:]}")
check(rluf("compare", last, last).returncode == 0, "a checkpoint equals itself")
check(rluf("compare", last).returncode == 2, "compare needs two")
used = work / "used"
shutil.copytree(run, used)
whole = rluf("verify", used)
check(whole.returncode == 0 and " 0 damaged" in whole.stdout, f"verify\n{whole.stdout[-800:]}{whole.stderr[-300:]}")
damaged = used / "checkpoints/love" / last.name
content = bytearray(damaged.read_bytes())
content[len(content) // 2] ^= 1
damaged.write_bytes(content)
result = rluf("verify", used)
check(result.returncode == 3 and f"{damaged}: DAMAGED" in result.stdout, f"verify of a damaged file\n{result.stdout[-800:]}")
result = rluf("prune", used, "--run.keep_last=1")
check(result.returncode == 3 and (damaged.parent / first.name).exists(), f"prune keeps the last whole one\n{result.stderr[-600:]}")
damaged.write_bytes(last.read_bytes())
result = rluf("prune", used, "--run.keep_last=1")
check(result.returncode == 0 and "MiB freed" in result.stdout and not (damaged.parent / first.name).exists() and damaged.exists(),
      f"prune\n{result.stdout[-600:]}{result.stderr[-600:]}")
check(rluf("prune", work).returncode == 2, "prune needs a run directory")


# Progress: a line that is rewritten where a person watches, also through mpirun; whole lines elsewhere.
def on_terminal(*words):
    leader, follower = pty.openpty()
    process = subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL, stderr=follower, stdin=follower)
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # the end, on Linux
        pass
    os.close(leader)
    return process.wait(), shown.decode(errors="replace")


simulate = [program, "simulate", tiny, "--simulate.rows=20000"]
try:
    for descriptor in pty.openpty():
        os.close(descriptor)
    launchers = ([], [*mpirun, "-n", "2"])
except OSError as error:
    print(f"no pseudo-terminal here ({error}): progress on a terminal was not looked at")
    launchers = ()
for launcher in launchers:
    folder = work / f"progress{len(launcher)}"
    code, shown = on_terminal(*launcher, *simulate, f"--run.directory={folder}")
    lines = re.findall(r"\r\x1b\[K(simulate: \d+/20000 rows, \S+ rows/s, \d+ s left)", shown)
    check(code == 0 and len(lines) >= 2, f"{len(lines)} rewritten lines on a terminal\n{shown[-800:]}")
    check("\r" not in (folder / "log.txt").read_text(), "the log file holds whole lines only")
piped = rluf(*simulate[1:], f"--run.directory={work}/piped")
check("\r" not in piped.stderr and "\x1b" not in piped.stderr, "no rewriting where nobody watches")
shutil.rmtree(work)
finish(56)
