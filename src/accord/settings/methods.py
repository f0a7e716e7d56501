"""The methods that improve a policy, in one table: the data each learns from, and what counts its rollouts.

Settings, commands, doctor and report read this table, so a method is named in one place. It imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["rankings", "thumbs", "ratings", "samples", "teacher"]


@dataclass(frozen=True)
class Method:
    """A method that improves the SFT model. Its name is the command, the section of accord.toml and the stage of its runs."""

    name: str
    learns_from: Source
    """The training data: labels in the feedback database, the policy's own samples under a reward, or a teacher model's distributions."""
    iterations: str = ""
    """The setting that counts rollouts, for a method that samples while it learns; empty for an offline method."""

    @property
    def samples(self) -> bool:
        """Whether the method learns from its own samples; it then needs a reward, by default a reward model."""
        return self.learns_from == "samples"


TRAINED = (
    Method("ppo", "samples", "steps"),
    Method("dpo", "rankings"),
    Method("kto", "thumbs"),
    Method("grpo", "samples", "steps"),
    Method("rloo", "samples", "steps"),
    Method("reinforce", "samples", "steps"),
    Method("raft", "samples", "rounds"),
    Method("online-dpo", "samples", "steps"),
    Method("distill", "teacher", "steps"),
    Method("ilql", "ratings"),
)
"""Methods that train a policy."""
METHODS = {method.name: method for method in TRAINED}
BEST_OF = ("best-of-n", "q-best-of-n")
"""Methods that train no policy: the reward model or ILQL's Q picks among n samples of the SFT model."""
SAMPLING = tuple(method.name for method in TRAINED if method.samples)
"""Names of the methods that learn from their own samples."""
LABELED = tuple(method.name for method in TRAINED if method.learns_from in ("rankings", "thumbs", "ratings"))
"""Names of the methods that learn offline, from labels."""
PREFERENCE = tuple(method.name for method in TRAINED if method.learns_from in ("rankings", "thumbs"))
"""Names of the methods that learn directly from human preferences."""
