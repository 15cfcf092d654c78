"""Every policy.optimizer in a whole policy stage after a warm-up: the same bits on 1 and 2 ranks, and on from a checkpoint in
the middle; what contradicts itself is refused."""
import json
import pathlib
import shutil
import tempfile

from program import check, check_error, finish, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_optimizers_"))
data = work / "data"
for command in ("simulate", "dataset", "sft", "reward"):
    result = rluf(command, tiny, f"--run.directory={data}")
    check(result.returncode == 0, f"{command}\n{result.stderr[-1500:]}")


def made(folder):
    """Models, metrics but times and memory, and what was kept of the rounds."""
    policies = json.loads((folder / "tables/policy.json").read_text())
    for policy in policies["policies"]:
        for row in policy["rounds"]:
            for name in [name for name in row if name.endswith("_seconds")]:
                del row[name]
    policies.get("warm_up", {}).get("final", {}).pop("tokens_per_second", None)
    models = {path.name: (path / "model.safetensors").read_bytes()
              for path in (folder / "models").iterdir() if path.name.startswith(("policy", "warm_up"))}
    return policies, models


def policy(ranks, *options, keep=None):
    """`keep`: of an earlier run's folder, which is taken up at the given checkpoint of each part."""
    folder = work / "run"  # always the same: paths are part of what a run is
    shutil.rmtree(folder, ignore_errors=True)
    source, first = keep or (data, {})
    shutil.copytree(source, folder)
    for part, last in first.items():
        for path in (folder / "checkpoints" / part).glob("step_*.h5"):
            if int(path.stem[5:]) > last:
                path.unlink()
    if keep:
        (folder / "stages/policy.json").unlink()
    result = rluf("policy", tiny, f"--run.directory={folder}", "--policy.love_weights=0.3", "--policy.rounds=4",
                  "--policy.checkpoint_every_rounds=1", "--run.keep_every=1", "--policy.warm_up_steps=3",
                  "--policy.warm_up_batch=4", "--policy.warm_up_learning_rate=1e-3", *options, ranks=ranks)
    check(result.returncode == 0, f"policy {options} on {ranks} ranks\n{result.stderr[-1500:]}")
    return folder, result.stderr


cases = 0
results = {}
for options in (["crraft"], ["raft"], ["crpg"], ["codpo"], ["best_of_n"], ["online_dpo"], ["rloo", "--policy.steps_per_round=2"],
                ["grpo", "--policy.weights_apply_to=gradients"]):
    options = [f"--policy.optimizer={options[0]}", *options[1:]]
    what = options[0]
    folder, _ = policy(0, *options)
    straight = work / "straight"
    shutil.rmtree(straight, ignore_errors=True)
    folder.rename(straight)
    wanted = made(straight)
    results[what] = wanted[1]["policy_w0.3"]
    table = wanted[0]
    check(f"--policy.optimizer={table['optimizer']}" == what, f"{what}: the table names {table['optimizer']}")
    check(table["warm_up"]["steps"] == 3 and table["warm_up"]["held_out_pairs"] > 0, f"{what}: {table.get('warm_up')}")
    check(sum(row["trained_responses"] for row in table["policies"][0]["rounds"]) > 0, f"{what}: nothing was trained")
    check(wanted[1]["warm_up"] != wanted[1]["policy_w0.3"], f"{what}: the rounds changed nothing")
    folder, _ = policy(2, *options)
    check(made(folder) == wanted, f"{what}: 2 ranks are not as 1")
    folder, log = policy(2, *options, keep=(straight, {"policy_w0.3": 2}))
    check("policy_w0.3: continuing from the checkpoint at round 2" in log, f"{what}: goes on in the middle\n{log[-1500:]}")
    check(made(folder) == wanted, f"{what}: a restart in the middle of the rounds shows")
    cases += 9
folder, log = policy(0, *options, keep=(straight, {"policy_warm_up": 2, "policy_w0.3": -1}))
check("policy_warm_up: continuing from the checkpoint at step 2" in log, f"the warm-up goes on in the middle\n{log[-1500:]}")
check(made(folder) == wanted, "a restart in the middle of the warm-up shows")
distinct = len(set(results.values()))
check(distinct == len(results), f"only {distinct} of {len(results)} optimizers differ")
reference = (data / "models/reference/model.safetensors").read_bytes()
check(wanted[1]["warm_up"] != reference, "the warm-up has learnt")

for options, parts in ((["--policy.optimizer=ppo"], ["policy.optimizer", "ppo"]),
                       (["--policy.optimizer=rloo", "--policy.num_samples=1"], ["policy.num_samples", "at least 2"]),
                       (["--policy.optimizer=crpg", "--policy.kl_max=0"], ["policy.kl_max", "positive"]),
                       (["--policy.optimizer=crpg", "--policy.steps_per_round=2"], ["steps_per_round"]),
                       (["--policy.optimizer=raft", "--policy.weighting=one"], ["policy.weighting"])):
    check_error(rluf("policy", tiny, f"--run.directory={data}", *options), 2, parts, " ".join(options))
shutil.rmtree(work)
finish(cases + 14)
