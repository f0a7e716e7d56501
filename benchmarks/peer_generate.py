"""Hugging Face ``generate`` on the shared prompts: plain sampling at temperature 1, no stop token, a fixed number of tokens."""

from __future__ import annotations

import statistics
import time

import torch
from measure import Outcome, Task, run
from transformers import AutoModelForCausalLM, GenerationConfig
from work import PAD, prompts

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def _config(new: int) -> GenerationConfig:
    return GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=new, pad_token_id=PAD, eos_token_id=None)


def generate(task: Task) -> Outcome:
    """New tokens a second, the prompt's forward pass included: the median of the timed calls."""
    dtype, batch = task.options.get("weights", "fp32"), int(task.name.removeprefix("generate_b"))
    model = AutoModelForCausalLM.from_pretrained(task.models / "policy", dtype=DTYPES[dtype]).eval()
    model.generation_config.eos_token_id = None
    length, new = task.size.generate_prompt, task.size.generate_new
    ids, config = torch.tensor(prompts(task.size, batch, length, task.seed)), _config(new)
    torch.manual_seed(task.seed)
    seconds = []
    for _ in range(task.warmup + task.steps):
        start = time.perf_counter()
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        seconds.append(time.perf_counter() - start)
        if out.shape[1] != length + new:
            raise RuntimeError(f"generate returned {out.shape[1] - length} new tokens, not {new}")
    timed = seconds[task.warmup :]
    return Outcome(dtype, batch * new / statistics.median(timed), "tokens/s", sum(timed))


if __name__ == "__main__":
    run({f"generate_b{batch}": generate for batch in (1, 8, 64)})
