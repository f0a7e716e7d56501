"""One seed per run and an independent stream per use: adding a draw in one place shifts no other."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *labels: str | int) -> int:
    """Return a 63-bit seed derived from a run's seed and labels for its use, the same on every machine and in
    every version of Python."""
    words = json.dumps([seed, *labels]).encode()
    return int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1


def generator(seed: int, *labels: str | int) -> torch.Generator:
    """Return an independent random number generator for these labels, e.g. ``generator(1, "rollout", step)``.

    It draws on the CPU whatever the device, which draws otherwise: a seed gives the same prompts and orders everywhere.
    """
    import torch

    return torch.Generator().manual_seed(derive(seed, *labels))
