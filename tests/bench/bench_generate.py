"""Generation against transformers' generate(): same weights, prompts, threads, type and number of new tokens.

bench_generate.py MODEL_FOLDER decode|rollout
decode: one prompt, greedy. rollout: four samples of each of eight prompts at temperature 1, in one batch; the prompts
have their real lengths, so transformers pads them on the left and computes each prompt's prefill once a sample.
Nothing but its length ends a response, so both sides make the same number of tokens.
"""
import json, sys

from measure import REPETITIONS, THREADS, Worker, alternate, log_file, report, rows_of, skip, timed

try:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    skip(error)

base, kind = sys.argv[1:3]
torch.set_num_threads(THREADS)
PEER = f"transformers {transformers.__version__}, torch {torch.__version__}"
NEW_TOKENS, LONGEST_PROMPT = (64, 200) if kind == "decode" else (48, 200)
NUM_PROMPTS, NUM_SAMPLES = (1, 1) if kind == "decode" else (8, 4)


def prompts():
    tokenizer = AutoTokenizer.from_pretrained(base)
    found, texts = [], set()
    for row in rows_of(log_file(), 400):
        text = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) <= LONGEST_PROMPT and text not in texts and (kind == "rollout" or len(ids) > 40):
            found.append(ids)
            texts.add(text)
        if len(found) == NUM_PROMPTS:
            return found
    sys.exit("the log has too few short prompts")


def peer_generate(model, given, samples, tokens, greedy, seed):
    longest = max(map(len, given))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in given])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in given])
    sampling = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    torch.manual_seed(seed)
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens,
                             num_return_sequences=samples, **sampling)
    assert out.shape == (len(given) * samples, longest + tokens)
    return out[:, longest:].tolist()


def largest_difference(model, given, answer):
    """Our log-probabilities of our own tokens against the peer's of the same tokens."""
    worst = 0.0
    for prompt, samples, log_probs in list(zip(given, answer["tokens"], answer["log_probs"]))[:2]:
        for tokens, ours in zip(samples, log_probs):
            with torch.inference_mode():
                logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1:-1].float()
            theirs = torch.log_softmax(logits, 1).gather(1, torch.tensor(tokens).unsqueeze(1)).squeeze(1)
            difference = (theirs - torch.tensor(ours)).abs()
            worst = max(worst, (difference.max() if model.dtype == torch.float32 else difference.mean()).item())
    return worst


def bench(dtype, given):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32 if dtype == "f32" else torch.bfloat16,
                                                 attn_implementation="sdpa").eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    worker = Worker("bench_generate", base, dtype)
    greedy = kind == "decode"

    def ask(seed, tokens=NEW_TOKENS, temperature=0 if greedy else 1):
        return worker.ask(json.dumps({"prompts": given, "samples": NUM_SAMPLES, "tokens": tokens, "seed": seed,
                                      "temperature": temperature}))

    answer = ask(1)
    difference = largest_difference(model, given, answer)
    if dtype == "f32":
        same = f"log-probabilities of our tokens differ by {difference:.0e} at most"
        assert difference < 2e-3, same
    else:
        same = f"log-probabilities of our tokens differ by {difference:.3f} on average"
    if greedy:
        mine, other = answer["tokens"][0][0], peer_generate(model, given, 1, NEW_TOKENS, True, 1)[0]
        equal = next((i for i, (a, b) in enumerate(zip(mine, other)) if a != b), NEW_TOKENS)
        same = f"{equal} of {NEW_TOKENS} greedy tokens equal, " + same
        assert equal == NEW_TOKENS or dtype == "bf16", same
    seeds = iter(range(2, 1000))
    ours, peers = alternate(lambda: ask(next(seeds))["seconds"],
                            lambda: timed(lambda: peer_generate(model, given, NUM_SAMPLES, NEW_TOKENS, greedy, next(seeds)))[0],
                            REPETITIONS)
    worker.close()
    total = NUM_PROMPTS * NUM_SAMPLES * NEW_TOKENS
    lengths = sorted(map(len, given))
    report(f"{kind} {dtype}", f"{NUM_PROMPTS} x {NUM_SAMPLES} x {NEW_TOKENS} tokens = {total}, "
           f"prompts of {lengths[0]} to {lengths[-1]} tokens", same, ours, peers, 3.0 if greedy else 4.0, PEER)


for dtype in ("f32", "bf16"):
    bench(dtype, prompts())
