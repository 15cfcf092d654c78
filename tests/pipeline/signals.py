"""From the comparison of signals to what is learned: data.signal = auto and data.reactors, alone and in a whole run."""
import gzip
import json
import math
import pathlib
import random
import shutil
import tempfile

from program import check, check_error, finish, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_signals_"))
made = rluf("simulate", tiny, "--simulate.users=400", f"--run.directory={work}/sim")
check(made.returncode == 0, "simulate\n" + made.stderr[-800:])
world = work / "sim/world"
random.seed(4)
warmth = {}
rows = [json.loads(line) for line in gzip.open(world / "interactions.jsonl.gz", "rt")]
first = rows[0]["user_id"]
for row in rows:  # users who give hearts stay, and one user gives them to everything
    mood = warmth.setdefault(row["user_id"], random.choice([-2, 2]))
    heart = int(row["user_id"] == first or random.random() < (0.15 if mood > 0 else 0.002))
    row["signals"] |= {"heart": heart, "thumbs_down": int(random.random() < (0.01 if heart else 0.2))}
    row["retained_14d"] = int(random.random() < 1 / (1 + math.exp(-mood)))
log = work / "log.jsonl"
log.write_text("".join(json.dumps(row) + "\n" for row in rows))
inputs = [f"--data.{name}={world}/{name}.jsonl.gz" for name in ("helpfulness_pairs", "safety_pairs", "prompts", "sft")]
common = [tiny, "--run.simulate=false", f"--model.base={world}/base", f"--data.interactions={log}", "--signals.effect=0.2"]


def love(folder):
    return json.loads((folder / "tables/dataset.json").read_text())["love"]


# One stage after the other.
alone = work / "alone"
automatic = [*common, "--data.signal=auto", f"--run.directory={alone}"]
check_error(rluf("dataset", *automatic), 2, ["data/signals.json is missing", "rluf signals"], "auto before the comparison")
check_error(rluf("dataset", *automatic, "--validate"), 2, ["data/signals.json is missing"], "auto before the comparison, looked at only")
compared = rluf("signals", *automatic, ranks=2)
check(compared.returncode == 0 and "recommended: heart" in compared.stderr, "heart is recommended\n" + compared.stderr[-2500:])
table = json.loads((alone / "tables/signals.json").read_text())
check(table["recommended"] == "heart" and table["read"] == len(rows) == table["used"] + table["duplicates"], f"the table: {table['reason']}")
check(rluf("dataset", *automatic).returncode == 0 and love(alone)["signal"] == "heart", "dataset learns from heart")
whole = love(alone)
check(whole["dropped_reactions"] == 0, "all are kept at first")

# Users beyond chance.
left = {}
for mode in ("cap", "drop"):
    for ranks in (1, 2, 3):
        folder = work / f"{mode}{ranks}"
        shutil.copytree(alone, folder)
        result = rluf("dataset", *automatic, f"--data.reactors={mode}", f"--run.directory={folder}", ranks=ranks)
        check(result.returncode == 0, f"{mode} on {ranks} ranks\n{result.stderr[-800:]}")
        left[mode] = love(folder)
        check(left[mode] == love(work / f"{mode}1"), f"{mode} on {ranks} ranks: the table of one rank")
        one = left[mode]
        check(one["read"] + one["repeated_positives"] == one["train"] + one["holdout"] + one["duplicates"] + one["dropped_negatives"]
              + one["dropped_reactions"], f"{mode}: the table adds up: {one}")
hearts = sum(row["signals"]["heart"] for row in rows if row["user_id"] == first)
check(0 < left["cap"]["dropped_reactions"] < left["drop"]["dropped_reactions"], f"cap leaves out fewer than drop: {left}")
check(left["drop"]["dropped_reactions"] >= hearts * 0.9, "the planted user's hearts are gone")
check_error(rluf("dataset", *common, "--data.signal=love", "--data.reactors=drop", f"--run.directory={work}/none"), 2,
            ["data/signals.json is missing"], "reactors before the comparison")

# A signal that nothing speaks for.
flat = work / "flat.jsonl"
flat.write_text("".join(json.dumps(row | {"signals": {"noise": random.randrange(2), "thumbs_down": random.randrange(2)}}) + "\n" for row in rows))
poor = [*common, f"--data.interactions={flat}", "--data.signal=auto", f"--run.directory={work}/poor", "--signals.min_odds_ratio=50"]
none = rluf("signals", *poor, "--signals.min_user_share=1")
check(none.returncode == 0 and "none recommended" in none.stderr, "nothing is recommended\n" + none.stderr[-1500:])
check_error(rluf("dataset", *poor), 2, ["no signal is recommended", "data.signal"], "auto without a recommendation")
check_error(rluf("signals", *common, "--signals.enabled=false"), 2, ["signals.enabled"], "the comparison is switched off")
check_error(rluf("run", *common, *inputs, "--signals.enabled=false", "--data.signal=auto"), 2, ["data.signal = auto", "signals.enabled"], "auto of nothing")

# A whole run, started again, and with another recommendation.
folder = work / "run"
options = [*common, *inputs, "--data.signal=auto", "--data.candidates=", f"--run.directory={folder}"]
result = rluf("run", *options, ranks=2)
check(result.returncode == 0 and love(folder)["signal"] == "heart", "a run that chooses its signal\n" + result.stderr[-1500:])
again = rluf("run", *options)
check(again.returncode == 0 and again.stderr.count("skipped") >= 6, "a second start skips what is done\n" + again.stderr[-1500:])
chosen = json.loads((folder / "data/signals.json").read_text())
(folder / "data/signals.json").write_text(json.dumps(chosen | {"recommended": "copy"}))
check_error(rluf("run", *options), 2, ["dataset was done with other options", "recommended signal", "copy", "heart"], "another recommendation")
check(rluf("dataset", *options).returncode == 0 and love(folder)["signal"] == "copy", "the stage alone is done again, with the new label")
shutil.rmtree(work)
finish(30)
