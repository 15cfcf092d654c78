"""Losses and gradients of all optimizers on one small Llama: against TRL for online DPO (DPO), RLOO and GRPO, and written
out in torch for all of them. Drawn responses come from a third, older policy, so ratios are not 1 and some are clipped."""
import json, os, subprocess, sys, tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}

try:
    import torch
    import torch.nn.functional as F
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

torch.manual_seed(3)
VOCAB, PROMPTS, SAMPLES = 40, 3, 4
work = tempfile.TemporaryDirectory()
config = LlamaConfig(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                     num_key_value_heads=1, head_dim=8, max_position_embeddings=64, tie_word_embeddings=False, eos_token_id=1,
                     bos_token_id=None, pad_token_id=0)


def moved(model, size, seed):
    """A copy with noise on its weights."""
    copy = LlamaForCausalLM(config)
    copy.load_state_dict(model.state_dict())
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=noise))
    return copy


reference = moved(LlamaForCausalLM(config), 0.15, 1)
old = moved(reference, 0.03, 2)  # it drew
policy = moved(old, 0.02, 3)  # it is trained
for name, model in (("policy", policy), ("reference", reference)):
    model.save_pretrained(f"{work.name}/{name}", safe_serialization=True)


def token_log_probs(model, prompt, response):
    logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1:-1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(response)[:, None])[:, 0]


# --- one round of facts ---
draw = torch.Generator().manual_seed(11)
integers = lambda low, high, n: torch.randint(low, high, (n,), generator=draw).tolist()
prompts = [integers(2, VOCAB, n) for n in (3, 6, 4)]
candidates, baselines = [], []
for i, prompt in enumerate(prompts):
    for k in range(SAMPLES):
        tokens = integers(2, VOCAB, 2 + (3 * i + 2 * k) % 7) + [1]
        with torch.no_grad():
            drawn, fixed = token_log_probs(old, prompt, tokens), token_log_probs(reference, prompt, tokens)
        rewards = torch.rand(2, generator=draw, dtype=torch.float64).tolist()
        candidates.append({"tokens": tokens, "log_probs": drawn.tolist(), "log_ratio": float((drawn.double() - fixed.double()).sum()),
                           "satisfied": (i, k) not in ((0, 1), (1, 0), (1, 3)), "objective_rewards": rewards,
                           "reward": 0.7 * rewards[0] + 0.3 * rewards[1]})
    baselines.append({"tokens": integers(2, VOCAB, 4) + [1], "satisfied": True, "reward": 0.5})
defaults = {"weights_apply_to": "reward", "length_norm": "none", "num_samples": SAMPLES, "kl_max": 0.4, "dpo_beta": 0.3,
            "codpo_lambda": 0.7, "clip_range": 0.05, "kl_penalty": 0.2}
names = ["crraft", "raft", "crpg", "codpo", "best_of_n", "online_dpo", "rloo", "grpo"]
free = [dict(one, satisfied=True) for one in candidates]  # TRL knows no judges
rounds = []
for name in names:
    for given, more in ((candidates, {}), (free, {}), (candidates, {"weights_apply_to": "gradients"})):
        rounds.append({"options": dict(defaults, optimizer=name, **more), "candidates": given})
for name in ("crraft", "crpg"):
    rounds.append({"options": dict(defaults, optimizer=name, length_norm="tokens"), "candidates": candidates})
for name in ("rloo", "grpo"):
    rounds.append({"options": dict(defaults, optimizer=name, kl_penalty=0.0), "candidates": free})
for one in rounds:
    one |= {"prompts": prompts, "baselines": baselines, "weights": [0.7, 0.3]}
pairs = [[prompts[i], free[i * SAMPLES + a]["tokens"], free[i * SAMPLES + b]["tokens"]]
         for i, a, b in ((0, 0, 2), (0, 3, 1), (1, 1, 2), (2, 2, 0))]  # of the warm-up
json.dump({"policy": f"{work.name}/policy", "reference": f"{work.name}/reference", "rounds": rounds,
           "dpo_beta": defaults["dpo_beta"], "pairs": pairs},
          open(f"{work.name}/cases.json", "w"))
program = os.path.join(os.environ["RLUF_BUILD"], "optimizers_driver")
subprocess.run([program, f"{work.name}/cases.json", f"{work.name}/out.json"], check=True)
results = json.load(open(f"{work.name}/out.json"))


# --- written out ---
clipped = {"rloo": [], "grpo": []}  # where the surrogate is flat


