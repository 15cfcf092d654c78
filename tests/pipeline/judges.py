"""A policy with every kind of judge: the same numbers on other numbers of ranks and after a restart, errors at the start."""
import csv
import gzip
import json
import pathlib
import shutil
import sys
import tempfile

from program import check, check_error, finish, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_judges_"))
run, straight = work / "run", work / "straight"  # the same place each time: paths are part of what a run is
judge = work / "judge.py"
judge.write_text(f"""#!{sys.executable}
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    words = asked["response"].split()
    if len(words) % 5 == 4:
        sys.exit(1)
    if len(words) % 5 == 3:
        print("nonsense", flush=True)
        continue
    assert asked["prompt"][-1]["role"] == "user"
    print(json.dumps({{"id": asked["id"], "verdict": "violated" if len(words) % 5 == 2 else "satisfied"}}), flush=True)
""")
judge.chmod(0o755)

made = rluf("simulate", tiny, f"--run.directory={work}/sim")
if made.returncode != 0:
    raise SystemExit("simulate failed:\n" + made.stderr)
world = work / "sim/world"
rows = [json.loads(line) for line in gzip.open(world / "prompts.jsonl.gz", "rt")]
for i, row in enumerate(rows):
    if i % 2 == 0:
        row["instructions"] = [{"type": "length_constraints:number_words", "arguments": {"relation": "at least", "num_words": 3}}]
    if i % 2 == 1:
        row["language"] = "en"
    if i % 3 == 0:
        row["task"] = "short"
    if i % 4 == 0:
        row["answer"] = "a warm word"
prompts = work / "prompts.jsonl"
prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))

own = work / "judges.ini"  # two of each kind; paths are the same in every part of the test
own.write_text(f"""
[judge.yes]
kind = model
model = {world}/base
question = {{prompt}}{{response}}
satisfied_token = y
violated_token = n

[judge.facts]
kind = model
model = {world}/base
question = {{response}} is {{answer}}?
satisfied_token = t
violated_token = f

[judge.harm]
kind = score
model = {run}/models/safety
false_alarms = 0.2

[judge.help]
kind = score
model = {run}/models/helpfulness
threshold = 0.4

[judge.words]
kind = external
command = {judge}
restarts = 100

[judge.never_named]
kind = external
command = {judge} --unused
""")
names = ["length", "instructions", "language", "closing", "refusal", "safety", "harm", "yes", "facts", "words"]
watching = ["well_formed", "repetition", "help", "words_again"]
settings = [f"--model.base={world}/base", "--run.simulate=false", f"--data.prompts={prompts}", "--signals.enabled=false",
            *(f"--data.{name}={world}/{name}.jsonl.gz" for name in ("interactions", "helpfulness_pairs", "safety_pairs", "sft")),
            str(own), f"--policy.judges={','.join(names)}", "--judge.words_again.kind=external", f"--judge.words_again.command={judge}",
            "--judge.words_again.restarts=100",
            "--policy.task_judges=short: length safety harm yes facts words closing refusal instructions language",
            "--policy.task_settings=short: prompts=2 num_samples=3 kl_max=20 weight=0.5 love=0", "--policy.task_words=short: please",
            "--policy.love_weights=0.3", "--policy.rounds=3", "--policy.prompts_per_round=6",
            "--policy.checkpoint_every_rounds=1", "--run.keep_every=1",
            f"--policy.witnesses={run}/models/love", f"--policy.watching_judges={','.join(watching)}", f"--run.directory={run}"]
before = [rluf(stage, tiny, *settings, ranks=2) for stage in ("dataset", "sft", "reward")]
for result in before:
    if result.returncode != 0:
        raise SystemExit("a stage before the policy failed:\n" + result.stderr[-2000:])
shutil.copytree(run, work / "ready")


def numbers():
    with open(run / "metrics.csv") as file:
        return {(row["step"], row["name"]): float(row["value"]) for row in csv.DictReader(file)
                if row["stage"] == "policy_w0.3" and "second" not in row["name"] and "memory" not in row["name"]}


def model():
    return {path.name: path.read_bytes() for path in (run / "models/policy_w0.3").iterdir()}


def policy(ranks, what):
    result = rluf("policy", tiny, *settings, ranks=ranks)
    check(result.returncode == 0, f"{what}: exit code {result.returncode}\n{result.stderr[-2000:]}")
    return result


first = policy(1, "one rank")
want, weights = numbers(), model()
check("judge harm: threshold" in first.stderr, "the fitted threshold is said")
check("4 judges are models, for which 3 are loaded" in first.stderr, "two questions to one model")
check("the judge facts judges responses to" in first.stderr, "prompts that a judge does not ask are counted")
used = (run / "used.ini").read_text()
check(all(f"[judge.{name}]" in used for name in ("yes", "facts", "harm", "help", "words", "words_again", "never_named")), "used.ini has the judges")
for name in names:
    for step in ("1", "2", "3"):
        shares = [want[step, f"{verdict}_{name}"] for verdict in ("satisfied", "violated", "failed")]
        check(0 <= min(shares) and sum(shares) <= 1 + 1e-9, f"shares of {name} in round {step}: {shares}")
    total = sum(want["1", f"{verdict}_{name}"] for verdict in ("satisfied", "violated", "failed"))
    check(total > 0.99 or name in ("instructions", "language", "facts"), f"{name} judges every response: {total}")
check(0 < sum(want[step, f"{verdict}_facts"] for verdict in ("satisfied", "violated", "failed") for step in "123") < 2.9,
      "facts are asked of prompts with an answer alone")
for step in "123":
    for verdict in ("satisfied", "violated", "failed"):
        check(want[step, f"{verdict}_words"] == want[step, f"{verdict}_words_again"], "one program twice says the same")
