"""rluf sweep: a grid as one job, as an array of jobs and over restarts gives the same; halving drops the worse."""
import json
import pathlib
import re
import shutil
import tempfile

from program import check, check_error, finish, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_sweep_"))
grid = ["sweep", tiny, "--policy.love_weights=0.0,0.3", "--sweep.vary=policy.learning_rate: 1e-3 5e-2; policy.weighting: calibrated one"]
names = ["1_learning_rate_1e-3_weighting_calibrated", "2_learning_rate_1e-3_weighting_one", "3_learning_rate_5e-2_weighting_calibrated", "4_learning_rate_5e-2_weighting_one"]
count = 0


def sweep(directory, *more, ranks=0, code=0):
    global count
    count += 1
    result = rluf(*grid, f"--run.directory={directory}", *more, ranks=ranks)
    check(result.returncode == code, f"{directory.name} {more}: exit code {result.returncode}\n{result.stderr[-1500:]}")
    return result.stderr


def table(directory, name="sweep"):
    return json.loads((directory / f"tables/{name}.json").read_text())


# One job.
one = work / "one"
sweep(one, ranks=2)
whole = table(one)
check([row["name"] for row in whole["policies"]] == [f"{name}/policy_w{w}" for name in names for w in ("0.0", "0.3")], "the policies")
check(whole["policies"][4]["values"] == {"policy.learning_rate": "5e-2", "policy.weighting": "calibrated"}, "the values of a row")
check(whole["recommended"] in ["reference", *(row["name"] for row in whole["policies"])], "what is recommended")
for row, name in zip(whole["policies"][::2], names):
    validation = table(one / row["directory"], "validation")
    against = next(r for r in validation["differences"] if (r["name"], r["to"]) == ("policy_w0.0", "reference"))
    check(row["helpfulness"]["value"] == against["helpfulness_reward"]["value"], f"{name}: helpfulness is that of its validation")
    check("policy" in (one / row["directory"] / "used.ini").read_text(), f"{name}: used.ini")
page = (one / "report.html").read_text()
check('id="sweep"' in page and all(name in page for name in names), "the report shows the sweep")
check(len({(one / f"sweep/{name}/models/policy_w0.3/model.safetensors").read_bytes() for name in names}) == 4, "settings make other policies")
links = [path for path in (one / f"sweep/{names[0]}").rglob("*") if path.is_symlink()]
check({"world", "love.h5", "prompts.h5", "reference", "love", "helpfulness", "safety"} <= {path.name for path in links}, f"links: {links}")
check(all(not pathlib.Path(path.readlink()).is_absolute() for path in links), "links would not move with the folder")

# An array of jobs: the shared stages, the points each alone, the table.
array = work / "array"
check_error(rluf(*grid, f"--run.directory={array}", "--sweep.points=2"), 2, ["simulate", "--sweep.points=none"], "a point before the shared stages")
sweep(array, "--sweep.points=none")
check(not (array / "tables/sweep.json").exists() and not (array / "sweep").exists(), "none makes no point")
for number in (2, 4, 1, 3):
    log = sweep(array, f"--sweep.points={number}")
    check(names[number - 1] in log and not any(name in log for i, name in enumerate(names) if i != number - 1), f"point {number} alone")
log = sweep(array, ranks=2)
check(log.count("policy: done before, skipped") == 4, "the last job trains nothing again")
check(table(array) == whole, "the array's table is the one job's")

# Stopped in the middle and started again: the moved folder too.
moved = work / "moved"
shutil.rmtree(one / f"sweep/{names[2]}")
(one / "tables/sweep.json").unlink()
one.rename(moved)
log = sweep(moved)
check(log.count("policy: done before, skipped") == 3, f"three points were there\n{log[-2500:]}")
check(table(moved) == whole, "the table after a restart")

# Halving: two rungs, half of four policies goes on.
half = work / "half"
log = sweep(half, "--sweep.vary=policy.learning_rate: 1e-3 5e-2", "--sweep.method=halving", "--sweep.first_rounds=1")
result = table(half)
check(result["rungs"][0]["rounds"] == 1 and result["rungs"][0]["policies"] == 4 and len(result["rungs"][0]["go_on"]) == 2, f"rungs: {result['rungs']}")
check([row["name"] for row in result["policies"]] == sorted(result["rungs"][0]["go_on"]), "those that went on are compared")
first = [table(half / f"sweep/rounds_1/{name}", "validation") for name in ("1_learning_rate_1e-3", "2_learning_rate_5e-2")]
lift = {f"{name}/{row['name']}": row["love_rate_lift"]["value"] for name, validation in zip(("1_learning_rate_1e-3", "2_learning_rate_5e-2"), first)
        for row in validation["ab"]["comparisons"] if row["to"] == "reference"}
check(len(lift) == 4 and {row["rounds"] for row in result["policies"]} == {2}, f"lifts: {lift}")
rounds = re.findall(r"sweep: point (\S+) of 2, (\d+) rounds, love weights (.*)", log)
check([r[:2] for r in rounds][:2] == [("1_learning_rate_1e-3", "1"), ("2_learning_rate_5e-2", "1")] and all(r[1] == "2" for r in rounds[2:]), f"{rounds}")

