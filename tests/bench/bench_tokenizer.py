"""Encoding text against Hugging Face's tokenizers on one core each: same file, same texts, same ids.

bench_tokenizer.py MODEL_FOLDER [BYTES=4000000]
The texts are the messages and responses of a log, with special tokens taken as text on both sides. The peer's faster
call is measured, encode_batch_fast, without turning its ids into Python lists.
"""
import json, os, sys, tempfile

os.environ["THREADS"] = "1"
from measure import Worker, alternate, log_file, report, rows_of, skip, timed

try:
    import tokenizers
except ImportError as error:
    skip(error)

base = sys.argv[1]
wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 4_000_000
document = json.load(open(base + "/tokenizer.json"))
document["added_tokens"] = []  # text that spells a special token stays text
peer = tokenizers.Tokenizer.from_str(json.dumps(document))
texts, size = [], 0
for row in rows_of(log_file(), 1_000_000):
    for text in [message["content"] for message in row["messages"]] + [row["response"]]:
        texts.append(text)
        size += len(text.encode())
    if size >= wanted:
        break
with tempfile.TemporaryDirectory() as folder:
    with open(folder + "/texts.json", "w") as out:
        json.dump(texts, out)
    worker = Worker("bench_tokenize", base + "/tokenizer.json", folder + "/texts.json")
    ids = worker.ask("ids")["ids"]
    for text, mine, other in zip(texts, ids, peer.encode_batch(texts), strict=True):
        assert mine == other.ids, f"{text[:80]!r}: {mine[:10]} instead of {other.ids[:10]}"
    ours, peers = alternate(lambda: worker.ask("time")["seconds"], lambda: timed(lambda: peer.encode_batch_fast(texts))[0])
    worker.close()
report("tokenizer", f"{size / 1e6:.1f} MB of text in {len(texts)} pieces to {sum(map(len, ids))} tokens, one core",
       "all ids equal", ours, peers, 2.0, f"tokenizers {tokenizers.__version__}")
