"""Model folders that rluf writes, in other programs: transformers answers as `rluf generate`, llama.cpp's converter takes them."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

source, rluf = pathlib.Path(os.environ["RLUF_SOURCE"]), os.environ["RLUF"]
smollm2, llama_cpp = source / ".deps/models/smollm2", source / ".deps/llama.cpp"
prompts = [[{"role": "user", "content": "What is a fjord?"}],
           [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}]]
NUM_TOKENS = 12


def run(*words):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout + result.stderr)[-2000:]
    return result.stdout


def check_answers(name, folder, work):
    """The folder's own chat template, tokenizer and generation settings, as a user of transformers takes them."""
    (work / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    ours = run(rluf, "generate", folder, work / "prompts.jsonl", "--policy.temperature=0", f"--policy.max_new_tokens={NUM_TOKENS}")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for prompt, line in zip(prompts, ours.splitlines(), strict=True):
        # A template may put a system message of its own before others; rluf puts none.
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True, return_tensors="pt")["input_ids"]
        if prompt[0]["role"] != "system" and name != "a trained model":
            text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in prompt) + "<|im_start|>assistant\n"
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NUM_TOKENS, do_sample=False)
        answer = tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)
        assert answer == json.loads(line)["response"] != "", f"{name}: {answer!r} is not {json.loads(line)['response']!r}"
    print(f"{name}: transformers gives the same {len(prompts)} answers", flush=True)


def check_converter(folder, work):
    sys.path.insert(0, str(llama_cpp / "gguf-py"))
    from gguf import GGUFReader
    from safetensors.torch import load_file

    run(sys.executable, llama_cpp / "convert_hf_to_gguf.py", folder, "--outtype", "f32", "--outfile", work / "model.gguf")
    reader = GGUFReader(work / "model.gguf")
    field = lambda key: reader.get_field(key).contents()
    config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    assert field("general.architecture") == "llama" and field("llama.block_count") == config["num_hidden_layers"]
    assert field("tokenizer.ggml.eos_token_id") == config["eos_token_id"] and "im_start" in field("tokenizer.chat_template")
    assert len(field("tokenizer.ggml.tokens")) == config["vocab_size"]
    tensors = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    assert len(tensors) == len(weights)
    layer = config["num_hidden_layers"] - 1
    for theirs, ours in (("token_embd", "model.embed_tokens"), (f"blk.{layer}.ffn_down", f"model.layers.{layer}.mlp.down_proj"),
                         (f"blk.{layer}.attn_v", f"model.layers.{layer}.self_attn.v_proj"), ("output_norm", "model.norm")):
        assert torch.equal(tensors[theirs + ".weight"], weights[ours + ".weight"]), theirs
    print(f"llama.cpp's converter: {len(tensors)} tensors", flush=True)


with tempfile.TemporaryDirectory() as temp:
    work = pathlib.Path(temp)
    for command in ("simulate", "dataset", "sft"):
        run(rluf, command, source / "tests/pipeline/tiny.ini", f"--run.directory={work}/run", "--sft.learning_rate=0.02", "--sft.max_steps=20")
    check_answers("a trained model", work / "run/models/reference", work)
    if not smollm2.exists():
        print("SmolLM2-135M: skipped, jobs/setup.sh --model smollm2 has not been run")
        sys.exit(0)
    run(rluf, "export", smollm2, work / "exported")
    check_answers("SmolLM2-135M", work / "exported", work)
    if not (llama_cpp / "convert_hf_to_gguf.py").exists():
        print("llama.cpp's converter: skipped, it is not in .deps/llama.cpp (jobs/setup.sh --tests puts it there)")
        sys.exit(0)
    check_converter(work / "exported", work)
