"""Bad rows, files and options: one clear error on all ranks, the right exit code, no hang, earlier results untouched."""
import gzip
import json
import pathlib
import shutil
import tempfile

from program import check, check_error, finish, results_of, rluf, tiny

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_bad_"))
made = rluf("simulate", tiny, f"--run.directory={work}/sim")
if made.returncode != 0:
    raise SystemExit("simulate failed:\n" + made.stderr)
world = work / "sim/world"
rows = [json.loads(line) for line in gzip.open(world / "interactions.jsonl.gz", "rt")][:400]
text = "".join(json.dumps(row) + "\n" for row in rows).encode()


def written(name, content):
    """A file of bytes, or of rows."""
    path = work / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else "".join(json.dumps(row) + "\n" for row in content).encode())
    return path


def log(name, change):
    """A log made from good rows; `change` gets a copy of all rows and gives rows or bytes."""
    return f"--data.interactions={written(name, change(json.loads(json.dumps(rows))))}"


def each(change):
    """Changes every row in place."""
    return lambda copies: [(change(row), row)[1] for row in copies]


def one(change, index=5):
    """Changes row `index` in place: line index + 1 of the file."""
    return lambda copies: [(change(row), row)[1] if i == index else row for i, row in enumerate(copies)]


def packed(change):
    """Changes the bytes of the gzip file."""
    return lambda _: change(gzip.compress(text))


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1:]


def line(number, content):
    """Replaces a line of the file."""
    lines = text.splitlines()
    lines[number - 1] = content
    return lambda _: b"\n".join(lines) + b"\n"


def answers(name, count, prompt):
    return written(f"candidates_{name}/{name}.jsonl", [{"prompt": prompt(i), "response": "yes"} for i in range(count)]).parent