def loss_of(options, given, rewards):
    """The loss that the papers describe, of one scalar reward a candidate; None if there is nothing to train on."""
    name, beta = options["optimizer"], options["kl_penalty"]
    log_probs = [token_log_probs(policy, prompts[j // SAMPLES], c["tokens"]).double() for j, c in enumerate(given)]
    with torch.no_grad():
        fixed = [token_log_probs(reference, prompts[j // SAMPLES], c["tokens"]).double() for j, c in enumerate(given)]
    drawn = [torch.tensor(c["log_probs"], dtype=torch.float64) for c in given]
    good = [c["satisfied"] for c in given]
    ratio = [c["log_ratio"] for c in given]
    constrained = torch.tensor([r if ok else 0.0 for r, ok in zip(rewards, good)], dtype=torch.float64)
    eps = options["clip_range"]
    per_token = options["length_norm"] == "tokens"
    log_pi = lambda j: log_probs[j].mean() if per_token else log_probs[j].sum()
    groups = [range(i * SAMPLES, (i + 1) * SAMPLES) for i in range(PROMPTS)]
    if name in ("crraft", "raft", "best_of_n"):
        total = 0
        for i, group in enumerate(groups):
            kept = [j for j in group if good[j] and (name != "crraft" or ratio[j] <= options["kl_max"])]
            if kept:
                best = max(kept, key=lambda j: rewards[j])
                total = total - (rewards[best] if name == "crraft" else 1.0) * log_pi(best)
            elif name == "crraft" and baselines[i]["satisfied"]:
                a_bar = token_log_probs(policy, prompts[i], baselines[i]["tokens"]).double()
                total = total - baselines[i]["reward"] * (a_bar.mean() if per_token else a_bar.sum())
        return total / PROMPTS
    if name == "crpg":
        faded = torch.stack([torch.clamp(torch.tensor(1 - r / options["kl_max"]), min=0) * c for r, c in zip(ratio, constrained)])
        advantages = faded - faded.mean()
        return -sum(a * log_pi(j) for j, a in enumerate(advantages)) / len(given)
    if name in ("codpo", "online_dpo"):
        total = 0
        for group in groups:
            if name == "codpo":
                plus, minus = [j for j in group if good[j]], [j for j in group if not good[j]]
                if not plus:
                    continue
                a, b = max(plus, key=lambda j: rewards[j]), min(minus or plus, key=lambda j: rewards[j])
            else:
                a, b = max(group, key=lambda j: constrained[j]), min(group, key=lambda j: constrained[j])
            margin = (log_probs[a] - fixed[a]).sum() - (log_probs[b] - fixed[b]).sum()
            objective = F.logsigmoid(options["dpo_beta"] * margin)
            if name == "codpo":
                objective = objective + options["codpo_lambda"] * log_probs[a].mean()
            total = total - objective
        return total / PROMPTS
    total = 0
    for group in groups:
        r = constrained[list(group)]
        if name == "rloo":
            r = r - beta * torch.tensor([ratio[j] for j in group], dtype=torch.float64)
            advantages = r - (r.sum() - r) / (SAMPLES - 1)
        else:
            advantages = (r - r.mean()) / (r.std() + 1e-4)
        for j, a in zip(group, advantages):
            q = torch.exp(log_probs[j] - drawn[j])
            if name == "rloo":
                q = q.prod()
            loss = -torch.minimum(q * a, q.clamp(1 - eps, 1 + eps) * a)
            clipped[name] += (q.clamp(1 - eps, 1 + eps) * a < q * a).flatten().tolist()
            if name == "grpo":
                d = fixed[j] - log_probs[j]
                loss = (loss + beta * (torch.exp(d) - d - 1)).mean()
            total = total + loss
    return total / len(given)


checked = 0


def same(what, got, loss, gradients, tolerance=1e-5):
    global checked
    assert abs(got["loss"] - float(loss)) <= tolerance * max(1, abs(float(loss))), f"{what}: loss {got['loss']}, not {float(loss)}"
    size = torch.sqrt(sum((g.double() ** 2).sum() for g in gradients.values()))
    assert size > 1e-4, f"{what}: no gradient, nothing is compared"
    for name, gradient in gradients.items():
        difference = (torch.tensor(got["gradients"][name], dtype=torch.float64) - gradient.double().flatten()).norm()
        assert difference <= tolerance * size, f"{what}: gradient of {name} is {difference / size:.1e} of the whole away"
    checked += 1


def gradients_of(loss):
    policy.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in policy.named_parameters()}


for one, got in zip(rounds, results):
    options, given = one["options"], one["candidates"]
    if options["weights_apply_to"] == "gradients":
        loss = sum(w * loss_of(options, given, [c["objective_rewards"][o] for c in given]) for o, w in enumerate(one["weights"]))
    else:
        loss = loss_of(options, given, [c["reward"] for c in given])
    same(f"{options['optimizer']}, written out", got, loss.detach(), gradients_of(loss))

for name, flat in clipped.items():
    assert any(flat) and not all(flat), f"{name}: {sum(flat)} of {len(flat)} are clipped, so one side is not compared"

# --- TRL on the same batch ---
words = {"<pad>": 0, "<eos>": 1} | {f"t{i}": i for i in range(2, VOCAB)}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<pad>")), pad_token="<pad>",
                                    eos_token="<eos>", unk_token="<pad>")
tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
quiet = {"output_dir": f"{work.name}/trl", "report_to": "none", "use_cpu": True, "bf16": False, "gradient_checkpointing": False}
result_for = lambda name, **more: next(got for one, got in zip(rounds, results) if one["options"] == dict(
    defaults, optimizer=name, **more) and one["candidates"] is free)


def with_weights_of(model):
    """TRL makes its reference from the folder that a model is from, and gets ours instead."""
    copy = LlamaForCausalLM.from_pretrained(f"{work.name}/policy")
    copy.load_state_dict(model.state_dict())
    return copy


def trl_loss(trainer, compute):
    model = trainer.model
    model.load_state_dict(policy.state_dict())
    model.zero_grad()
    loss = compute(model)
    loss.backward()
    return loss.detach(), {name.removeprefix("module."): p.grad.clone() for name, p in model.named_parameters()}


def sampled(kind, kind_config, **settings):
    """One batch of an online trainer whose responses and rewards are ours."""
    penalty = settings.pop("kl_penalty")
    arguments = kind_config(per_device_train_batch_size=len(free), num_generations=SAMPLES, beta=penalty,
                            epsilon=defaults["clip_range"], max_completion_length=16, **settings, **quiet)
    trainer = kind(model=with_weights_of(old), reward_funcs=lambda completions, **_: [0.0] * len(completions), args=arguments,
                   train_dataset=Dataset.from_list([{"prompt": "t2"}] * len(free)), processing_class=tokenizer)
    if penalty:
        trainer.ref_model.load_state_dict(reference.state_dict())
    asked, answers = [prompts[j // SAMPLES] for j in range(len(free))], [c["tokens"] for c in free]
    texts = [""] * len(free)
    answer = (asked, answers, None, texts, None, {}, None, None) if kind is GRPOTrainer else (asked, answers, texts)
    trainer._generate = lambda _: answer
    trainer._calculate_rewards = lambda *_: torch.tensor([[c["reward"]] for c in free])
    trainer.model.eval()  # there is no dropout; so that nothing is divided by accumulation steps
    inputs = trainer._generate_and_score_completions([{"prompt": "t2"}] * len(free))
    if kind is GRPOTrainer:
        with torch.no_grad():
            ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
            mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
            inputs["old_per_token_logps"] = trainer._get_per_token_logps_and_entropies(
                trainer.model, ids, mask, inputs["completion_ids"].size(1))[0]
    return trl_loss(trainer, lambda model: trainer._compute_loss(model, inputs))


for penalty in (0.2, 0.0):
    same(f"rloo, TRL, penalty {penalty}", result_for("rloo", **({} if penalty else {"kl_penalty": 0.0})),
         *sampled(RLOOTrainer, RLOOConfig, kl_penalty=penalty))
    same(f"grpo, TRL, penalty {penalty}", result_for("grpo", **({} if penalty else {"kl_penalty": 0.0})),
         *sampled(GRPOTrainer, GRPOConfig, kl_penalty=penalty, loss_type="grpo",
                  use_bias_correction_kl=False))  # as in the paper, where no ratio stands before the KL

got = result_for("online_dpo")
dpo = DPOTrainer(model=with_weights_of(policy), ref_model=with_weights_of(reference), processing_class=tokenizer,
                 args=DPOConfig(beta=defaults["dpo_beta"], **quiet),
                 train_dataset=Dataset.from_list([{"prompt": "t2", "chosen": " t3", "rejected": " t4"}]))


def trl_dpo(pairs):
    """Of prompts with their chosen and rejected responses."""
    rows = [(pair[0], pair[side]) for side in (1, 2) for pair in pairs]
    width = max(len(prompt) + len(response) for prompt, response in rows)
    padded = lambda rows: torch.tensor([row + [0] * (width - len(row)) for row in rows])
    batch = {"input_ids": padded([p + r for p, r in rows]), "attention_mask": padded([[1] * len(p + r) for p, r in rows]),
             "completion_mask": padded([[0] * len(p) + [1] * len(r) for p, r in rows])}
    return trl_loss(dpo, lambda model: dpo._compute_loss(model, batch, False))


drawn_pairs = [[prompts[i], *(free[i * SAMPLES + k]["tokens"] for k in (a, b))] for i, a, b, *_ in got["terms"]]
same("online_dpo, TRL", got, *trl_dpo(drawn_pairs))
offline = results[-1]
same("the warm-up, TRL", offline, *trl_dpo(pairs))
margins = []
for prompt, chosen, rejected in pairs:
    gain = lambda response: float((token_log_probs(policy, prompt, response) - token_log_probs(reference, prompt, response)).sum())
    margins.append(gain(chosen) - gain(rejected))
assert abs(offline["margin"] - sum(margins) / len(margins)) < 1e-5 and offline["accuracy"] == sum(m > 0 for m in margins) / len(margins)
print(f"{checked} losses and gradients are equal")
