"""A step of the pairwise reward model on responses of real lengths: rluf packs, TRL pads. Same machine, same run, same
model, pairs, precision (f32), threads and optimizer; the losses of every step must agree, or the times mean nothing.

bench_reward.py MODEL_FOLDER [PAIRS_A_STEP=4] [STEPS=4]      environment: RLUF_BUILD, THREADS (2)
Lengths are lognormal (sigma 0.8) with a mean of about 250 tokens, as in chat logs; TRL's gradient checkpointing, on by
default, is off, since it only trades time for memory.
"""
import json, os, resource, statistics, subprocess, sys, tempfile, time

THREADS = int(os.environ.get("THREADS", 2))
os.environ.update(OMP_NUM_THREADS=str(THREADS), HF_HUB_OFFLINE="1", WANDB_DISABLED="true", TOKENIZERS_PARALLELISM="false")
try:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

LEARNING_RATE, MEAN_TOKENS, SIGMA, LONGEST = 1e-5, 250, 0.8, 1024
torch.set_num_threads(THREADS)
base = sys.argv[1]
num_pairs, num_steps = (int(sys.argv[i]) if len(sys.argv) > i else 4 for i in (2, 3))


def make_pairs(vocab_size):
    rng = np.random.default_rng(1)
    mu = np.log(MEAN_TOKENS) - SIGMA**2 / 2
    lengths = np.clip(rng.lognormal(mu, SIGMA, (num_steps, num_pairs, 2)), 8, LONGEST).astype(int)
    return [[[rng.integers(10, vocab_size, n).tolist() for n in pair] for pair in step] for step in lengths], lengths


def rluf(folder, batches, scratch):
    with open(scratch + "/batches.json", "w") as out:
        json.dump(batches, out)
    program = os.path.join(os.environ.get("RLUF_BUILD", "build"), "reward_step")
    printed = subprocess.run([program, folder, scratch + "/batches.json", str(LEARNING_RATE), "2048"], check=True,
                             capture_output=True, text=True).stdout
    return json.loads(printed.strip().splitlines()[-1])


def trl(folder, batches, scratch):
    seconds = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            self.start = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            seconds.append(time.perf_counter() - self.start)

    class InOrder(RewardTrainer):
        def _get_train_sampler(self, *args, **kwargs):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32,
                                                               attn_implementation="sdpa")
    model.config.pad_token_id = tokenizer.pad_token_id
    pairs = [pair for step in batches for pair in step]
    data = Dataset.from_dict({"chosen_ids": [p[0] for p in pairs], "rejected_ids": [p[1] for p in pairs]})
    config = RewardConfig(output_dir=scratch + "/trl", use_cpu=True, bf16=False, per_device_train_batch_size=num_pairs,
                          max_steps=num_steps, learning_rate=LEARNING_RATE, lr_scheduler_type="constant",
                          adam_beta1=0.9, adam_beta2=0.95, adam_epsilon=1e-8, weight_decay=0.0, max_grad_norm=1.0,
                          optim="adamw_torch_fused", gradient_checkpointing=False, max_length=None, save_strategy="no",
                          report_to=[], logging_steps=1, disable_tqdm=True, seed=0)
    trainer = InOrder(model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[Clock()])
    trainer.train()
    return {"losses": [row["loss"] for row in trainer.state.log_history if "loss" in row], "seconds": seconds,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


with tempfile.TemporaryDirectory() as scratch:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = 0
    model.save_pretrained(scratch + "/start")  # one head for both
    AutoTokenizer.from_pretrained(base).save_pretrained(scratch + "/start")
    batches, lengths = make_pairs(model.config.vocab_size)
    del model
    ours = rluf(scratch + "/start", batches, scratch)
    peer = trl(scratch + "/start", batches, scratch)

difference = max(abs(a - b) for a, b in zip(ours["losses"], peer["losses"], strict=True))
tokens = lengths.sum(axis=(1, 2))
padded = [int(step.max()) * 2 * num_pairs for step in lengths]
ratio = statistics.median(p / o for o, p in list(zip(ours["seconds"], peer["seconds"]))[1:])  # the first warms up
print(json.dumps({"bench": "reward step, real lengths", "threads": THREADS, "dtype": "f32", "pairs_a_step": num_pairs,
                  "tokens": tokens.tolist(), "padded_tokens": padded, "rluf": ours, "trl": peer,
                  "largest_loss_difference": difference, "ratio": round(ratio, 2), "goal": 1.3}))
print(f"reward step against TRL: {ratio:.2f} times as fast (goal 1.3); losses differ by {difference:.1e} at most")
assert difference < 5e-3, "the losses differ: not the same work"
