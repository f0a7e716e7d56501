"""The methods that improve a policy, in one table: the data each learns from, its requirements, and its rates in the built-in world.

Settings, commands, doctor and report read this table, so a method is named in one place. It imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Source = Literal["rankings", "thumbs", "ratings", "samples"]


@dataclass(frozen=True)
class Method:
    """A method that improves the SFT model. Its name is the command, the section of accord.toml and the stage of its runs."""

    name: str
    learns_from: Source
    """The training data: labels in the feedback database, or the policy's own samples under a reward."""
    iterations: str = ""
    """The setting that counts rollouts, for a method that samples while it learns; empty for an offline method."""
    world: Mapping[str, float] = field(default_factory=dict[str, float])
    """Settings that suit the built-in world's small model: rates about a thousand times those of a large pretrained model."""

    @property
    def samples(self) -> bool:
        """Whether the method learns from its own samples; it then needs a reward, by default a reward model."""
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
"""Methods that train no policy: the reward model or ILQL's Q picks among n samples of the SFT model."""
SAMPLING = tuple(method.name for method in TRAINED if method.samples)
"""Names of the methods that learn from their own samples."""
LABELED = tuple(method.name for method in TRAINED if not method.samples)
"""Names of the methods that learn offline, from labels."""
PREFERENCE = tuple(method.name for method in TRAINED if method.learns_from in ("rankings", "thumbs"))
"""Names of the methods that learn directly from human preferences."""
