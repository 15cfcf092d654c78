"""Log to HDF5: this program against datasets + h5py with HF tokenizers, same rows, template, limits and cores.

  RLUF_BUILD=build python tests/bench/bench_dataset.py LOG.jsonl.gz MODEL_FOLDER [ROWS]
Both parse, render chatml within 1024 tokens and 10 messages, and write tokens, offsets and labels. Prints one JSON line.
Both sides must write the same number of tokens. Best of three.
"""
import gzip, json, os, shutil, subprocess, sys, tempfile, time

log, base = sys.argv[1], sys.argv[2]
max_rows = int(sys.argv[3]) if len(sys.argv) > 3 else 10000
cores = len(os.sched_getaffinity(0))
stage = os.path.join(os.environ["RLUF_BUILD"], "dataset_stage")

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


def timed(command, environment=None):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    return time.perf_counter() - start


try:
    import datasets, h5py  # noqa: F401
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

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
    ours, peers = [], []
    for _ in range(3):
        shutil.rmtree(folder + "/run", ignore_errors=True)
        ours.append(timed(["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(cores), stage,
                           folder + "/run", base, "data.interactions=" + small, "data.positive_rate=0",
                           "data.holdout_share=0.1"], dict(os.environ, OMP_NUM_THREADS="1")))
        shutil.rmtree(folder + "/cache", ignore_errors=True)
        peers.append(timed([sys.executable, folder + "/peer.py", small, base, folder + "/peer.h5", str(cores),
                            folder + "/cache"], dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")))
    with h5py.File(folder + "/run/data/love.h5") as mine, h5py.File(folder + "/peer.h5") as other:
        tokens = len(mine["train/tokens"]) + len(mine["holdout/tokens"])
        assert tokens == len(other["tokens"]), (tokens, len(other["tokens"]))
    print(json.dumps({"bench": "dataset", "rows": rows, "tokens": tokens, "cores": cores, "rluf_s": round(min(ours), 2),
                      "peer_s": round(min(peers), 2), "ratio": round(min(peers) / min(ours), 2)}))