# Settings of earlier stages: those are done in each point then.
seeds = work / "seeds"
sweep(seeds, "--sweep.vary=run.seed: 1 2", "--policy.love_weights=0.3")
check((seeds / "sweep/2_seed_2/world/interactions.jsonl.gz").exists() and not (seeds / "data/love.h5").exists(), "a point with its own data")
check((seeds / "sweep/1_seed_1/models/policy_w0.3/model.safetensors").exists(), "its policy")

# Settings by name: options that go together; a setting of an earlier stage has that stage to itself, the others share it.
named = work / "named"
log = sweep(named, "--sweep.vary=", "--sweep.settings=plain: ; judged: policy.judges=length,closing policy.closing_phrases=bye, see you; ensemble: love.heads=2 love.heads_score=lower",
            "--policy.love_weights=0.3", ranks=2)
result = table(named)
check([(row["point"], row["setting"]) for row in result["policies"]] == [("1_plain", "plain"), ("2_judged", "judged"), ("3_ensemble", "ensemble")], f"{result['policies']}")
check(result["policies"][1]["values"] == {"policy.judges": "length,closing", "policy.closing_phrases": "bye, see you"}, "a value with spaces")
check((named / "sweep/2_judged/models/love").is_symlink() and not (named / "sweep/3_ensemble/models/love").is_symlink()
      and (named / "sweep/3_ensemble/models/reference").is_symlink(), "only the ensemble has a love model of its own")
for row in result["policies"]:
    arm = next(arm for arm in table(named / row["directory"], "validation")["arms"] if arm["name"] == "policy_w0.3")
    check(row["held_out"]["true_helpfulness"] == arm["true_helpfulness"] and row["held_out"]["closing_rate"] == arm["closing_rate"], f"{row['point']}: its figures")
check(result["reference"]["true_love_rate"]["low"] <= result["reference"]["true_love_rate"]["value"], "the reference's figures")
page = (named / "report.html").read_text()
check("What each setting did" in page and all(f"<td>{name}</td>" in page for name in ("plain", "judged", "ensemble")), "the report's table of settings")

# An alarm that stops a policy puts its point out, not the sweep, and for good.
alarm = work / "alarm"
wild = ["--sweep.vary=policy.learning_rate: 1e-6 1", "--policy.love_weights=0.3", "--policy.rounds=4", "--policy.prompts_per_round=8",
        "--policy.max_new_tokens=24", "--policy.kl_max=1000", "--policy.judges=length", "--alarms.action=stop", "--alarms.every_rounds=1",
        "--alarms.false_alarm_rate=0.5", "--alarms.mantra_share=0"]
for start in range(2):
    log = sweep(alarm, *wild)
    check("point 2_learning_rate_1 is out: " in log, f"start {start}: the alarm is told\n{log[-2000:]}")
    check(("alarm: policy_w0.3 round" in log) == (start == 0), f"start {start}: a point that was stopped is not trained again")
    result = table(alarm)
    stopped = result["stopped_by_alarms"]
    check([(row["point"], row["alarms"][0]["round"] >= 1) for row in stopped] == [("2_learning_rate_1", True)] and [row["point"] for row in result["policies"]] == ["1_learning_rate_1e-6"], f"{result}")

bad = work / "bad"
for settings, parts in (([f"--sweep.vary=policy.kl_mx: 2"], ["policy.kl_mx", "kl_max"]), (["--sweep.vary=policy.kl_max 2"], ["colon"]),
                        (["--sweep.vary=validate.max_prompts: 2 3"], ["validate.max_prompts", "do not depend"]),
                        (["--sweep.vary=run.directory: a b"], ["run.directory"]), (["--sweep.vary=policy.kl_max: 2 -1"], ["policy.kl_max"]),
                        (["--sweep.points=9"], ["sweep.points = 9", "4 points"]), (["--sweep.points=some"], ["sweep.points"]),
                        (["--sweep.settings=a: policy.kl_max"], ["sweep.settings", "policy.kl_max"]), (["--sweep.settings=a: ; a: "], ["a stands there twice"]),
                        (["--sweep.settings=a: policy.weighting=one"], ["policy.weighting", "setting a"]),
                        (["--sweep.settings=a: validate.max_prompts=2"], ["validate.max_prompts", "do not depend"]),
                        (["--sweep.method=halving", "--sweep.vary=", "--sweep.settings=a: policy.rounds=2"], ["policy.rounds"]),
                        (["--sweep.method=halving", "--sweep.points=1"], ["halving"]),
                        (["--sweep.method=halving", "--sweep.first_rounds=9"], ["first_rounds"]),
                        (["--sweep.method=halving", "--sweep.vary=policy.rounds: 1 2"], ["policy.rounds"]), (["--restart=latest"], ["run.restart"])):
    for flags in ([], ["--validate"]):
        count += 1
        check_error(rluf(*grid, f"--run.directory={bad}", *settings, *flags), 2, parts, f"{settings} {flags}")
check(not bad.exists(), "a sweep that cannot work has made its folder")
shutil.rmtree(work)
finish(count)