(work / "file").write_text("x")
(work / "folder").mkdir()
same, other = answers("a", 3, lambda i: f"p{i}"), answers("b", 3, lambda i: f"q{i}" if i == 1 else f"p{i}")
fewer = answers("c", 2, lambda i: f"p{i}")
pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
inputs_of_log = f"--data.interactions={world}/interactions.jsonl.gz"
# name, command, settings, exit code, what the one message must hold
cases = [
    # files
    ("missing file", "dataset", [f"--data.interactions={work}/none.jsonl"], 2, ["data.interactions", "none.jsonl"]),
    ("unreadable file (a folder in its place)", "dataset", [f"--data.safety_pairs={work}/folder"], 2, ["data.safety_pairs", "folder"]),
    ("directory not writable (below a file)", "dataset", [f"--run.directory={work}/file/run"], 2, ["run.directory", "file/run"]),
    ("directory not writable (of the kernel)", "dataset", ["--run.directory=/proc/rluf"], 2, ["run.directory", "/proc/rluf"]),
    ("gzip cut short", "dataset", [log("cut.gz", packed(lambda data: data[:5000]))], 3, ["cut.gz", "gzip", "after line"]),
    ("gzip without its end", "dataset", [log("end.gz", packed(lambda data: data[:-6]))], 3, ["end.gz", "gzip"]),
    ("gzip with a flipped byte", "dataset", [log("flip.gz", packed(flipped))], 3, ["flip.gz"]),
    ("empty file", "dataset", [log("empty", lambda _: b"")], 3, ["empty", "no rows"]),
    ("blank lines only", "dataset", [log("blank", lambda _: b"\n \n")], 3, ["blank", "no rows"]),
    ("missing input file", "dataset", [f"{work}/none.ini"], 2, ["none.ini"]),
    # rows
    ("broken JSON at line 7", "dataset", [log("json", line(7, b'{"user_id": '))], 3, ["json:7: broken JSON"]),
    ("a row that is no object", "dataset", [log("list", line(7, b"[1]"))], 3, ["list:7", "object"]),
    ("not UTF-8", "dataset", [log("utf8", line(9, b'{"user_id": "\xff\xfe"}'))], 3, ["utf8:9", "not UTF-8"]),
    ("missing field", "dataset", [log("field", one(lambda row: row.pop("response")))], 3, ["field:6", "response"]),
    ("missing field of a pair", "dataset", [f"--data.helpfulness_pairs={written('pair', [pair, {'prompt': 'p', 'chosen': 'a'}])}"], 3, ["pair:2", "rejected"]),
    ("pairs of two layouts", "dataset", [f"--data.safety_pairs={written('layouts', [pair, {'prompt': 'p', 'completion': 'a', 'label': True}])}"], 3, ["layouts:2", "first row"]),
    ("missing signal", "dataset", [log("signal", one(lambda row: row.update(signals={})))], 3, ["signal:6", "love"]),
    ("wrong type: response", "dataset", [log("type", one(lambda row: row.update(response=7)))], 3, ["type:6", "response"]),
    ("wrong type: messages", "dataset", [log("turns", one(lambda row: row.update(messages=[{"role": "user"}])))], 3, ["turns:6", "role"]),
    ("wrong type: user", "dataset", [log("who", one(lambda row: row.update(user_id=[1])))], 3, ["who:6", "user_id"]),
    ("label that is none", "dataset", [log("label", one(lambda row: row["signals"].update(love=2)))], 3, ["label:6", "0 or 1"]),
    ("time stamp missing", "dataset", [log("time", one(lambda row: row.pop("timestamp")))], 3, ["time:6", "timestamp"]),
    ("time stamp of the wrong type", "dataset", [log("clock", one(lambda row: row.update(timestamp="noon")))], 3, ["clock:6", "timestamp"]),
    # what prompts ask of their responses
    ("unknown instruction", "dataset", [f"--data.prompts={written('asks', [{'prompt': 'p'}, {'prompt': 'q', 'instructions': [{'type': 'punctuation:no_coma'}]}])}"], 3, ["asks:2", "did you mean punctuation:no_comma"]),
    ("instruction without its argument", "dataset", [f"--data.prompts={written('lacks', [{'prompt': 'p', 'instructions': [{'type': 'length_constraints:number_words', 'arguments': {'num_words': 3}}]}])}"], 3, ["lacks:1", "relation"]),
    ("unknown keyword of a schema", "dataset", [f"--data.prompts={written('schema', [{'prompt': 'p', 'json_schema': {'minimum': 1}}])}"], 3, ["schema:1", "minimum"]),
    # logs from which nothing can be learned
    ("no positives", "dataset", [log("none", each(lambda row: row["signals"].update(love=0)))], 3, ["signals.love is 0 in every"]),
    ("all positives", "dataset", [log("all", each(lambda row: row["signals"].update(love=1)))], 3, ["signals.love is 1 in every"]),
    ("only one user", "dataset", [log("user", each(lambda row: row.update(user_id="u1")))], 3, ["one user"]),
    # comparing the signals
    ("signals: missing field", "signals", [log("s_field", one(lambda row: row.pop("timestamp")))], 3, ["s_field:6", "timestamp"]),
    ("signals: no JSON", "signals", [log("s_json", line(7, b'{"user_id": '))], 3, ["s_json:7: broken JSON"]),
    ("signals: only one user", "signals", [log("s_user", each(lambda row: row.update(user_id="u1")))], 3, ["one user"]),
    ("signals: none", "signals", [log("s_none", each(lambda row: row.update(signals={})))], 3, ["no field of signals{}"]),
    ("signals: all 0", "signals", [log("s_zero", each(lambda row: row.update(signals={"love": 0})))], 3, ["every signal is 0"]),
    ("signals: no object", "signals", [log("s_list", one(lambda row: row.update(signals=[1])))], 3, ["s_list:6", "no object"]),
    ("signals: retention that is none", "signals", [log("s_stay", one(lambda row: row.update(retained_14d=7)))], 3, ["s_stay:6", "retained_14d"]),
    ("signals: one slice of time", "signals", ["--signals.time_slices=1"], 2, ["signals.time_slices", "2 to"]),
    ("unknown treatment of reactors", "dataset", ["--data.reactors=some"], 2, ["data.reactors", "keep"]),
    ("auto before the comparison", "dataset", ["--data.signal=auto", inputs_of_log], 2, ["data/signals.json is missing", "rluf signals"]),
    # candidates
    ("candidates with different prompts", "evaluate", [f"--data.candidates={same},{other}"], 3, ["b.jsonl:2", '"q1"', '"p1"']),
    ("candidates with fewer prompts", "evaluate", [f"--data.candidates={same},{fewer}"], 3, ["c.jsonl ends after 2 prompts"]),
    ("two candidates of one name", "evaluate", [f"--data.candidates={same},{same}/a.jsonl"], 2, ["two candidates", "a"]),
    ("no candidate", "evaluate", [f"--data.candidates={work}/folder"], 2, ["folder holds no candidate"]),
    # options
    ("option out of range", "dataset", ["--data.holdout_share=1"], 2, ["data.holdout_share", "0 to 0.9"]),
    ("negative count", "dataset", ["--data.max_rows=-1"], 2, ["data.max_rows", "0 to"]),
    ("no number", "dataset", ["--data.max_rows=1e3x"], 2, ["data.max_rows", "1e3x", "whole number"]),
    ("no boolean", "dataset", ["--run.simulate=yes"], 2, ["run.simulate", "true or false"]),
    ("abbreviated option", "dataset", ["--data.max_row=5"], 2, ["did you mean --data.max_rows?"]),
    ("misspelt option in a file", "dataset", [str(written("typo.ini", b"[data]\n\nmax_tokns = 64\n"))], 2, ["typo.ini:3", "did you mean data.max_tokens?"]),
    ("key twice in a file", "dataset", [str(written("twice.ini", b"[data]\nmax_rows = 5\nmax_rows = 6\n"))], 2, ["twice.ini:3", "line 2"]),
    ("key without a value", "dataset", [str(written("void.ini", b"[data]\nmax_rows =\n"))], 2, ["void.ini:2", "data.max_rows has no value"]),
    ("contradiction: no room for a prompt", "policy", ["--policy.max_new_tokens=96"], 2, ["policy.max_new_tokens", "data.max_tokens"]),
    ("contradiction: a weight twice", "policy", ["--policy.love_weights=0.1,0.1"], 2, ["policy.love_weights", "twice"]),
    ("contradiction: no weight", "policy", ["--policy.love_weights=0", "--policy.helpfulness_weight=0", "--policy.safety_weight=0"], 2, ["weight 0"]),
    ("contradiction: words", "policy", ["--policy.min_words=9", "--policy.max_words=3"], 2, ["min_words", "max_words"]),
    ("contradiction: rounded gradients", "sft", ["--parallel.gradient_reduction=bf16"], 2, ["gradient_reduction = bf16", "run.reproducible"]),
    ("contradiction: online values of nothing", "evaluate", ["--data.candidates=", f"--data.online={world}/online.json"], 2, ["data.online", "data.candidates"]),
    ("contradiction: a judge without its model", "run", ["--data.safety_pairs=", "--policy.safety_weight=0"], 2, ["judge safety", "data.safety_pairs"]),
    ("contradiction: heads of the simulated model", "simulate", ["--simulate.hidden_size=18", f"--run.directory={work}/heads"], 2, ["hidden_size 18"]),
]
good = [
    ("time stamps out of order", [log("order", lambda copies: copies[::-1])], ["out_of_order_timestamps"]),
    ("rows longer than the context", [log("long", each(lambda row: row.update(response=row["response"] * 40)))], ["truncated_rows"]),
]
directory = work / "run"
inputs = {name: f"--data.{name}={world}/{name}.jsonl.gz" for name in ("interactions", "helpfulness_pairs", "safety_pairs", "prompts", "sft")}
common = [f"--run.directory={directory}", f"--model.base={world}/base", "--run.simulate=false"]
prepared = rluf("dataset", tiny, *common, *inputs.values())
check(prepared.returncode == 0, "the good data set is made\n" + prepared.stderr[-800:])
untouched = results_of(directory)
for ranks in (1, 2):
    for name, command, settings, code, parts in cases:
        given = [] if command == "evaluate" else [inputs["sft"]] if command == "dataset" else inputs.values()
        files = [word for word in settings if not word.startswith("--")]
        options = [word for word in settings if word.startswith("--")]
        check_error(rluf(command, tiny, *files, *common, *given, *options, ranks=ranks), code, parts, f"{name} on {ranks} ranks")
        if command == "dataset":  # sft.h5 may be made again, equal; nothing else may change
            check(untouched == results_of(directory), f"{name} on {ranks} ranks: earlier results changed")
    check(untouched == results_of(directory), f"earlier results changed on {ranks} ranks")
    for name, settings, parts in good:
        folder = work / f"good{ranks}"
        result = rluf("dataset", tiny, *common, *settings, f"--run.directory={folder}", ranks=ranks)
        check(result.returncode == 0, f"{name} on {ranks} ranks: exit code {result.returncode}\n{result.stderr[-800:]}")
        table = json.loads((folder / "tables/dataset.json").read_text())["love"]
        for part in parts:
            check(table[part] > 100, f"{name} on {ranks} ranks: {part} is {table[part]}")
        check(table["read"] + table["repeated_positives"] == table["train"] + table["holdout"] + table["duplicates"]
              + table["dropped_negatives"], f"{name} on {ranks} ranks: the table does not add up: {table}")
shutil.rmtree(work)
finish(2 * (len(cases) + len(good)))
