"""A step of the pairwise reward model on responses of real lengths: rluf packs, TRL pads. Same machine, same run, same
model, pairs, precision (f32), threads and optimizer; the losses of every step must agree, or the times mean nothing.

bench_reward.py MODEL_FOLDER [PAIRS_A_STEP=4] [STEPS=5]
The two sides step in turn. Lengths are lognormal (sigma 0.8) with a mean of about 250 tokens, as in chat logs; TRL's
gradient checkpointing, on by default, is off, since it only trades time for memory.
"""
import json, sys, tempfile, time

from measure import REPETITIONS, THREADS, Worker, cpu_seconds, report, skip

try:
    import numpy as np
    import torch
    import transformers
    import trl
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer
except ImportError as error:
    skip(error)

LEARNING_RATE, MEAN_TOKENS, SIGMA, LONGEST = 1e-5, 250, 0.8, 1024
torch.set_num_threads(THREADS)
base = sys.argv[1]
num_pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 4
num_steps = int(sys.argv[3]) if len(sys.argv) > 3 else REPETITIONS + 1  # the first warms up


def make_pairs(vocab_size):
    rng = np.random.default_rng(1)
    mu = np.log(MEAN_TOKENS) - SIGMA**2 / 2
    lengths = np.clip(rng.lognormal(mu, SIGMA, (num_steps, num_pairs, 2)), 8, LONGEST).astype(int)
    return [[[rng.integers(10, vocab_size, n).tolist() for n in pair] for pair in step] for step in lengths], lengths


def steps_in_turn(folder, batches, scratch):
    """Our loss, and (seconds, CPU seconds) of both sides, of each step; and TRL's losses."""
    with open(scratch + "/batches.json", "w") as out:
        json.dump(batches, out)
    worker = Worker("reward_step", folder, scratch + "/batches.json", LEARNING_RATE, 2048)
    steps = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            start = cpu_seconds()
            answer = worker.ask("step")
            self.start = time.perf_counter(), cpu_seconds()
            steps.append([answer["loss"], (answer["seconds"], self.start[1] - start)])

        def on_step_end(self, *args, **kwargs):
            steps[-1].append((time.perf_counter() - self.start[0], cpu_seconds() - self.start[1]))

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
    worker.close()
    return steps, [row["loss"] for row in trainer.state.log_history if "loss" in row]


with tempfile.TemporaryDirectory() as scratch:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = 0
    model.save_pretrained(scratch + "/start")  # one head for both
    AutoTokenizer.from_pretrained(base).save_pretrained(scratch + "/start")
    batches, lengths = make_pairs(model.config.vocab_size)
    del model
    steps, losses = steps_in_turn(scratch + "/start", batches, scratch)

difference = max(abs(step[0] - loss) for step, loss in zip(steps, losses, strict=True))
assert difference < 5e-3, f"the losses differ by {difference}: not the same work"
tokens, padded = int(lengths.sum()), sum(int(step.max()) * 2 * num_pairs for step in lengths)
report("reward step", f"{num_steps} Bradley-Terry steps of {num_pairs} pairs in f32, {tokens} tokens (padded {padded})",
       f"losses of all steps differ by {difference:.0e} at most", [step[1] for step in steps[1:]],
       [step[2] for step in steps[1:]], 1.3, f"TRL {trl.__version__}, transformers {transformers.__version__}")