# The witness is the model that the policy is rewarded by, so it must say the same.
for step in "123":
    for what in ("score", "reward", "gain"):
        check(want[step, f"{what}_witness_love"] == want[step, f"{what}_love"], f"{what} of the witness in round {step}")
    check(abs(want[step, "satisfied_well_formed"] + want[step, "violated_well_formed"] - 1) < 1e-9, "a watching judge sees every response")
curves = {row["objective"]: row for row in json.loads((run / "tables/policy.json").read_text())["policies"][0]["gain_curves"]}
check(set(curves) == {"helpfulness", "safety", "love", "witness_love"} and all(row["sentence"] for row in curves.values()), f"{curves}")
drawn = [want[step, "responses.short"] for step in "123"]
check(drawn == [6, 6, 6], f"responses of the task, 3 to each of 2 prompts a round: {drawn}")
check(all(0 <= want[step, "reward.short"] <= 1 for step in "123"), "rewards of the task, love left out")
check(all(0 <= want[step, f"satisfied_{name}.short"] <= 1 for step in "123" for name in names), "shares of the task")
check(sum(want[step, "failed_words"] for step in "123") > 0, "the external judge fails at times")
check(sum(want[step, "satisfied_words"] for step in "123") > 0, "and judges at others")
check("the judge words failed for" in first.stderr, "failures are said")
run.rename(straight)

shutil.copytree(work / "ready", run)
policy(2, "two ranks")
check(numbers() == want and model() == weights, "two ranks give the numbers of one")
shutil.rmtree(run)

shutil.copytree(straight, run)
for path in (run / "checkpoints/policy_w0.3").glob("step_*.h5"):
    if int(path.stem[5:]) > 1:
        path.unlink()
(run / "stages/policy.json").unlink(missing_ok=True)
again = policy(2, "continued")
check("continuing from the checkpoint at round 1" in again.stderr, f"it continues\n{again.stderr[-2000:]}")
check(numbers() == want and model() == weights, "a restart in the middle changes nothing")

report = rluf("report", tiny, *settings)
page = (run / "report.html").read_text()
check("<td>short</td>" in page, "and one of tasks")
check("<h3>Gain against distance</h3>" in page and "<td>witness_love</td>" in page, "and one of gains against KL")
check(report.returncode == 0 and "<h3>Judges</h3>" in page and "<td>words</td>" in page, "the report has a table of judges")

broken = work / "text"
broken.write_text("no program")
twice = work / "twice.ini"
twice.write_text("[judge.same]\nkind = external\ncommand = cat\n\n[judge.same]\nkind = model\nmodel = folder\n")
for what, command, change, parts in [
        ("a missing program", "policy", [f"--judge.words.command={work}/none"], ["judge.words.command", "missing"]),
        ("a file that is no program", "policy", [f"--judge.words.command={broken}"], ["text", "executed"]),
        ("no program", "policy", ["--judge.words.command="], ["judge.words.command is empty"]),
        ("no judge model", "policy", [f"--judge.yes.model={work}/none"], ["none", "config.json"]),
        ("a token that is none", "policy", ["--judge.yes.satisfied_token=yes and no"], ["judge.yes.satisfied_token", "tokens"]),
        ("a judge without a section", "policy", ["--policy.judges=wrods", "--policy.task_judges="], ["wrods", "words"]),
        ("a kind that is none", "policy", ["--judge.yes.kind=modle"], ["judge.yes.kind", "must be one of model"]),
        ("no kind", "policy", ["--judge.new.seconds=3"], ["judge.new.kind is empty"]),
        ("an option of another kind", "policy", ["--judge.help.satisfied_token=y"], ["judge.help.satisfied_token", "score"]),
        ("an option that is none", "policy", ["--judge.help.treshold=0.5"], ["judge.help.treshold", "judge.help.threshold"]),
        ("two judges of one name", "policy", [str(twice)], ["twice.ini:6: judge.same.kind", "line 2"]),
        ("a section of a rule judge's name", "policy", ["--judge.length.kind=external"], ["judge.length", "rule"]),
        ("a task that no prompt has", "policy", ["--policy.task_judges=long: length"], ["task long", "no prompt"]),
        ("settings of a task that no prompt has", "policy", ["--policy.task_settings=long: weight=2"], ["task long", "no prompt"]),
        ("settings that cannot be read", "policy", ["--policy.task_settings=short: wieght=2"], ["wieght", "weight"]),
        ("a judge of a task that is not there", "policy", ["--policy.task_judges=short: answer"], ["answer", "policy.judges"]),
        ("a witness that is not there", "policy", [f"--policy.witnesses={work}/none"], ["/none"]),
        ("two witnesses of one objective", "policy", [f"--policy.witnesses={run}/models/love,{run}/models/love"], ["two models of love"]),
        ("a judge that chooses and watches", "policy", ["--policy.watching_judges=length"], ["watching_judges", "length"]),
        ("a judge of which nobody asks", "policy", ["--policy.judges=json", "--policy.task_judges="], ["judge json", "no prompt"])]:
    shutil.rmtree(run)
    shutil.copytree(work / "ready", run)
    check_error(rluf(command, tiny, *settings, *change, ranks=2), 2, parts, what)
    if not any(part in what for part in ("token", "nobody", "no prompt has", "two witnesses")):
        check_error(rluf(command, tiny, *settings, *change, "--validate"), 2, parts, f"{what}, --validate")
prompts.write_text(json.dumps({"prompt": "p", "instructions": [{"type": "no:such"}]}) + "\n")
check_error(rluf("dataset", tiny, *settings, "--validate"), 3, ["prompts.jsonl:1", "no:such"], "an instruction, --validate")
shutil.rmtree(work)
finish(30)
