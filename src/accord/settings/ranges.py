"""The ranges that every stage's numbers are held to."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from accord.errors import UsageError


def require(condition: bool, stage: str, message: str) -> None:
    """Raises UsageError naming the stage and the bad numbers unless the condition holds."""
    if not condition:
        raise UsageError(message, where=stage)


_POSITIVE = (
    {"documents", "users", "vocab_size", "hidden_size", "layers", "heads", "intermediate_size", "tokens", "batch_tokens", "epochs"}
    | {"batch_size", "minibatch_size", "max_tokens", "micro_tokens", "save_every", "steps", "kl_horizon", "logprob_gap", "clip"}
    | {"best_of", "bootstrap", "draws", "repetition_penalty", "top_p", "group_size", "reward_seconds", "lease_minutes", "session_days"}
)
_SHARES = {"overlap", "top_p", "gamma", "lam", "ema"}
_SIGNED = {"no_stop_reward", "threshold"}


def check_numbers(config: Any, stage: str) -> None:
    """Holds every number of a stage to its range: finite, not negative, above 0 or at most 1 where its name stands above.

    Raises:
        UsageError: names the setting and its value.
    """
    for name in (field.name for field in fields(config)):
        value: object = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        require(math.isfinite(value), stage, f"{name} is {value}, which is no number to work with")
        require(value > 0 or name not in _POSITIVE, stage, f"{name} is {value}; it must be above 0")
        require(value >= 0 or name in _SIGNED, stage, f"{name} is {value}; it must not be negative")
        require(value <= 1 or name not in _SHARES, stage, f"{name} is {value}; it is at most 1")
    rank, bits = getattr(config, "lora_rank", 0), getattr(config, "lora_bits", 0)
    require(bits in (0, 4), stage, f"lora_bits is {bits}; 4, or 0 for weights as they are")
    require(not bits or rank > 0, stage, "lora_bits is 4 and lora_rank 0: weights in four bits do not learn, adapters on them do")
