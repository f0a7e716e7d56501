"""The methods that improve a policy, in one table: what each learns from, what it needs, and its rates in the built-in world.

Read by settings, commands, doctor and report, so that a method is named in one place. Loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Source = Literal["rankings", "thumbs", "ratings", "samples"]


@dataclass(frozen=True)
class Method:
    """One way to improve the SFT model; its name is the command, the section of accord.toml and the stage of its runs."""

    name: str
    learns_from: Source
    """What it is trained on: labels in the store, or its own samples under a reward."""
    iterations: str = ""
    """The setting that counts rollouts, for a method that samples while it learns; empty for one that learns offline."""
    world: Mapping[str, float] = field(default_factory=dict[str, float])
    """Settings with which the built-in world's small model learns best: about a thousand times a large pretrained model's rates."""

    @property
    def samples(self) -> bool:
        """Whether it learns from its own samples; it then needs a reward, by default a reward model."""
        return self.learns_from == "samples"


TRAINED = (
    Method(
        "ppo",
        "samples",
        "steps",
        {"lr": 3e-3, "muon_lr": 0.003, "value_lr": 3e-3, "value_muon_lr": 0.003, "ptx_coef": 4.0, "ema": 0.95},
    ),
    Method("dpo", "rankings", world={"lr": 1e-3, "muon_lr": 0.001}),
    Method("kto", "thumbs", world={"lr": 2.5e-4, "muon_lr": 0.00025, "beta": 0.3}),
    Method("grpo", "samples", "steps", {"lr": 1e-3, "muon_lr": 0.002, "kl_coef": 0.3}),
    Method("rloo", "samples", "steps", {"lr": 1e-3, "muon_lr": 0.002}),
    Method("reinforce", "samples", "steps", {"lr": 1e-3, "muon_lr": 0.002}),
    Method("raft", "samples", "rounds", {"lr": 3e-3, "muon_lr": 0.003, "rounds": 4}),
    Method("ilql", "ratings", world={"lr": 3e-3, "muon_lr": 0.003}),
)
"""Methods that train a policy."""
METHODS = {method.name: method for method in TRAINED}
BEST_OF = ("best-of-n", "q-best-of-n")
"""Methods that train no policy: n candidates of the SFT model, from which the reward model or ILQL's Q chooses."""
SAMPLING = tuple(method.name for method in TRAINED if method.samples)
"""Names of the methods that learn from their own samples."""
LABELED = tuple(method.name for method in TRAINED if not method.samples)
"""Names of the methods that learn offline, from labels."""
PREFERENCE = tuple(method.name for method in TRAINED if method.learns_from in ("rankings", "thumbs"))
"""Names of the methods that learn from people's preferences directly."""
