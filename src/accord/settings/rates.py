"""Learning rates by method, by the size of the model, and for adapters: what a rate of 0 in the settings stands for.

They are rates of published recipes for pretrained models of that size; docs/rates.md names the source of each. Nobody has swept them
here: they are where to begin. The built-in world's model is too small for them, so `accord init --world` writes ``WORLD`` into accord.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Rates(NamedTuple):
    """AdamW's learning rates for all weights of a model: up to 2 billion parameters, up to 20 billion, above."""

    small: float
    medium: float
    large: float

    def of(self, parameters: int) -> float:
        """Return the rate for a model of this many parameters."""
        if parameters <= 2_000_000_000:
            return self.small
        return self.medium if parameters <= 20_000_000_000 else self.large


TEXT = Rates(2e-5, 1e-5, 2e-6)
SCALAR = Rates(1e-5, 1e-5, 5e-6)
SAMPLES = Rates(1e-6, 1e-6, 1e-6)
RATES: Mapping[str, Rates] = {
    "sft": TEXT,
    "raft": TEXT,
    "star": TEXT,
    "distill": TEXT,
    "reward": SCALAR,
    "process": SCALAR,
    "value": SCALAR,
    "ilql": Rates(5e-5, 1e-5, 5e-6),
    "dpo": Rates(1e-6, 5e-7, 2e-7),
    "online-dpo": Rates(1e-6, 5e-7, 2e-7),
    "orpo": Rates(8e-6, 5e-6, 5e-6),
    "kto": Rates(1e-6, 5e-7, 5e-7),
    "ppo": Rates(3e-6, 1e-6, 1e-6),
    "grpo": SAMPLES,
    "generative-reward": SAMPLES,
    "rloo": SAMPLES,
    "reinforce": SAMPLES,
}
"""By method; ``value`` is PPO's value model, ``orpo`` is `accord dpo --loss orpo`, whose loss has a likelihood term."""
LORA = 10
"""How much larger the best rate of adapters is than that of all weights, for every method and size (Schulman et al. 2025)."""


def rate(method: str, parameters: int, *, lora: bool) -> float:
    """Return AdamW's learning rate for a method on a model of this many parameters, for adapters or for all weights."""
    known = RATES[method].of(parameters)
    return float(f"{known * LORA:g}") if lora else known  # 3e-05, not 2.9999999999999997e-05


_OPTIMIZER: Mapping[str, object] = {"warmup_share": 0.0, "adam_beta2": 0.95}
_FROM_SAMPLES: Mapping[str, object] = {**_OPTIMIZER, "adam_epsilon": 1e-5}
WORLD: Mapping[str, Mapping[str, object]] = {
    "sft": {"lr": 1.5e-2, "muon_lr": 0.015, **_OPTIMIZER},
    "reward": {"lr": 2e-3, "muon_lr": 0.003, "mismatched": 1.0, **_OPTIMIZER},
    "process": {"lr": 1e-5, **_OPTIMIZER},
    "ppo": {"lr": 3e-3, "muon_lr": 0.003, "value_lr": 3e-3, "value_muon_lr": 0.003, "ptx_coef": 4.0, "ema": 0.95, **_FROM_SAMPLES},
    "dpo": {"lr": 1e-3, "muon_lr": 0.001, **_OPTIMIZER},
    "kto": {"lr": 2.5e-4, "muon_lr": 0.00025, "beta": 0.3, **_OPTIMIZER},
    "grpo": {"lr": 1e-3, "muon_lr": 0.002, "kl_coef": 0.3, **_FROM_SAMPLES},
    "generative-reward": {"lr": 1e-3, "muon_lr": 0.002, **_FROM_SAMPLES},
    "rloo": {"lr": 1e-3, "muon_lr": 0.002, **_FROM_SAMPLES},
    "reinforce": {"lr": 1e-3, "muon_lr": 0.002, **_FROM_SAMPLES},
    "raft": {"lr": 3e-3, "muon_lr": 0.003, "rounds": 4, **_OPTIMIZER},
    "online-dpo": {"lr": 1e-3, "muon_lr": 0.001, **_OPTIMIZER},
    "distill": {"lr": 3e-3, "muon_lr": 0.003, **_OPTIMIZER},
    "ilql": {"lr": 3e-3, "muon_lr": 0.003, **_OPTIMIZER},
    "star": {"lr": 1e-4, **_OPTIMIZER},
}
"""The built-in world's settings, by section of accord.toml: those that its model of 1.3 million weights learns best with."""
