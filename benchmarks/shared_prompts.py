"""What it saves to compute a prompt once for all of its responses: forward and backward passes with and without, in turns.

    python benchmarks/shared_prompts.py                 1M, 15M and 135M weights; the table goes to benchmarks/results/shared_prompts.json
    python benchmarks/shared_prompts.py --models 1M     these alone

Processor seconds of one thread, the best of some rounds, so that other work on the machine matters little. Loss and gradients are
compared as well: what is faster and not the same is no gain.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from accord.algorithms.objectives import bradley_terry_loss
from accord.models import packing
from accord.models.folders import prepared, scalar_from
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.scalar import new_head, scores
from accord.runtime.device import environment
from accord.runtime.files import write_atomic

OUT = Path(__file__).parent / "results" / "shared_prompts.json"
SIZES: dict[str, dict[str, int]] = {
    "1M": {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "heads": 4, "kv": 4},
    "15M": {"vocab_size": 32000, "hidden_size": 256, "intermediate_size": 1152, "num_hidden_layers": 6, "heads": 8, "kv": 8},
    "135M": {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "heads": 9, "kv": 3},
}
SHAPES = (
    (2, (16, 64), (16, 96), 8),
    (2, (100, 300), (40, 120), 4),
    (4, (100, 300), (40, 120), 2),
    (9, (100, 300), (40, 120), 1),
    (8, (100, 300), (100, 200), 1),
)
"""Responses a prompt, lengths of prompts and of responses, prompts."""


def model_of(size: str) -> Any:
    """A Llama of random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    given = dict(SIZES[size])
    heads = {"num_attention_heads": given.pop("heads"), "num_key_value_heads": given.pop("kv")}
    return prepared(LlamaForCausalLM(LlamaConfig(**given, **heads, tie_word_embeddings=True, max_position_embeddings=2048)))


def rows_of(shape: tuple[Any, ...], vocabulary: int) -> tuple[list[list[int]], list[int]]:
    """Rows of prompts and responses of random tokens, and the lengths of the responses."""
    k, prompt, response, prompts = shape
    numbers = torch.Generator().manual_seed(1)

    def text(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high + 1, (1,), generator=numbers))
        return torch.randint(3, vocabulary, (length,), generator=numbers).tolist()

    rows, kept = list[list[int]](), list[int]()
    for _ in range(prompts):
        asked = text(*prompt)
        for _ in range(k):
            answer = text(*response)
            rows.append([*asked, *answer])
            kept.append(len(answer))
    return rows, kept


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def compared(model: Any, loss: Callable[[], torch.Tensor], rounds: int) -> dict[str, float]:
    """Time a loss with its backward pass both ways in turns; return the ratio, and the largest difference of the gradients."""
    best, found = {True: float("inf"), False: float("inf")}, dict[bool, torch.Tensor]()
    limit = packing.SHARED
    for _ in range(rounds):
        for once in (False, True):
            packing.SHARED = limit if once else float("inf")
            model.zero_grad()
            start = time.process_time()
            loss().backward()
            best[once] = min(best[once], time.process_time() - start)
            found[once] = gradients(model)
    packing.SHARED = limit
    apart = float((found[True] - found[False]).abs().max() / found[False].abs().max())
    return {"times_as_fast": round(best[False] / best[True], 2), "gradients_apart": float(f"{apart:.1e}")}


def measure(size: str, dtype: torch.dtype, rounds: int) -> list[dict[str, Any]]:
    """The rows of the table for a model."""
    lm = model_of(size)
    judge = scalar_from(model_of(size), new_head(SIZES[size]["hidden_size"], torch.Generator().manual_seed(2)))
    table = list[dict[str, Any]]()
    for shape in SHAPES:
        rows, kept = rows_of(shape, SIZES[size]["vocab_size"])
        k = shape[0]

        def policy(rows: list[list[int]] = rows, kept: list[int] = kept) -> torch.Tensor:
            return -logprobs(lm, pack(rows, kept), dtype=dtype)[0].mean()

        def reward(rows: list[list[int]] = rows, k: int = k) -> torch.Tensor:
            parts = scores(judge, pack(rows), dtype=dtype).split(k)
            return torch.stack([bradley_terry_loss(part, torch.arange(1, k + 1)) for part in parts]).mean()

        once = pack(rows).shared
        line: dict[str, Any] = {"weights": size, "k": k, "prompt": shape[1], "response": shape[2]}
        line["tokens"] = round(sum(map(len, rows)) / (len(once.tokens) if once else sum(map(len, rows))), 2)
        line |= {"policy": compared(lm, policy, rounds), "reward": compared(judge, reward, rounds)}
        print(json.dumps(line), flush=True)
        table.append(line)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for size in given.models for row in measure(size, getattr(torch, given.dtype), given.rounds)]
    said = {"date": str(date.today()), "machine": environment(), "dtype": given.dtype, "rows": rows}
    write_atomic(given.out, json.dumps(said, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
