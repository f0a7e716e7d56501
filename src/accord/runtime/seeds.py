"""One seed a run, as many independent streams as there are uses: adding a draw in one place shifts no other."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *labels: str | int) -> int:
    """A seed of 63 bits from a run's seed and what it is for, the same on every machine and in every version of Python."""
    words = json.dumps([seed, *labels]).encode()
    return int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1


def generator(seed: int, *labels: str | int) -> torch.Generator:
    """A stream of random numbers of its own for these labels, e.g. ``generator(1, "rollout", step)``.

    It draws on the CPU whatever the device, which draws otherwise: a seed gives the same prompts and orders everywhere.
    """
    import torch

    return torch.Generator().manual_seed(derive(seed, *labels))
