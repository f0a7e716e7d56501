"""A step's seconds on 8, 64 and 512 GPUs by formula, and what holds it up: run it to print the table of docs/scaling.md.

Nothing here was measured on a GPU. The numbers of the hardware are those of the maker's data sheet, the share of the peak that a step
reaches is an assumption, and the model is in its docstrings: replace them by your own with the flags.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

GB = 1e9
BF16, FLOAT32 = 2, 4
"""Bytes a number."""


@dataclass(frozen=True)
class Gpu:
    """An H100 SXM with eight to a machine. Rates are bytes a second, of one GPU, in one direction."""

    flops: float = 989e12
    """Dense bfloat16 products a second."""
    memory: float = 3.35e12
    inside: float = 450 * GB
    """To the other GPUs of its machine."""
    outside: float = 50 * GB
    """To other machines: one 400 Gbit/s adapter a GPU."""
    a_machine: int = 8
    share: float = 0.4
    """What training reaches of the peak; an assumption."""
    decoding: float = 0.6
    """What decoding reaches of the memory's bandwidth; an assumption."""


@dataclass(frozen=True)
class Lm:
    """A model and its sizes."""

    name: str
    weights: float
    layers: int
    kv_width: int
    """Keys of a token and layer: heads of keys times their width."""

    @property
    def kv_bytes(self) -> float:
        """Bytes that a token takes in the KV cache, in bfloat16."""
        return 2 * self.layers * self.kv_width * BF16


@dataclass(frozen=True)
class Work:
    """One step: tokens that are learned from, and for a method that samples its responses. It does not grow with the GPUs."""

    tokens: int
    responses: int = 0
    length: int = 0
    prompt: int = 0


MODELS = (Lm("Qwen2.5-0.5B", 0.494e9, 24, 128), Lm("Qwen2.5-7B", 7.62e9, 28, 512))
SFT = Work(tokens=262_144)
GRPO = Work(tokens=512 * 1_280, responses=512, length=1_024, prompt=256)
GPUS = (8, 64, 512)


def compute(lm: Lm, work: Work, gpus: int, gpu: Gpu) -> float:
    """Seconds of matrix products: 8 a weight and token with activations computed again, and 2 for each of the two scorings of a rollout."""
    a_weight = 8 + (4 if work.responses else 0)
    return a_weight * lm.weights * work.tokens / gpus / (gpu.flops * gpu.share)


def moved(lm: Lm, gpus: int) -> float:
    """Bytes that a GPU receives in a pass under FSDP2: the weights twice and its part of the gradients once, in float32."""
    return 3 * FLOAT32 * lm.weights * (gpus - 1) / gpus


def exchange(lm: Lm, gpus: int, gpu: Gpu) -> float:
    """Seconds of these bytes over the slowest link on their way."""
    return moved(lm, gpus) / (gpu.inside if gpus <= gpu.a_machine else gpu.outside)


def sampling(lm: Lm, work: Work, gpus: int, gpu: Gpu) -> float:
    """Seconds of a rollout: each token reads the weights once for all rows of a GPU, and every row's cache at half its length."""
    rows = max(work.responses / gpus, 1 if work.responses else 0)
    read = BF16 * lm.weights + rows * lm.kv_bytes * (work.prompt + work.length / 2)
    return work.length * read / (gpu.memory * gpu.decoding)


def synchronisation(lm: Lm, gpus: int, gpu: Gpu) -> float:
    """Seconds until samplers of their own hold new weights in bfloat16; an adapter of rank 16 is about a hundredth of them."""
    return BF16 * lm.weights / (gpu.inside if gpus <= gpu.a_machine else gpu.outside)


def rows(gpu: Gpu) -> Iterator[list[str]]:
    """The table's cells, line by line."""
    for lm in MODELS:
        for name, work in (("SFT", SFT), ("GRPO", GRPO)):
            for gpus in GPUS:
                parts = {"products": compute(lm, work, gpus, gpu), "exchange": exchange(lm, gpus, gpu)}
                if work.responses:
                    parts |= {"sampling": sampling(lm, work, gpus, gpu), "new weights": synchronisation(lm, gpus, gpu)}
                learned = max(parts["products"], parts["exchange"])
                best = learned + parts.get("sampling", 0.0) + parts.get("new weights", 0.0)
                least = max(parts, key=lambda part: parts[part])
                seconds = [f"{parts[part]:.2f}" if part in parts else "" for part in ("products", "exchange", "sampling", "new weights")]
                yield [lm.name, name, str(gpus), *seconds, f"{moved(lm, gpus) / GB:.0f}", f"{best:.2f} to {sum(parts.values()):.2f}", least]


def table(gpu: Gpu) -> str:
    """The table of docs/scaling.md."""
    heads = ["model", "method", "GPUs", "products s", "exchange s", "sampling s", "new weights s", "GB a GPU", "step s", "most of it"]
    lines = [heads, ["---"] * len(heads), *rows(gpu)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print seconds a step by formula.")
    for name, value in vars(Gpu()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    print(table(Gpu(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
