"""Bad models, data sets and checkpoints: one clear error on all ranks, the right exit code, no hang, nothing lost."""
import gzip
import json
import pathlib
import shutil
import struct
import tempfile

from program import check, check_error, finish, results_of, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_model_"))
made = rluf("simulate", tiny, f"--run.directory={work}/sim")
if made.returncode != 0:
    raise SystemExit("simulate failed:\n" + made.stderr)
world, base = work / "sim/world", work / "sim/world/base"
WEIGHTS = "model.safetensors"


def model(name, change):
    folder = work / name
    shutil.copytree(base, folder)
    change(folder)
    return f"--model.base={folder}"


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def header_of(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + length]), data[8 + length:]


def with_header(path, change):
    """Weights whose header is changed."""
    header, data = header_of(path)
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def sharded(folder):
    """An index that names two shards, one of which is missing."""
    header, _ = header_of(folder / WEIGHTS)
    names = [name for name in header if name != "__metadata__"]
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    shards = {name: f"model-0000{1 + (i == 0)}-of-00002.safetensors" for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def nan_weights(folder):
    """Every weight is not a number."""
    header, data = header_of(folder / WEIGHTS)
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<I", 0x7FC00000) * (len(data) // 4))


def cut(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:3000])


def entry(name, **values):
    return lambda folder: with_header(folder / WEIGHTS, lambda header: header[name].update(values))


NORM = "model.norm.weight"
# name, command, settings, exit code, what the one message must hold
cases = [
    ("no model folder", "sft", [f"--model.base={work}/nowhere"], 2, ["nowhere", "config.json"]),
    ("no tokenizer", "sft", [model("m1", lambda m: (m / "tokenizer.json").unlink())], 2, ["m1", "tokenizer.json"]),
    ("broken tokenizer", "sft", [model("m2", lambda m: (m / "tokenizer.json").write_text('{"model": {}}'))], 2, ["m2", "tokenizer.json"]),
    ("no weights", "sft", [model("m3", lambda m: (m / WEIGHTS).unlink())], 2, ["m3", WEIGHTS]),
    ("missing shard", "sft", [model("m4", sharded)], 2, ["m4", "model-00002-of-00002.safetensors"]),
    ("truncated weights", "sft", [model("m5", cut)], 2, ["m5", WEIGHTS]),
    ("hostile header: length", "sft", [model("m6", lambda m: (m / WEIGHTS).write_bytes(b"\xff" * 7 + b"\x7f{}"))], 2, ["m6", "header"]),
    ("hostile header: offsets", "sft", [model("m7", entry(NORM, data_offsets=[1 << 62, (1 << 62) + 64]))], 2, ["m7", NORM, "outside"]),
    ("hostile header: shape", "sft", [model("m8", entry(NORM, shape=[1 << 47, 1 << 47]))], 2, ["m8", NORM, "absurd"]),
    ("hostile header: type", "sft", [model("m9", entry(NORM, dtype="Q4"))], 2, ["m9", NORM, "Q4"]),
    ("header that is no JSON", "sft", [model("m10", lambda m: (m / WEIGHTS).write_bytes(struct.pack("<Q", 4) + b"abcd"))], 2, ["m10", "JSON"]),
    ("wrong shape", "sft", [model("m11", lambda m: edit(m / "config.json", intermediate_size=24))], 2, ["m11", "shape"]),
    ("unexpected tensor", "sft", [model("m12", lambda m: with_header(m / WEIGHTS, lambda h: h.update(extra=h.pop(NORM))))], 2, ["m12", NORM]),
    ("config of another kind", "sft", [model("m13", lambda m: edit(m / "config.json", model_type="gpt2"))], 2, ["gpt2"]),
    ("config that is no JSON", "sft", [model("m14", lambda m: (m / "config.json").write_text("{"))], 2, ["m14/config.json"]),
    ("tokenizer of a larger vocabulary", "sft", [model("m15", lambda m: edit(m / "config.json", vocab_size=17))], 2, ["m15", "17"]),
    ("template that the tokenizer lacks", "dataset", ["--model.chat_template=llama3"], 2, ["<|begin_of_text|>", "llama3"]),
    ("context longer than the model's", "dataset", ["--data.max_tokens=4096"], 2, ["data.max_tokens = 4096", "512 positions"]),
    ("NaN loss", "sft", [model("m16", nan_weights)], 3, ["loss is not a number", "not applied"]),
    ("checkpoint of another run: options", "sft", ["--sft.learning_rate=0.01"], 3, ["checkpoint of stage sft", "learning_rate = ", "(was"]),
    ("checkpoint of another run: seed", "sft", ["--run.seed=7"], 3, ["checkpoint of stage sft", "seed = 7 (was 1)"]),
    ("HDF5 file of something else", "reward", ["--reward.objective=love"], 3, ["love.h5", "labelled responses"]),
    ("no HDF5 file", "reward", ["--reward.objective=safety"], 3, ["safety.h5 is not an HDF5 file"]),
    ("HDF5 file cut short", "reward", ["--reward.objective=helpfulness"], 3, ["helpfulness.h5"]),
    ("no data", "reward", [f"--run.directory={work}/none", "--reward.objective=love"], 2, ["love.h5 is missing"]),
    ("no reward model", "policy", [], 2, ["models/helpfulness is missing"]),
    ("no love model", "evaluate", [f"--data.candidates={world}/candidates"], 2, ["models/love", "rluf_reward.json"]),
    ("a chat model that scores", "evaluate", [f"--data.candidates={world}/candidates", f"--evaluate.love_model={base}"], 2, ["base is no reward model"]),
]
tools = [
    ("export of no model", ["export", str(work / "nowhere"), str(work / "out")], 2, ["nowhere"]),
    ("export to itself", ["export", str(base), str(base) + "/"], 2, ["to itself"]),
    ("export below a file", ["export", str(base), str(base / "config.json/x")], 2, ["config.json/x"]),
    ("inspect of text", ["inspect", str(base / "config.json")], 3, ["is not an HDF5 file"]),
    ("inspect of nothing", ["inspect", str(work / "nowhere.h5")], 2, ["nowhere.h5"]),
    ("score with a chat model", ["score", str(base), str(world / "prompts.jsonl.gz")], 2, ["is no reward model"]),
    ("generate without prompts", ["generate", str(base), str(base / "config.json")], 3, ["config.json"]),
    ("too few arguments", ["score", str(base)], 2, ["too few arguments"]),
]
directory = work / "run"
inputs = {name: f"--data.{name}={world}/{name}.jsonl.gz" for name in ("interactions", "helpfulness_pairs", "safety_pairs", "prompts", "sft")}
common = [f"--run.directory={directory}", f"--model.base={base}", "--run.simulate=false", inputs["sft"]]
for command in ("dataset", "sft"):
    prepared = rluf(command, tiny, *common, *inputs.values())
    check(prepared.returncode == 0, f"{command} on good input\n{prepared.stderr[-800:]}")
