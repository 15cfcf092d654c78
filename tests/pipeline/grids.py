"""The whole pipeline on grids of 2, 3 and 4 ranks: divided state changes no bit, divided matrices change the rounding."""
import csv
import pathlib
import re
import shutil
import tempfile

from program import check, check_error, finish, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_grids_"))
heads = ["--simulate.num_heads=4", "--simulate.num_kv_heads=4", "--simulate.hidden_size=32", "--love.also=copy, continue:regression"]
folders = ["models/reference", "models/love", "models/helpfulness", "models/safety", "models/policy_w0.0", "models/policy_w0.3"]


def losses(folder):
    return [(row["stage"], row["step"], float(row["value"])) for row in csv.DictReader(open(folder / "metrics.csv")) if row["name"] == "loss"]


def largest_difference(a, b):
    """Over all weights of all models, and over all losses relative to them."""
    weights = [0.0]
    for model in folders:
        result = rluf("compare", a / model, b / model)
        check(result.returncode in (0, 1), f"compare {model}\n{result.stdout[-300:]}{result.stderr[-500:]}")
        weights += [float(found) for found in re.findall(r"by (\S+) at most", result.stdout)]
    ones, others = losses(a), losses(b)
    check(len(ones) > 5 and [row[:2] for row in ones] == [row[:2] for row in others], "rows of losses")
    return max(weights), max(abs(x[2] - y[2]) / max(1e-9, abs(x[2])) for x, y in zip(ones, others))


def run(name, ranks, *settings):
    folder = work / name
    result = rluf("run", tiny, *heads, *settings, f"--run.directory={folder}", ranks=ranks)
    check(result.returncode == 0, f"{name}\n{result.stderr[-1500:]}")
    return folder


cases = 0
alone = run("alone", 1)
for ranks, shard, tensor, zero, recompute in ((2, 2, 1, 3, "layers"), (3, 3, 1, 2, "none"), (4, 2, 1, 3, "selective"),
                                              (2, 1, 2, 3, "none"), (4, 2, 2, 3, "layers"), (4, 1, 4, 3, "selective")):
    what = f"{ranks} ranks, shard {shard}, tensor {tensor}, zero {zero}, recompute {recompute}"
    folder = run("grid", ranks, f"--parallel.shard={shard}", f"--parallel.tensor={tensor}", f"--parallel.zero={zero}",
                 f"--parallel.recompute={recompute}",
                 *(["--parallel.gather_ahead=2", "--parallel.optimizer_memory=host"] if recompute == "selective" else []))
    weights, loss = largest_difference(alone, folder)
    if tensor == 1:
        check(weights == 0 and loss == 0, f"{what}: not the bits of one rank: weights differ by {weights}, losses by {loss}")
    else:
        check(weights < 1e-4 and loss < 1e-5, f"{what}: weights differ by {weights}, losses by {loss}")
    shutil.rmtree(folder)
    cases += 1

# The same with adapters in every model, divided or not.
adapters = [f"--{section}.lora_rank=4" for section in ("sft", "love", "helpfulness", "safety", "policy")]
one, grid = run("adapters", 1, *adapters), run("adapters of a grid", 2, *adapters, "--parallel.shard=2")
weights, loss = largest_difference(one, grid)
check(weights == 0 and loss == 0, f"adapters: not the bits of one rank: weights differ by {weights}, losses by {loss}")
check(all((one / model / "adapter/adapter_model.safetensors").read_bytes() == (grid / model / "adapter/adapter_model.safetensors").read_bytes()
          for model in folders), "adapters by themselves")
check(largest_difference(alone, one)[0] > 0, "adapters train something else")
cases += 1

# A checkpoint of one grid is continued on another.
steps = ["--sft.max_steps=8", "--sft.checkpoint_every_steps=1", "--run.keep_every=1"]
folder = work / "moving"
for command in ("simulate", "dataset"):
    check(rluf(command, tiny, *heads, f"--run.directory={folder}").returncode == 0, command)
shutil.copytree(folder, work / "straight")
check(rluf("sft", tiny, *heads, *steps, f"--run.directory={work}/straight").returncode == 0, "straight")
result = rluf("sft", tiny, *heads, *steps, "--parallel.shard=2", "--parallel.tensor=2", f"--run.directory={folder}", ranks=4)
check(result.returncode == 0, f"on 2 x 2\n{result.stderr[-800:]}")
for path in (folder / "checkpoints/sft").glob("step_*.h5"):
    if int(path.stem[5:]) > 3:
        path.unlink()
shutil.rmtree(folder / "models/reference")
(folder / "stages/sft.json").unlink(missing_ok=True)
result = rluf("sft", tiny, *heads, *steps, "--parallel.shard=3", f"--run.directory={folder}", ranks=3)
check(result.returncode == 0 and "continuing from the checkpoint at step 3" in result.stderr, f"continued on 3 x 1\n{result.stderr[-1200:]}")
result = rluf("compare", work / "straight/models/reference", folder / "models/reference")
differences = [float(found) for found in re.findall(r"by (\S+) at most", result.stdout)]
check(result.returncode in (0, 1) and all(found < 1e-4 for found in differences), f"moved between grids: {differences}")
cases += 2

check_error(rluf("sft", tiny, *heads, *steps, "--parallel.tensor=3", f"--run.directory={folder}", "--run.restart=none", ranks=3), 2,
            ["parallel.tensor = 3 does not divide the model's 4 heads"], "heads that do not divide")
check_error(rluf("sft", tiny, *heads, "--parallel.tensor=3", f"--run.directory={folder}", "--validate", ranks=3), 2,
            ["parallel.tensor = 3 does not divide the model's 4 heads"], "the same before anything is done")
check_error(rluf("sft", tiny, *heads, "--sft.lora_rank=4", "--sft.trainable_layers=0", f"--run.directory={folder}", "--validate"), 2,
            ["sft.lora_rank = 4 with sft.trainable_layers = 0"], "adapters without layers")
check_error(rluf("run", tiny, "--parallel.shard=3", f"--run.directory={work}/none", ranks=2), 2, ["does not divide 2 ranks"], "ranks that do not divide")
shutil.rmtree(work)
finish(cases + 4)
