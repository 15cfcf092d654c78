"""Logits, gradients and saved folders against transformers: small random Llamas of every kind, then SmolLM2-135M."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

PARITY = os.path.join(os.environ["RLUF_BUILD"], "model_parity")
SMOLLM2 = pathlib.Path(os.environ["RLUF_SOURCE"]) / ".deps/models/smollm2"


def run_parity(folder, documents, out):
    ids = pathlib.Path(out) / "ids.json"
    ids.parent.mkdir(parents=True, exist_ok=True)
    ids.write_text(json.dumps(documents))
    subprocess.run([PARITY, folder, ids, out], check=True)
    return load_file(pathlib.Path(out) / "model.safetensors")


def largest(a, b):
    return (a - b).abs().max().item()


def compare(name, folder, documents, logit_tolerance, out):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours = run_parity(folder, documents, out)
    loss = 0
    for i, document in enumerate(documents):
        ids = torch.tensor([document])
        logits = model(input_ids=ids).logits[0]
        difference = largest(logits, ours[f"logits/{i}"])
        assert difference < logit_tolerance, f"{name}: logits of document {i} differ by {difference}"
        loss = loss + torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:])
    loss.backward()
    check_gradients(name, model, ours)
    resaved = AutoModelForCausalLM.from_pretrained(os.path.join(out, "resaved"))
    assert resaved.dtype == torch.bfloat16
    for (key, a), (_, b) in zip(model.state_dict().items(), resaved.state_dict().items()):
        assert torch.equal(a.to(torch.bfloat16), b), f"{name}: {key} changed on the way out"
    print(f"{name}: logits, gradients and saved folder agree")


def check_gradients(name, model, ours):
    compared = 0
    for key, parameter in model.named_parameters():
        if key == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        expected = parameter.grad
        relative = ((expected - ours["grad/" + key]).norm() / (expected.norm() + 1e-12)).item()
        assert relative < 1e-4, f"{name}: gradient of {key} differs by {relative} of its norm"
        compared += 1
    assert compared >= 3


def small(**changes):
    settings = dict(vocab_size=211, hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=6,
                    num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True)
    settings.update(changes)
    return LlamaConfig(**settings)


def main():
    torch.manual_seed(0)
    documents = [torch.randint(0, 211, (n,)).tolist() for n in (5, 1 + 1, 40, 17, 100)]
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64, "rope_theta": 10000.0}
    kinds = {"grouped tied": small(), "untied": small(tie_word_embeddings=False), "one kv head": small(num_key_value_heads=1),
             "llama3 rope": small(rope_parameters=llama3), "wide heads": small(head_dim=16)}
    with tempfile.TemporaryDirectory() as temp:
        for name, config in kinds.items():
            folder = os.path.join(temp, name)
            model = LlamaForCausalLM(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.05)
            sharded = {"max_shard_size": "60KB"} if name == "untied" else {}
            model.save_pretrained(folder, **sharded)
            compare(name, folder, documents, 2e-4, os.path.join(temp, "out " + name))

        scorer = LlamaForSequenceClassification(small(num_labels=2, pad_token_id=0))
        with torch.no_grad():
            scorer.score.weight.normal_()
        folder = os.path.join(temp, "scorer")
        scorer.save_pretrained(folder)
        documents = [[token or 1 for token in document] for document in documents]
        ours = run_parity(folder, documents, os.path.join(temp, "out scorer"))
        scores = torch.cat([scorer(input_ids=torch.tensor([d])).logits for d in documents])
        assert largest(scores, ours["scores"]) < 1e-4
        scores.sum().backward()
        check_gradients("scorer", scorer, ours)
        again = AutoModelForSequenceClassification.from_pretrained(os.path.join(temp, "out scorer", "resaved"), dtype=torch.float32)
        assert largest(again(input_ids=torch.tensor([documents[2]])).logits, ours["scores"][2:3]) < 0.1  # bfloat16 weights
        print("scorer: scores and gradients agree, transformers opens the folder")

        if SMOLLM2.exists():
            documents = [torch.randint(0, 49152, (n,)).tolist() for n in (33, 120)]
            compare("SmolLM2-135M", str(SMOLLM2), documents, 2e-4, os.path.join(temp, "out smollm2"))
        else:
            print("SmolLM2-135M: skipped, jobs/setup.sh --model smollm2 has not been run")


if __name__ == "__main__":
    sys.exit(main())