data = directory / "data"
shutil.copy(data / "sft.h5", data / "love.h5")
(data / "safety.h5").write_bytes(b"not HDF5" * 100)
(data / "helpfulness.h5").write_bytes((data / "helpfulness.h5").read_bytes()[:2000])
untouched = results_of(directory)
fresh = {"NaN loss"}  # no checkpoint that would be met first
for ranks in (1, 2):
    for name, command, settings, code, parts in cases:
        place = [f"--run.directory={work}/fresh{ranks}"] if name in fresh else []
        if place:
            shutil.copytree(data, work / f"fresh{ranks}/data")
        check_error(rluf(command, tiny, *common, *place, *settings, ranks=ranks), code, parts, f"{name} on {ranks} ranks")
        check(untouched == results_of(directory), f"{name} on {ranks} ranks: earlier results changed")
        check(not place or not list((work / f"fresh{ranks}").rglob("checkpoints/*/*")), f"{name}: a spoilt state was kept")
    for name, words, code, parts in tools:
        check_error(rluf(*words, ranks=ranks), code, parts, f"{name} on {ranks} ranks")

# More ranks than rows, in every stage that deals rows to ranks.
few = work / "few"
few.mkdir()
for name, keep in (("sft", 1), ("prompts", 1), ("helpfulness_pairs", 1)):
    lines = gzip.open(world / f"{name}.jsonl.gz", "rt").readlines()
    (few / f"{name}.jsonl").write_text("".join(lines[:keep]))
settings = [f"--data.{name}={few}/{name}.jsonl" for name in ("sft", "prompts", "helpfulness_pairs")]
settings += ["--data.holdout_share=0", "--policy.prompts_per_round=1", "--policy.love_weights=0", "--policy.safety_weight=0",
             "--policy.judges=length", "--policy.rounds=1"]
for command in ("dataset", "sft", "reward", "policy"):
    result = rluf(command, tiny, *common, f"--run.directory={few}/run", *settings, ranks=3)
    check(result.returncode == 0, f"{command}: more ranks than rows: {result.returncode}\n{result.stderr[-1500:]}")
shutil.rmtree(work)
finish(2 * (len(cases) + len(tools)) + 4)
