"""rluf plan-ab: the printed formula calculated again, a log's figures by hand, and what cannot be planned."""
import json
import math
import os
import pathlib
import random
import re
import tempfile

from program import check, check_error, finish, rluf

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_plan_ab_"))


def near(a, b, what, relative=1e-6):
    check(abs(a - b) <= relative * abs(b), f"{what}: {a}, not {b}")


def planned(*arguments, **more):
    result = rluf("plan-ab", *arguments, f"--plan_ab.output={work}/plan.json", **more)
    check(result.returncode == 0, f"plan-ab {arguments}\n{result.stderr}")
    return result.stdout, json.load(open(work / "plan.json"))


def recalculated(text):
    """Every line 'x = expression = value' of the printed formula, with the powers of a calculator."""
    lines = re.findall(r"^  (v\(rate\)|n) = (.*) = ([-+.e\d]+)$", text, re.M)
    check([name for name, _, _ in lines] == ["v(rate)", "n"], f"the formula with its numbers\n{text}")
    for name, expression, value in lines:
        # users are whole numbers in every arm
        near(float(value), eval(expression.replace("^", "**")), name, 1e-6 if name != "n" else 1e-4)


# by options
options = ["--plan_ab.rate=0.0072", "--plan_ab.responses_per_user=5", "--plan_ab.design_effect=1.4", "--plan_ab.arms=3",
           "--plan_ab.control_share=0.5", "--plan_ab.users_per_day=20000", "--plan_ab.traffic_share=0.5",
           "--plan_ab.cuped_correlation=0.3", "--plan_ab.lift=0.05"]
text, table = planned(*options)
recalculated(text)
effect = table["effect"]
check(effect["total"] == 2 * effect["treatment"] + effect["control"], "arms add up")
check(abs(effect["control"] - 2 * effect["treatment"]) <= 2, "the control has half of the users")
check(effect["days"] == math.ceil(effect["total"] / 10000), "days of half of the traffic")
check(len(table["effects"]) == 6 and len(table["durations"]) == 4, "tables over effects and days")
check("+9.73%" in text, "the paper's effect is a row")
lifts = [row["lift"] for row in table["durations"]]
check(lifts == sorted(lifts, reverse=True), "longer tests see less")

# the published rate and effect: 228,000 independent responses an arm
text, table = planned("--plan_ab.rate=0.001", "--plan_ab.lift=0.28")
recalculated(text)
near(table["effect"]["treatment"], 228000, "users of the paper's effect", 0.005)
check(table["effect"]["days"] is None and "plan_ab.users_per_day would tell" in text, "no traffic, no days")

# from a log: rate, responses a user, design effect by the delta method, users a day
random.seed(3)
rows = []
for user in range(400):
    taste = random.choice([0.02, 0.3])
    for _ in range(random.randint(1, 9)):
        rows.append({"user_id": f"u{user}", "timestamp": random.randint(0, 20 * 86400), "signals": {"love": int(random.random() < taste)}})
rows[0]["timestamp"], rows[1]["timestamp"] = 0, 20 * 86400
for row in rows[2:30]:
    row["signals"] = {"love": None} if random.random() < 0.5 else {}
log = work / "log.jsonl"
log.write_text("".join(json.dumps(row) + "\n" for row in rows))
text, table = planned(f"--data.interactions={log}")
recalculated(text)
used = rows[:2] + rows[30:]
users = {}
for row in used:
    counts = users.setdefault(row["user_id"], [0, 0])
    counts[0] += row["signals"]["love"]
    counts[1] += 1
n, hearts = len(users), sum(a for a, _ in users.values())
rate = hearts / len(used)
variance = sum((a - rate * b) ** 2 for a, b in users.values()) / (n - 1) / (n * (len(used) / n) ** 2)
near(table["rate"], rate, "rate of the log")
near(table["responses_per_user"], len(used) / n, "responses a user of the log")
near(table["design_effect"], variance / (rate * (1 - rate) / len(used)), "design effect of the log")
near(table["users_per_day"], n / 20, "users a day of the log")
check(table["design_effect"] > 1.2, "users differ in taste")
check(table["log"]["half_correlation"] > 0.1, "and keep it")
check(table["log"]["rows"] == len(rows) and table["log"]["without_signal"] == 28, "every row is accounted for")
check("(28 without the signal)" in text, "and said")
_, other = planned(f"--data.interactions={log}", "--plan_ab.rate=0.5", "--plan_ab.users_per_day=7")
check(other["rate"] == 0.5 and other["users_per_day"] == 7 and other["design_effect"] == table["design_effect"], "options go before the log")

# works where MPI does not
_, again = planned(f"--data.interactions={log}", env={**os.environ, "OMPI_MCA_ess": "none", "OMPI_MCA_btl": "none"})
check(again == table, "without MPI")

text, table = planned("--plan_ab.rate=0.6", "--plan_ab.lift=0.8")
check("+80 % is no effect that a rate of 0.6 can have" in text, f"impossible effects are said\n{text}")

log.write_text('{"user_id": "a", "timestamp": 1, "signals": {"love": 0}}\n{"user_id": "b", "timestamp": 2, "signals": {"love": 0}}\n')
check_error(rluf("plan-ab"), 2, ["plan_ab.rate is not given"], "no rate")
check_error(rluf("plan-ab", "--plan_ab.rate=2"), 2, ["plan_ab.rate", "0.999999"], "a rate above 1")
check_error(rluf("plan-ab", f"--data.interactions={work}/none"), 2, ["none"], "a log that is not there")
check_error(rluf("plan-ab", f"--data.interactions={log}"), 3, ["0 of 2 responses of 2 users have signals.love"], "no hearts")
log.write_text('{"user_id": "a", "timestamp": 1, "signals": {"love": 3}}\n')
check_error(rluf("plan-ab", f"--data.interactions={log}"), 3, [":1: signals.love is 3"], "a signal that is none")
check_error(rluf("plan-ab", f"--data.interactions={log}", "--data.signal=auto"), 2, ["data.signal = auto"], "auto")
check_error(rluf("plan-ab", "log.jsonl"), 2, ["log.jsonl"], "an operand")
finish(20)
