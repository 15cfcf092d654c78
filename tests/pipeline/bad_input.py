"""Bad input gets one clear error on all ranks, the right exit code, no hang, and earlier results stay as they were."""
import gzip
import json
import pathlib
import shutil
import tempfile

from program import check, check_error, finish, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_bad_"))
made = rluf("simulate", tiny, f"--run.directory={work}/sim")
if made.returncode != 0:
    raise SystemExit("simulate failed:\n" + made.stderr)
world = work / "sim/world"
rows = [json.loads(line) for line in gzip.open(world / "interactions.jsonl.gz", "rt")][:400]
base = world / "base"


def log(name, change):
    """A log file made from good rows; change gets and gives the list of rows, or the text."""
    path = work / name
    result = change([json.loads(json.dumps(row)) for row in rows])
    if isinstance(result, bytes):
        path.write_bytes(result)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in result))
    return f"--data.interactions={path}"


def each(change):
    def apply(copies):
        for i, row in enumerate(copies):
            change(i, row)
        return copies
    return apply


def at(index, change):
    return each(lambda i, row: change(row) if i == index else None)


def model(name, change):
    folder = work / name
    shutil.copytree(base, folder)
    change(folder)
    return f"--model.base={folder}"


def edit_json(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


text = "".join(json.dumps(row) + "\n" for row in rows).encode()
weights = "model.safetensors"
(work / "file").write_text("x")
# name, command, settings, exit code, what the message must hold
cases = [
    ("missing file", "dataset", [f"--data.interactions={work}/none.jsonl"], 2, ["none.jsonl"]),
    ("directory not writable", "dataset", [f"--run.directory={work}/file/run"], 2, ["file/run"]),
    ("broken gzip", "dataset", [log("cut.gz", lambda _: gzip.compress(text)[:5000])], 3, ["cut.gz"]),
    ("broken JSON", "dataset", [log("json", lambda _: text.replace(b"\n", b"\n{\n", 7).replace(b"{\n", b"", 6))], 3, ["json:"]),
    ("missing field", "dataset", [log("field", at(5, lambda row: row.pop("response")))], 3, ["field:6", "response"]),
    ("wrong type", "dataset", [log("type", at(5, lambda row: row.update(response=7)))], 3, ["type:6", "response"]),
    ("empty file", "dataset", [log("empty", lambda _: b"")], 3, ["empty"]),
    ("no positives", "dataset", [log("none", each(lambda i, row: row["signals"].update(love=0)))], 3, ["signals.love is 0 in every"]),
    ("all positives", "dataset", [log("all", each(lambda i, row: row["signals"].update(love=1)))], 3, ["signals.love is 1 in every"]),
    ("time stamp missing", "dataset", [log("time", at(5, lambda row: row.pop("timestamp")))], 3, ["time:6", "timestamp"]),
    ("option out of range", "dataset", ["--data.holdout_share=1"], 2, ["data.holdout_share", "0 to 0.9"]),
    ("contradiction", "policy", ["--policy.max_new_tokens=96"], 2, ["policy.max_new_tokens", "data.max_tokens"]),
    ("no tokenizer", "sft", [model("m1", lambda m: (m / "tokenizer.json").unlink())], 2, ["m1"]),
    ("missing weights", "sft", [model("m2", lambda m: (m / weights).unlink())], 2, ["m2"]),
    ("truncated weights", "sft", [model("m3", lambda m: (m / weights).write_bytes((m / weights).read_bytes()[:3000]))], 2, ["m3"]),
    ("hostile header", "sft", [model("m4", lambda m: (m / weights).write_bytes(b"\xff" * 7 + b"\x7f{}"))], 2, ["m4"]),
    ("wrong shape", "sft", [model("m5", lambda m: edit_json(m / "config.json", intermediate_size=24))], 2, ["m5"]),
    ("other vocabulary", "sft", [model("m6", lambda m: edit_json(m / "config.json", vocab_size=17))], 2, ["17"]),
    ("HDF5 of something else", "sft", [], 3, ["sft.h5"]),
]
good = [
    ("one user", [log("user", each(lambda i, row: row.update(user_id="u1")))]),
    ("time stamps out of order", [log("order", lambda copies: copies[::-1])]),
    ("rows longer than the context", [log("long", each(lambda i, row: row.update(response=row["response"] * 40)))]),
    ("not UTF-8", [log("utf8", lambda _: text.replace(b"so glad", b"so \xff\xfe"))]),
]
directory = work / "run"
prepared = rluf("dataset", tiny, f"--run.directory={directory}", f"--model.base={base}",
                *[f"--data.{name}={world}/{name}.jsonl.gz" for name in ("interactions", "helpfulness_pairs", "safety_pairs", "prompts", "sft")])
check(prepared.returncode == 0, "the good data set is made\n" + prepared.stderr[-800:])
common = [f"--run.directory={directory}", f"--model.base={base}", "--run.simulate=false", f"--data.sft={world}/sft.jsonl.gz"]
for ranks in (1, 2):
    for name, command, settings, code, parts in cases:
        if name == "HDF5 of something else":
            kept = (directory / "data/sft.h5").read_bytes()
            (directory / "data/sft.h5").write_bytes(b"not HDF5" * 100)
        before = {p: p.read_bytes() for p in (directory / "data").iterdir()}
        result = rluf(command, tiny, *common, *settings, ranks=ranks)
        check_error(result, code, parts, f"{name} on {ranks} ranks")
        check(before == {p: p.read_bytes() for p in (directory / "data").iterdir()}, f"{name}: earlier data changed")
        if name == "HDF5 of something else":
            (directory / "data/sft.h5").write_bytes(kept)
    for name, settings in good:
        result = rluf("dataset", tiny, *common, *settings, f"--run.directory={work}/good{ranks}", ranks=ranks)
        check(result.returncode in (0, 3), f"{name} on {ranks}: exit code {result.returncode}\n{result.stderr[-800:]}")
shutil.rmtree(work)
finish(2 * (len(cases) + len(good)))
