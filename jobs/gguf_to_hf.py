"""gguf_to_hf.py PACKAGE_OR_FILE OUT: turns a quantised GGUF model into a Hugging Face folder in float32.

The weights are the de-quantised ones: what the file holds, not what the model was before it was quantised.
PACKAGE_OR_FILE is a .gguf file, or an installed Python package that carries one.
"""
import importlib.util
import os
import pathlib
import sys


def find_gguf(source):
    path = pathlib.Path(source)
    if path.is_file():
        return path
    spec = importlib.util.find_spec(source)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{source} is neither a file nor an installed package: run jobs/setup.sh --model smollm2")
    files = sorted(p for folder in spec.submodule_search_locations for p in pathlib.Path(folder).rglob("*.gguf"))
    if len(files) != 1:
        sys.exit(f"{source} holds {len(files)} .gguf files, one was expected")
    return files[0]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched from anywhere
    import torch
    import transformers
    from transformers.utils.quantization_config import GgufConfig

    source, out = find_gguf(sys.argv[1]), sys.argv[2]
    where = {"gguf_file": source.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **where)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        source.parent, **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32)
    if getattr(model.config, "quantization_config", None) is not None:
        del model.config.quantization_config  # plain float32 from here on
    tokenizer.save_pretrained(out)
    model.save_pretrained(out)
    for needed in ("config.json", "model.safetensors", "tokenizer.json"):
        if not os.path.exists(os.path.join(out, needed)):
            sys.exit(f"{needed} was not written: this version of transformers ({transformers.__version__}) does not do it")
    print(f"{out}: {sum(p.numel() for p in model.parameters()):,} parameters")


main()
