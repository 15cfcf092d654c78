"""Greedy continuations by 64 tokens of 20 prompts, prefilled together and decoded as one batch, against transformers
one prompt at a time: SmolLM2-135M-Instruct in float32."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PARITY = os.path.join(os.environ["RLUF_BUILD"], "model_parity")
SMOLLM2 = pathlib.Path(os.environ["RLUF_SOURCE"]) / ".deps/models/smollm2"
NEW_TOKENS = 64
PROMPTS = """How do tides work?
Write a haiku about rust.
What is 17 times 23?
Name three rivers in Europe and say one thing about each.
Explain recursion to a child.
Translate "good morning" into French, Spanish and German.
Why is the sky blue?
Give me a recipe for pancakes.
Summarise the plot of Hamlet in two sentences.
What should I say to a friend who lost a job?
def fibonacci(n):
List the planets by size.
Is a tomato a fruit?
Tell me a joke about computers.
How can I sleep better?
What is the capital of Australia, and why is it not Sydney?
Write a short letter that declines an invitation.
What happened in 1969?
Compare cats and dogs as pets.
I feel lonely today.""".splitlines()


def main():
    if not SMOLLM2.exists():
        print("skipped: jobs/setup.sh --model smollm2 has not been run")
        return 77
    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2)
    prompts = []
    for text in PROMPTS:
        chat = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False)
        prompts.append(tokenizer(chat, add_special_tokens=False)["input_ids"])
    assert len(prompts) == 20
    with tempfile.TemporaryDirectory() as temp:
        ids = pathlib.Path(temp) / "ids.json"
        ids.write_text(json.dumps(prompts))
        subprocess.run([PARITY, SMOLLM2, ids, temp, str(NEW_TOKENS)], check=True)
        ours = json.loads((pathlib.Path(temp) / "greedy.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype=torch.float32)
    for text, prompt, mine in zip(PROMPTS, prompts, ours):
        with torch.no_grad():  # no end of text, so that every prompt gives all its tokens
            whole = model.generate(torch.tensor([prompt]), do_sample=False, min_new_tokens=NEW_TOKENS,
                                   max_new_tokens=NEW_TOKENS, eos_token_id=None, pad_token_id=0)
        want = whole[0, len(prompt):].tolist()
        assert mine == want, f"{text!r}: {mine} instead of {want}"
    print(f"{len(prompts)} prompts, {NEW_TOKENS} greedy tokens each: equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
