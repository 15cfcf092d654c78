"""What `rluf plan` prints: every figure follows from the printed formulas and numbers, and only from those; the heads of
the job scripts are what it prints; what does not fit says so."""
import math
import os
import pathlib
import re
import sys

source = pathlib.Path(os.environ.get("RLUF_SOURCE", pathlib.Path(__file__).parents[2]))
sys.path.insert(0, str(source / "tests/pipeline"))
from program import check, check_error, finish, rluf, tiny  # noqa: E402

functions = {"ceil": math.ceil, "floor": math.floor, "max": max, "min": min}
token = re.compile(r"\s*(?:(\d[\d,]*\d|\d)((?:\.\d+)?(?:e-?\d+)?)|([A-Za-z_]\w*)|([-+*/(),]))")


def value_of(formula, symbols):
    """Evaluates a printed formula; symbols side by side are multiplied, 'x' is the sign of multiplication."""
    text, python, operand = formula.replace(" x ", " * "), "", False
    # 8,192 is one number, max(8, 192) has two: a separator has no space after it.
    place = 0
    while place < len(text.rstrip()):
        found = token.match(text, place)
        assert found, f"cannot read '{text[place:]}' of '{formula}'"
        whole, rest, name, sign = found.groups()
        place = found.end()
        is_call = name in functions and text[place:place + 1] == "("
        if operand and (whole or name or sign == "("):
            python += "*"
        if whole:
            python += whole.replace(",", "") + rest
        elif name:
            python += name if is_call else f"symbols['{name}']"
        else:
            python += sign
        operand = not is_call and (bool(whole) or bool(name) or sign == ")")
    return eval(python, {**functions, "symbols": symbols})  # noqa: S307, a formula of our own program


def close(a, b):
    return abs(a - b) <= 2e-4 * max(abs(a), abs(b)) + 1e-12


def check_figures(text, what):
    """Each line 'what: symbol = formula = numbers = value unit' against a calculator. Returns how many there are."""
    models, symbols, count, model = {}, {}, 0, None
    for line in text.splitlines():
        if line.startswith("## "):
            model = line[len("## Model "):] if line.startswith("## Model ") else None
            phase = re.search(r"\((.*)\)$", line)
            if phase:
                check(phase[1] in models, f"{what}: the shape of {phase[1]} is printed before")
                symbols.update(models.get(phase[1], {}))
            continue
        found = re.match(r"^  .*: ([A-Za-z_][\w.]*) = (.*)$", line)
        if not found or line.startswith("  Each line is"):
            continue
        symbol, parts = found[1], found[2].split(" = ")
        value = float(parts[-1].split(" ")[0].replace(",", ""))
        for formula in parts[:-1]:
            try:
                calculated = value_of(formula, symbols)
                check(close(calculated, value), f"{what}: {line}\n  is {calculated} by '{formula}'")
            except (AssertionError, KeyError, SyntaxError, TypeError) as error:
                check(False, f"{what}: {line}\n  cannot be calculated from what stands above: {error!r}")
            count += 1
        symbols[symbol] = value
        if model:
            models.setdefault(model, {})[symbol] = value
    return count


check(value_of("max(8,192, 2 x 3) / (1 + 1)", {}) == 4096, "the calculator reads separators")
check(value_of("2 t (a + 1.5e-3) / n x B", {"t": 3, "a": 1, "n": 2, "B": 4}) == 2 * 3 * 1.0015 / 2 * 4, "and products")
count = 2
for path in sorted((source / "inputs").glob("*.ini")):
    if "[plan]" not in path.read_text():
        continue
    result = rluf("plan", path)
    check(result.returncode == 0, f"plan of {path.name}\n{result.stderr}")
    lines = check_figures(result.stdout, path.name)
    check(lines > 100, f"{path.name}: only {lines} formulas were found")
    count += lines
seventy, eight, lora = (source / f"inputs/{name}.ini" for name in ("rluf_70b_256gpu", "rluf_8b_8gpu", "lora_8b_1gpu"))
others = ["--policy.witnesses=models/a,models/b", "--plan.witness_model=llama-3.2-1b", "--policy.judges=facts,style",
          "--judge.facts.kind=model", "--judge.facts.model=models/c", "--judge.style.kind=score", "--judge.style.model=models/d", "--plan.judge_model=llama-3.2-1b", "--love.heads=4"]
for options in (["--plan.placement=groups"], ["--plan.placement=host"], ["--plan.device=h200"], ["--run.reproducible=true"],
                ["--model.compute=f32", "--plan.device=h200"], ["--policy.trainable_layers=4"],
                ["--policy.optimizer=codpo", "--policy.warm_up_steps=100", "--plan.helpfulness_pairs=10000"],
                ["--policy.optimizer=grpo", "--policy.weights_apply_to=gradients"], ["--policy.optimizer=best_of_n"],
                ["--policy.lora_rank=32", "--love.lora_rank=8", "--safety.lora_rank=16", "--safety.trainable_layers=20"],
                ["--policy.lora_rank=32", "--policy.optimizer=best_of_n", "--plan.placement=host"], others,
                ["--policy.task_settings=math: prompts=64 num_samples=8; *: prompts=64"],
                ["--policy.task_settings=math: num_samples=8"]):
    result = rluf("plan", seventy, *options)
    check(result.returncode == 0, f"plan with {options}\n{result.stderr}")
    count += check_figures(result.stdout, " ".join(options))
