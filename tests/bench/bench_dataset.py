"""Log to HDF5: this program against datasets + h5py with HF tokenizers, same rows, template, limits and cores.

bench_dataset.py MODEL_FOLDER [ROWS=10000]
Both parse, render chatml within 1024 tokens and 10 messages, and write tokens, offsets and labels; the start of their
processes is part of the time. Both must write the same tokens, ours spread over the two splits.
"""
import gzip, json, os, shutil, subprocess, sys, tempfile

from measure import BUILD, MPIRUN, REPETITIONS, THREADS, alternate, log_file, report, skip, timed

try:
    import datasets, h5py, numpy, tokenizers  # noqa: F401
except ImportError as error:
    skip(error)

log, base = log_file(), sys.argv[1]
max_rows = int(sys.argv[2]) if len(sys.argv) > 2 else 10000

PEER = r'''
import json, sys, numpy, h5py, datasets, tokenizers
log, base, out, cores, cache = sys.argv[1:6]
datasets.disable_progress_bars()
tokenizer = tokenizers.Tokenizer.from_file(base + "/tokenizer.json")
start, end = tokenizer.token_to_id("<|im_start|>"), tokenizer.token_to_id("<|im_end|>")
document = json.load(open(base + "/tokenizer.json"))
document["added_tokens"] = []  # text that spells a special token stays text
tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document))
newline = tokenizer.encode("\n").ids
header = [start] + tokenizer.encode("assistant\n").ids
def render(batch):
    texts, counts = [], []
    for messages, response in zip(batch["messages"], batch["response"]):
        kept = messages[-10:]
        texts += [m["role"] + "\n" + m["content"] for m in kept] + [response]
        counts.append(len(kept))
    encoded = [e.ids for e in tokenizer.encode_batch(texts)]
    rows, at = [], 0
    for count in counts:
        parts = [[start] + ids + [end] + newline for ids in encoded[at:at + count]]
        answer = encoded[at + count] + [end]
        at += count + 1
        room = 1024 - len(header)
        if len(answer) > room:
            answer = answer[:room - 1] + [end]
        budget = room - len(answer)
        while len(parts) > 1 and sum(map(len, parts)) > budget:
            parts.pop(0)
        context = [t for part in parts for t in part]
        rows.append(context[max(0, len(context) - budget):] + header + answer)
    return {"tokens": rows, "label": [s["love"] for s in batch["signals"]]}
data = datasets.load_dataset("json", data_files=log, split="train", cache_dir=cache)
data = data.map(render, batched=True, num_proc=int(cores), remove_columns=data.column_names).with_format("numpy")
with h5py.File(out, "w") as file:
    offsets, tokens = [0], []
    for batch in data.iter(1000):
        for row in batch["tokens"]:
            tokens.append(row.astype(numpy.int32))
            offsets.append(offsets[-1] + len(row))
    file["tokens"] = numpy.concatenate(tokens)
    file["offsets"] = numpy.array(offsets)
    file["labels"] = numpy.asarray(data["label"])
'''


def rows_of(file, groups):
    """The rows' tokens, sorted, since ours are in two splits."""
    rows = []
    for prefix in groups:
        offsets, tokens = file[prefix + "offsets"][:], file[prefix + "tokens"][:]
        rows += [tokens[a:b].astype(numpy.int32).tobytes() for a, b in zip(offsets, offsets[1:])]
    return sorted(rows)


with tempfile.TemporaryDirectory() as folder:
    small = folder + "/log.jsonl.gz"
    seen, rows = set(), 0
    with gzip.open(log, "rt", encoding="utf-8") as source, gzip.open(small, "wt", encoding="utf-8") as out:
        for line in source:  # without duplicates, which the peer keeps
            row = json.loads(line)
            key = json.dumps([row["user_id"], row["messages"], row["response"]])
            if rows < max_rows and key not in seen:
                seen.add(key)
                out.write(line)
                rows += 1
    with open(folder + "/peer.py", "w") as script:
        script.write(PEER)

    def run(command, fresh, **environment):
        shutil.rmtree(fresh, ignore_errors=True)
        return timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                            env=dict(os.environ, **environment)))[0]

    ours, peers = alternate(
        lambda: run(MPIRUN + [BUILD / "dataset_stage", folder + "/run", base, "data.interactions=" + small,
                              "data.positive_rate=0", "data.holdout_share=0.1"], folder + "/run", OMP_NUM_THREADS="1"),
        lambda: run([sys.executable, folder + "/peer.py", small, base, folder + "/peer.h5", str(THREADS),
                     folder + "/cache"], folder + "/cache"), min(REPETITIONS, 3))
    with h5py.File(folder + "/run/data/love.h5") as mine, h5py.File(folder + "/peer.h5") as other:
        stored = rows_of(mine, ["train/", "holdout/"])
        assert stored == rows_of(other, [""]), "the rows differ: not the same work"
        tokens = len(other["tokens"])
report("dataset", f"{rows} rows of a gzipped log to {tokens} tokens in HDF5, {THREADS} ranks or processes",
       f"all {rows} rows equal", ours, peers, 2.0, f"datasets {datasets.__version__}, h5py {h5py.__version__}")
