"""Token ids of more than 2 MB of mixed text against Hugging Face tokenizers, and back; chat templates against theirs."""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer

DRIVER = os.path.join(os.environ["RLUF_BUILD"], "tokenizer_driver")
SOURCE = pathlib.Path(os.environ["RLUF_SOURCE"])
SMOLLM2 = SOURCE / ".deps/models/smollm2"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def mixed_texts(total_bytes):
    random.seed(7)
    code = [p.read_bytes() for p in sorted(SOURCE.glob("src/**/*.cpp"))[:40]]
    words = "the model's answer isn't what they'd hoped for; we'll see I've 3.14159 1,000,000 caf\u00e9 na\u00efve \u00dcber".split()
    alphabets = ["\u4e2d\u6587\u5b57\u7b26\u6d4b\u8bd5\u3002\uff0c", "\u3072\u3089\u304c\u306a\u30ab\u30bf", "\ud55c\uad6d\uc5b4", "\u0420\u0443\u0441\u0441\u043a\u0438\u0439",
                 "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\U0001f600\U0001f44d\U0001f3fd\u2764\ufe0f\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0e44\u0e17\u0e22", "\u00b2\u00b3\u00bd\u2167"]
    spaces = [" ", "  ", "\t", "\n", "\n\n", "\r\n", "   \n", "\u00a0", "\u3000", "\u2028", " \t "]
    specials = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "</s>"]
    texts, size = [], 0
    while size < total_bytes:
        kind = random.randrange(6)
        if kind == 0:
            data = random.choice(code)
            start = random.randrange(len(data))
            text = data[start:start + random.randrange(2000)]
        elif kind == 1:
            text = "".join(random.choice(words) + random.choice(spaces) for _ in range(random.randrange(200))).encode()
        elif kind == 2:
            text = "".join(random.choice(random.choice(alphabets)) for _ in range(random.randrange(300))).encode("utf-8", "ignore")
        elif kind == 3:
            text = bytes(random.randrange(256) for _ in range(random.randrange(100)))  # mostly broken UTF-8
        elif kind == 4:
            text = "".join(random.choice(spaces) for _ in range(random.randrange(60))).encode() + b"a" * random.randrange(300)
        else:
            text = (random.choice(words) + " " + random.choice(words)).encode() * random.randrange(50)
        texts.append(text)
        size += len(text)
    return texts, specials


def compare(name, tokenizer_file, oracle, chats=()):
    texts, specials = mixed_texts(2_200_000)
    with tempfile.TemporaryDirectory() as temp:
        given, out = os.path.join(temp, "in.json"), os.path.join(temp, "out.json")
        spelled = [s.encode() for s in specials]
        document = {"texts": [list(t) for t in texts + spelled]}
        if chats:
            document["chats"] = chats
        pathlib.Path(given).write_text(json.dumps(document))
        subprocess.run([DRIVER, tokenizer_file, given, out], check=True)
        result = json.loads(pathlib.Path(out).read_text())
    expected = oracle.encode_batch([t.decode("utf-8", "replace") for t in texts], add_special_tokens=False)
    special_ids = set(oracle.get_added_tokens_decoder())
    compared = 0
    for text, ids, back, want in zip(texts, result["ids"], result["bytes"], expected):
        valid = text.decode("utf-8", "replace")
        if any(s in valid for s in specials):
            continue
        assert ids == want.ids, f"{name}: {valid[:80]!r}: {ids[:20]} instead of {want.ids[:20]}"
        if len(want.ids) and bytes(back) != valid.encode():  # bytes without a token are lost in both
            assert bytes(back).decode("utf-8", "replace") == oracle.decode(ids), f"{name}: decoding {valid[:80]!r}"
        compared += len(text)
    assert compared > 1_900_000, compared
    for text, ids, back in zip(spelled, result["ids"][len(texts):], result["bytes"][len(texts):]):
        assert not special_ids & set(ids), f"{name}: {text} of a user became a special token"
        assert bytes(back) == text
    print(f"{name}: {compared} bytes equal, special spellings stay text")
    return result.get("chats", [])


def smollm2():
    if not SMOLLM2.exists():
        print("SmolLM2: skipped, jobs/setup.sh --model smollm2 has not been run")
        return False
    file = str(SMOLLM2 / "tokenizer.json")
    system = {"role": "system", "content": "You are short."}
    chats = [[system, {"role": "user", "content": "Hi\n\nthere"}],
             [system, {"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": " 3 "}]]
    ours = compare("SmolLM2", file, Tokenizer.from_file(file), chats)
    hf = AutoTokenizer.from_pretrained(SMOLLM2)
    for chat, ids in zip(chats, ours):
        text = hf.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        want = hf(text, add_special_tokens=False)["input_ids"]
        assert ids == want, f"chatml: {ids} instead of {want}"
    print("SmolLM2: chat template equal to transformers'")
    return True


def llama3_like():
    """A byte-level BPE of Llama 3's form trained on our sources, as tokenizer.json and as tokenizer.model."""
    from tokenizers import trainers
    oracle = Tokenizer(models.BPE(ignore_merges=True))
    oracle.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated", False),
                                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    oracle.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    oracle.train([str(p) for p in SOURCE.glob("src/**/*.cpp")], trainer)
    with tempfile.TemporaryDirectory() as temp:
        file = os.path.join(temp, "tokenizer.json")
        oracle.add_special_tokens([AddedToken(t, special=True) for t in ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")])
        oracle.save(file)
        compare("Llama 3 form, tokenizer.json", file, oracle)


def main():
    llama3_like()
    smollm2()


if __name__ == "__main__":
    sys.exit(main())