shapes = rluf("plan", "--plan.ranks=4", "--plan.device=cpu-core", "--plan.ranks_per_node=2", "--plan.model=smollm2-135m", "--plan.love_examples=1000",
              "--plan.held_out_prompts=100", "--plan.sft_examples=100", "--plan.helpfulness_pairs=100", "--plan.safety_pairs=100")
check(shapes.returncode == 0, f"a small model on cores\n{shapes.stderr}")
count += check_figures(shapes.stdout, "cores")

def check_walk(name, walked):
    """Every rank goes through a step of each stage without a call that nobody meets, and holds what the plan says."""
    check(walked.returncode == 0 and "collectives of all ranks meet in order and size" in walked.stdout, f"dry run of {name}\n{walked.stdout}{walked.stderr}")
    stages = re.findall(r"^  (\w+) +([\d.]+) to +([\d.]+) \(rank \d+\) +([\d.]+) ", walked.stdout, re.M)
    check(len(stages) >= 1, f"{name}: stages of the dry run\n{walked.stdout}")
    for stage, fewest, most, planned in stages:
        check(abs(float(most) / float(planned) - 1) < 0.1, f"{name}: {stage} holds {most} GB, planned are {planned}")
    return 2 + len(stages)


# The grids of the inputs are what the search finds.
for path in sorted((source / "inputs").glob("*.ini")):
    if "[plan]" not in path.read_text():
        continue
    found, given = rluf("plan", path, "--header"), rluf("plan", path, "--header", "--plan.search=false")
    check(found.stdout.splitlines()[1:] == given.stdout.splitlines()[1:], f"{path.name}: [parallel] is not the fastest grid that fits\n{found.stdout}{given.stdout}{given.stderr}")
    count += 1 + check_walk(path.name, rluf("run", path, "--dry-run"))
for recompute in ("none", "selective", "layers"):
    options = others + ["--love.lora_rank=16", "--safety.lora_rank=8", "--safety.trainable_layers=9", "--policy.lora_rank=16",
                        f"--parallel.recompute={recompute}", "--love.micro_batch_tokens=4096", "--safety.micro_batch_tokens=4096"]
    count += check_walk(f"adapters, witnesses and judges, recompute {recompute}", rluf("run", eight, "--dry-run", *options))
check_error(rluf("run", seventy, "--dry-run", "--parallel.shard=3"), 2, ["3", "divide"], "a grid that is none")
check_error(rluf("dataset", seventy, "--dry-run"), 2, ["--dry-run goes with run only"], "--dry-run of another command")
count += 2

# The arithmetic of the job scripts is the plan's.
scripts = 0
for script in sorted((source / "jobs").glob("*/*")):
    block = re.search(r"^# -- rluf plan (.*) --header\n(?:#.*\n)*?# --\n", script.read_text(), re.M)
    if not block:
        continue
    scripts += 1
    printed = rluf("plan", block[1], "--header", cwd=source).stdout
    check(printed == block[0], f"{script.name}: its head is not what `rluf plan {block[1]} --header` prints:\n{printed}")
check(scripts == 8, f"{scripts} job scripts have a head of the plan, not 8")
count += scripts

# What does not fit, and what makes no sense.
reward = ["--love.base=models/Llama-3.1-8B-Instruct", "--plan.love_model=llama-3-8b"]
check(rluf("plan", lora, *reward, "--plan.stages=love").returncode == 0, "a reward model of 8B weights with adapters fits alone")
check_error(rluf("plan", lora, *reward), 2, ["stage policy needs", "GB more than the"], "but not beside the policy")
check_error(rluf("plan", seventy, "--plan.ranks=16"), 2, ["GB more than the", "no layout fits", "raise plan.ranks"], "too small")
check_error(rluf("plan", seventy, "--plan.search=false", "--parallel.shard=1", "--parallel.tensor=1"), 2, ["GB more than the", "the layout is data 256"], "no grid given")
check_error(rluf("plan", "--plan.love_examples=10"), 2, ["has no shape", "plan.model"], "no shape")
check_error(rluf("plan", "--plan.model=llama-3-9b", "--plan.love_examples=10"), 2, ["did you mean llama-3-8b?"], "unknown shape")
check_error(rluf("plan", seventy, "--plan.device=h1000"), 2, ["plan.device"], "unknown device")
check_error(rluf("plan", seventy, "--plan.stages=love,polcy"), 2, ["did you mean policy?"], "unknown stage")
check_error(rluf("plan", seventy, "--plan.stages=sft"), 2, ["nothing is planned"], "nothing to plan")
check_error(rluf("run", tiny, "--header"), 2, ["--header"], "--header of another command")
finish(count + 10)
