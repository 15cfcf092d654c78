"""transformers opens reward models as sequence classifiers: the same scores, in padded batches, as `rluf score` prints."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

source, rluf = pathlib.Path(os.environ["RLUF_SOURCE"]), os.environ["RLUF"]
smollm2 = source / ".deps/models/smollm2"
rows = [{"prompt": "What is a fjord?", "response": "An arm of the sea between cliffs."},
        {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "response": "Hello!"},
        {"prompt": [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}],
         "response": "I am cold, and the kettle is on; the night will be long, and there is much to read."}]


def run(*words):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def text_of(row):
    messages = [{"role": "user", "content": row["prompt"]}] if isinstance(row["prompt"], str) else row["prompt"]
    context = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return context + "<|im_start|>assistant\n" + row["response"] + "<|im_end|>"


def transformers_scores(model, tokenizer, side):
    batch = tokenizer([text_of(row) for row in rows], padding=True, padding_side=side, add_special_tokens=False, return_tensors="pt")
    assert (batch["attention_mask"] == 0).any(), "the batch has padding"
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]


def compare(name, folder, work, also=()):
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed = [json.loads(line) for line in run(rluf, "score", folder, work / "rows.jsonl").splitlines()]
    ours = torch.tensor([row["raw_score"] for row in printed])
    assert all(list(row.get("also", {})) == list(also) and all(0 < p < 1 for p in row.get("also", {}).values()) for row in printed), printed
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForSequenceClassification" and model.num_labels == 1
    assert tokenizer.pad_token_id == model.config.pad_token_id != tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert ours.unique().numel() == len(rows), "scores that differ, so that equality means something"
    for side in ("right", "left"):
        difference = (transformers_scores(model, tokenizer, side) - ours).abs().max().item()
        assert difference < 1e-4, f"{name}: scores padded on the {side} differ by {difference}"
    # What the padding is for: with the end mark in its place the token before it is scored.
    model.config.pad_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    wrong = (transformers_scores(model, tokenizer, "left") - ours).abs().max().item()
    assert wrong > 5e-4, f"{name}: another padding changes scores by {wrong} only"
    print(f"{name}: scores of {len(rows)} padded texts agree (largest difference of the last side {difference:.1e})")


with tempfile.TemporaryDirectory() as temp:
    work = pathlib.Path(temp)
    for name, also in (("a model", []), ("a model with other heads", ["continue", "copy"])):
        for command in ("simulate", "dataset", "reward"):
            run(rluf, command, source / "tests/pipeline/tiny.ini", f"--run.directory={work}/{name}", "--reward.objective=love",
                "--love.learning_rate=0.05", "--love.max_steps=8", f"--love.also={', '.join(also)}")
        compare(name, work / name / "models/love", work, also)
        run(rluf, "export", work / name / "models/love", work / "exported" / name)
        compare("its export", work / "exported" / name, work, also)
    if smollm2.exists():
        run(pathlib.Path(os.environ["RLUF_BUILD"]) / "reward_folder", smollm2, work / "scorer")
        compare("SmolLM2-135M with a random head", work / "scorer", work)
    else:
        print("SmolLM2-135M: skipped, jobs/setup.sh --model smollm2 has not been run")
