"""The settings of comparing methods."""

from __future__ import annotations

from dataclasses import dataclass

from accord.methods import BEST_OF, METHODS
from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class AlgorithmsConfig:
    """`accord algorithms`: methods against each other on one project's data, under one judge."""

    seed: int = 0
    """Fixes the evaluation's samples and intervals; training takes its seeds from `seeds`."""
    methods: str = "ppo dpo kto grpo rloo raft ilql best-of-n q-best-of-n"
    """Which methods: names of commands that train a policy, best-of-n, and q-best-of-n (which needs ilql)."""
    seeds: str = "0 1 2"
    """Seeds of the training runs."""
    budget: float = 0.0
    """Seconds of training a run for methods that sample while they learn: as many steps as fit; 0 takes their settings' steps."""
    prompts: int = 600
    """Held-out prompts; 0 takes all."""
    best_of: int = 8
    """n of best-of-n and q-best-of-n."""
    temperature: float = 1.0
    """Every model is sampled at this temperature."""
    max_tokens: int = 48
    """Length limit of a response."""
    bootstrap: int = 2000
    """Resamples of the prompts for each interval."""

    def __post_init__(self) -> None:
        check_numbers(self, "algorithms")
        known = (*METHODS, *BEST_OF)
        unknown = [name for name in self.chosen if name not in known]
        require(bool(self.chosen) and not unknown, "algorithms", f"methods is {self.methods!r}; known are {', '.join(known)}")
        apart = "q-best-of-n" in self.chosen and "ilql" not in self.chosen
        require(not apart, "algorithms", "q-best-of-n chooses by the network of ilql, which is not among the methods")
        numbers = all(word.isdecimal() for word in self.seeds.replace(",", " ").split()) and self.seeds.strip()
        require(bool(numbers), "algorithms", f"seeds is {self.seeds!r}; give whole numbers, for example '0 1 2'")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods by name."""
        return tuple(dict.fromkeys(self.methods.replace(",", " ").split()))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds as numbers."""
        return tuple(dict.fromkeys(map(int, self.seeds.replace(",", " ").split())))
