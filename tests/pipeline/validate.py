"""--validate: checks what a command needs, names the first thing that is wrong, and makes nothing."""
import gzip
import json
import pathlib
import shutil
import tempfile

from program import check, check_error, finish, results_of, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_validate_"))
count = 0


def passes(command, *settings, parts=()):
    global count
    count += 1
    result = rluf(command, tiny, *settings, "--validate")
    what = f"{command} --validate {settings[-1:]}"
    check(result.returncode == 0, f"{what}: exit code {result.returncode}\n{result.stderr[-800:]}")
    for part in (*parts, f"everything that {command} needs is there"):
        check(part in result.stderr, f"{what} does not say '{part}'\n{result.stderr[-800:]}")


def fails(command, *settings, code, parts, ranks=0):
    global count
    count += 1
    check_error(rluf(command, tiny, *settings, "--validate", ranks=ranks), code, parts, f"{command} --validate {settings[-1]}")


# A simulated run needs nothing, and the check leaves nothing behind.
new = f"--run.directory={work}/new"
passes("run", new, parts=["writable"])
passes("simulate", new)
fails("simulate", new, "--simulate.num_heads=3", code=2, parts=["num_heads 3"])
fails("run", new, "--policy.max_new_tokens=96", code=2, parts=["policy.max_new_tokens"])
fails("run", new, f"--data.interactions={work}/none.jsonl", code=2, parts=["none.jsonl"])
fails("run", f"--run.directory={tiny}/run", code=2, parts=["run.directory", "no directory"])
check(not (work / "new").exists(), "--validate has made a run directory")

# A run on files.
check(rluf("simulate", tiny, f"--run.directory={work}/sim").returncode == 0, "simulate")
world = work / "sim/world"
names = ("interactions", "helpfulness_pairs", "safety_pairs", "prompts", "sft")
given = [new, "--run.simulate=false", f"--model.base={world}/base", *[f"--data.{name}={world}/{name}.jsonl.gz" for name in names],
         f"--data.candidates={world}/candidates", f"--data.online={world}/online.json"]
passes("run", *given, parts=["data.interactions", "first 20 rows have their fields", "data.candidates", "data.online", "model.base", "tensors"])
passes("dataset", *given)
rows = [json.loads(line) for line in gzip.open(world / "interactions.jsonl.gz", "rt")][:30]


def log(name, change):
    change(rows_copy := json.loads(json.dumps(rows)))
    (work / name).write_text("".join(json.dumps(row) + "\n" for row in rows_copy))
    return f"--data.interactions={work / name}"


broken = work / "broken"
shutil.copytree(world / "base", broken)
(broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:5000])
small = work / "small.json"
small.write_text('{"a": 1}')
for ranks in (0, 2):
    fails("run", *given, log("a", lambda r: r[7].pop("response")), code=3, parts=["a:8", "response"], ranks=ranks)
    fails("run", *given, f"--model.base={broken}", code=2, parts=["broken/model.safetensors"], ranks=ranks)
fails("run", *given, log("b", lambda r: r[3]["signals"].pop("love")), code=3, parts=["b:4", "love"])
fails("dataset", *given, "--data.max_tokens=100000", code=2, parts=["data.max_tokens", "512"])
fails("run", *given, f"--data.candidates={work}/none", code=2, parts=["none does not exist"])
fails("run", *given, f"--data.online={small}", code=3, parts=["small.json", "love_rate"])
fails("run", *given, f"--evaluate.love_model={world}/nothing", code=2, parts=["nothing", "config.json"])
fails("run", *given, "--data.prompts=", code=2, parts=["data.prompts"])
fails("run", *given, "--reward.objective=love", code=2, parts=["helpfulness model", "reward.objective"])
check(not (work / "new").exists(), "--validate has made a run directory")

# Stages one by one need what earlier ones make.
for command, part in (("sft", "data/sft.h5"), ("reward", "data/love.h5"), ("evaluate", "models/love"), ("policy", "data/prompts.h5"),
                      ("validate", "models/reference"), ("report", "tables/run.json")):
    fails(command, *given, code=2, parts=[part, "is missing"])
run = [*given, f"--run.directory={work}/run"]
check(rluf("dataset", tiny, *run).returncode == 0, "dataset")
before = results_of(work / "run")
passes("sft", *run, parts=["sft.h5"])
passes("reward", *run, parts=["love.h5"])
(work / "run/data/love.h5").write_bytes(b"no HDF5")
fails("reward", *run, code=3, parts=["love.h5"])
(work / "run/data/love.h5").write_bytes(before[pathlib.Path("data/love.h5")])
check(before == results_of(work / "run"), "--validate has changed the run")
fails("score", f"{world}/base", tiny, code=2, parts=["--validate does not go with score"])
shutil.rmtree(work)
finish(count)
