"""Adapters against PEFT: it reads ours, gives the same logits, scores and gradients, and merges them to what our folder holds."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

PARITY = os.path.join(os.environ["RLUF_BUILD"], "model_parity")


def run_parity(folder, documents, out, *lora):
    out.mkdir(parents=True)
    (out / "ids.json").write_text(json.dumps(documents))
    subprocess.run([PARITY, folder, out / "ids.json", out, "lora", *map(str, lora)], check=True)
    return load_file(out / "model.safetensors")


def largest(a, b):
    return (a - b).abs().max().item()


def compare(kind, auto, model, documents, place, first_layer):
    folder, out = place / kind, place / f"out {kind}"
    model.save_pretrained(folder)
    ours = run_parity(folder, documents, out, 4, 6.0, first_layer)
    adapter = out / "resaved" / "adapter"
    adapted = PeftModel.from_pretrained(auto.from_pretrained(folder, dtype=torch.float32), adapter, is_trainable=True)
    assert adapted.peft_config["default"].r == 4 and adapted.peft_config["default"].lora_alpha == 6.0
    merged = auto.from_pretrained(out / "resaved", dtype=torch.float32)
    plain = auto.from_pretrained(folder, dtype=torch.float32)
    loss = 0
    for i, document in enumerate(documents):
        ids = torch.tensor([document])
        found = adapted(input_ids=ids).logits[0]
        expected = ours["scores"][i] if "scores" in ours else ours[f"logits/{i}"]
        assert largest(found, expected) < 2e-4, f"{kind}: document {i} differs from PEFT by {largest(found, expected)}"
        assert largest(merged(input_ids=ids).logits[0], expected) < 2e-4, f"{kind}: the merged folder differs"
        assert largest(plain(input_ids=ids).logits[0], expected) > 1e-2, f"{kind}: the adapters do nothing"
        loss = loss + (found.sum() if "scores" in ours else torch.nn.functional.cross_entropy(found[:-1], ids[0, 1:]))
    loss.backward()
    compared = 0
    for key, parameter in adapted.named_parameters():
        if not parameter.requires_grad:
            continue
        name = key.removeprefix("base_model.model.").replace(".default.", ".").replace(".modules_to_save", "")
        gradient = ours["grad/" + name]
        relative = ((parameter.grad - gradient).norm() / parameter.grad.norm()).item()
        assert relative < 1e-4, f"{kind}: gradient of {name} differs by {relative} of its norm"
        compared += 1
    layers = model.config.num_hidden_layers - first_layer
    assert compared == layers * 7 * 2 + ("scores" in ours) == sum(name.startswith("grad/") for name in ours)
    print(f"{kind}: PEFT reads the adapters; logits, gradients and merged folder agree")


def main():
    torch.manual_seed(0)
    settings = dict(vocab_size=211, hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=6,
                    num_key_value_heads=2, max_position_embeddings=256)
    documents = [torch.randint(1, 211, (n,)).tolist() for n in (5, 40, 17)]
    with tempfile.TemporaryDirectory() as temp:
        place = pathlib.Path(temp)
        for kind, tied, first_layer in (("tied", True, 0), ("untied, last two layers", False, 1)):
            model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=tied, **settings))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.05)
            compare(kind, AutoModelForCausalLM, model, documents, place, first_layer)
        scorer = LlamaForSequenceClassification(LlamaConfig(num_labels=1, pad_token_id=0, **settings))
        with torch.no_grad():
            for parameter in scorer.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        compare("scorer", AutoModelForSequenceClassification, scorer, documents, place, 0)


if __name__ == "__main__":
    sys.exit(main())
