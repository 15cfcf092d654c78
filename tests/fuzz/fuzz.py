"""Mutated copies of every kind of file that rluf reads: each is read or refused with a clear error, never a crash."""
import argparse
import glob
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(os.environ["RLUF_SOURCE"]) / "tests/pipeline"))
from program import check, finish, rluf, source, tiny  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=300)
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_fuzz_"))
for command in ("simulate", "dataset", "sft"):
    result = rluf(command, tiny, "--simulate.rows=300", "--simulate.love_rate=0.3", f"--run.directory={work}/run")
    check(result.returncode == 0, f"{command}\n{result.stderr[-800:]}")
world = work / "run/world"
rows = gzip.open(world / "interactions.jsonl.gz", "rb").read().splitlines(keepends=True)[:12]
(work / "log.jsonl").write_bytes(b"".join(rows))
(work / "log.jsonl.gz").write_bytes(gzip.compress(b"".join(rows)))
say = lambda role, text: {"role": role, "content": text}
dialogue = [say("user", "Tea?"), say("assistant", "Yes.")]
layouts = {"responses": {"prompt": "Tea?", "chosen": "Yes.", "rejected": "No.", "score_chosen": 4, "score_rejected": 1.5},
           "conversations": {"chosen": dialogue, "rejected": [dialogue[0], say("assistant", "No.")]},
           "transcripts": {"chosen": "\n\nHuman: Tea?\n\nAssistant: Yes.", "rejected": "\n\nHuman: Tea?\n\nAssistant: No."},
           "labelled": {"prompt": dialogue + [say("user", "Why?")], "completion": "I am cold.", "label": True},
           "scored": {"prompt": "Tea?", "response": "Yes.", "score": 0.5}}
pairs = [work / f"{name}.jsonl" for name in layouts]
for path, row in zip(pairs, layouts.values()):
    path.write_text((json.dumps(row) + "\n") * 4)
files = {"safetensors": [world / "base/model.safetensors"], "config": [world / "base/config.json"], "tokenizer": [world / "base/tokenizer.json"],
         "jsonl": [work / "log.jsonl", work / "log.jsonl.gz"], "ini": [tiny, source / "inputs/smollm2.ini"],
         "checkpoint": sorted((work / "run/checkpoints/sft").glob("*.h5")), "dataset": [work / "run/data/love.h5"], "prompts": [work / "run/data/prompts.h5"], "pairs": pairs}
llama3 = glob.glob(str(source / ".deps/oracle/lib/python3*/site-packages/llama_models/llama3/tokenizer.model"))
if llama3:  # its first ranks are enough
    (work / "tokenizer.model").write_bytes(b"".join(open(llama3[0], "rb").read().splitlines(keepends=True)[:2000]))
    files["tokenizer"].append(work / "tokenizer.model")
for target, seeds in files.items():
    result = subprocess.run([os.environ["RLUF_FUZZ"], target, str(arguments.runs), str(arguments.seed), *map(str, seeds)], capture_output=True, text=True)
    print(result.stdout.strip(), flush=True)
    check(result.returncode == 0, f"{target}: {result.returncode}\n{result.stderr[-2500:]}")
shutil.rmtree(work)
finish(len(files))
