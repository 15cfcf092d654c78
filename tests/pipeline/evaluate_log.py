"""rluf evaluate with arms of the log: the table, the same on two ranks, the gate with exit code 4, and bad input."""
import json
import pathlib
import random
import tempfile

from program import check, check_error, finish, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_evaluate_log_"))
random.seed(5)
rows = []
for user in range(1500):
    for turn in range(random.randint(1, 4)):
        use_case = random.choice(["chat", "code"])
        arm = "new" if random.random() < 0.3 else "old"
        chance = 0.25 if (arm == "new") == (use_case == "code") else 0.1
        rows.append({"user_id": f"u{user}", "timestamp": 1000 + len(rows), "model": arm, "use_case": use_case,
                     "messages": [{"role": "user", "content": f"question {turn} of {user}"}], "response": "yes",
                     "signals": {"love": int(random.random() < chance)}})
rows.append(dict(rows[0], timestamp=10**6))  # a duplicate
rows.append({key: value for key, value in dict(rows[1], user_id="x").items() if key != "model"})


def written(name, content):
    path = work / name
    path.write_text(content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content))
    return path


log = written("log.jsonl", rows)
policies = written("policies.json", json.dumps({"by use": {"code": "new", "*": "old"}, "all new": "new",
                                                "worst": {"code": "old", "chat": {"new": 1.0}}}))


def evaluate(name, *more, ranks=0):
    return rluf("evaluate", f"--data.interactions={log}", "--evaluate.arm_field=model", "--evaluate.bootstrap_replicates=50",
                f"--run.directory={work}/{name}", "--run.threads=1", *more, ranks=ranks)


def table(name):
    return json.load(open(work / name / "tables/evaluation.json"))


result = evaluate("one", f"--evaluate.policies={policies}")
check(result.returncode == 0, "evaluate\n" + result.stderr)
found = table("one")
values = {row["name"]: row for row in found["log"]["policies"]}
check(set(values) == {"(the log)", "old", "new", "by use", "all new", "worst"}, f"policies: {set(values)}")
check((found["log"]["rows"], found["log"]["duplicates"], found["log"]["without_arm"]) == (len(rows), 1, 1), "rows are accounted for")
# without a love model: weights alone; shares of traffic make them exact, so strata can be averaged by hand
counts = {}
for row in rows[:-2]:
    cell = counts.setdefault((row["use_case"], row["model"]), [0, 0])
    cell[0] += row["signals"]["love"]
    cell[1] += 1
share = {use: sum(counts[use, arm][1] for arm in ("old", "new")) / (len(rows) - 2) for use in ("chat", "code")}
want = sum(share[use] * counts[use, arm][0] / counts[use, arm][1] for use, arm in (("chat", "old"), ("code", "new")))
for name in ("ips", "snips"):
    check(abs(values["by use"]["estimators"][name]["value"] - want) < 1e-12, f"{name} of the routing policy")
check(values["by use"]["estimators"]["dr"]["reason"] == "there is no love model", "refusals say why")
check(values["by use"]["place"] == 1 and values["worst"]["place"] == 5, "places")
check(values["by use"]["differences"]["snips"]["low"] > 0, "the routing policy beats the log")
check("SNIPS" in result.stderr and "by use" in result.stderr, "the table is printed")
verdicts = {row["name"]: row["passes"] for row in found["log_gate"]["candidates"]}
check(verdicts["by use"] and not verdicts["worst"], f"gate: {verdicts}")

check(evaluate("two", f"--evaluate.policies={policies}", ranks=2).returncode == 0, "two ranks")
check(table("two") == found, "the same numbers on two ranks")

report = rluf("report", f"--run.directory={work}/one")
page = (work / "one/report.html").read_text()
check(report.returncode == 0 and "valued from the log" in page and "does not pass" in page, "the report shows it")

# the gate
check_error(evaluate("gate", f"--evaluate.policies={policies}", "--evaluate.gate=true"), 4, ["the gate is shut for", "worst"], "gate")
good = written("good.json", json.dumps({"by use": {"code": "new", "*": "old"}}))
check(evaluate("open", f"--evaluate.policies={good}", "--evaluate.gate=true", "--evaluate.baseline=old").returncode == 0, "open gate")
check(table("open")["log"]["reference"] == "old", "an arm as the baseline")

# with a love model, beside candidates: the same numbers on other numbers of ranks
world = [tiny, f"--run.directory={work}/world", "--reward.objective=love", "--evaluate.arm_field=model"]
for command in ("simulate", "dataset", "reward"):
    made = rluf(command, *world)
    check(made.returncode == 0, f"{command}\n{made.stderr[-1500:]}")
tables = []
for ranks in (1, 2, 3):
    result = rluf("evaluate", *world, ranks=ranks)
    check(result.returncode == 0, f"evaluate on {ranks} ranks\n{result.stderr[-1500:]}")
    tables.append(table("world"))
check(tables[0] == tables[1] == tables[2], "the same numbers with a love model on 1, 2 and 3 ranks")
check(len(tables[0]["candidates"]) > 1 and "leaving one candidate out, r lies between" in result.stderr, "candidates, and r without each")
own = tables[0]["log"]["policies"][0]["estimators"]
check(all(own[name]["low"] < own[name]["high"] for name in ("dm", "ips", "snips", "dr", "switch", "switch_dr")), "every estimator has an interval")

# refusals and bad input
evaluate("strict", "--evaluate.min_effective=1e6")
check(all("effective responses" in row["estimators"]["snips"]["reason"] for row in table("strict")["log"]["policies"]), "too few effective responses")
check_error(evaluate("bad", "--evaluate.gate=true"), 2, ["evaluate.gate has nothing to gate"], "gate of nothing")
check_error(evaluate("bad", "--evaluate.baseline=olds"), 2, ["did you mean old?"], "unknown baseline")
check_error(evaluate("bad", f"--evaluate.policies={written('odd.json', json.dumps({'a': 'olds'}))}"), 2, ["did you mean old?"], "unknown arm")
check_error(evaluate("bad", f"--evaluate.policies={work}/none.json"), 2, ["none.json"], "no policy file")
check_error(rluf("evaluate", "--evaluate.arm_field=model", f"--run.directory={work}/bad"), 2, ["evaluate.arm_field is given without data.interactions"], "no log")
check_error(rluf("evaluate", f"--evaluate.policies={policies}", f"--run.directory={work}/bad"), 2, ["evaluate.policies is given without"], "no arm field")
log = written("odds.jsonl", [dict(rows[0], propensity=0)])
check_error(evaluate("bad"), 3, ["odds.jsonl:1", "propensity"], "a chance of 0")
log = written("json.jsonl", '{"user_id": \n')
check_error(evaluate("bad", ranks=2), 3, ["json.jsonl:1: broken JSON"], "broken JSON on two ranks")
finish(30)
