"""The settings of the stages that measure: comparing, the frontier, the reward model's examination, probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class CompareConfig:
    """`accord compare`: win rates of two systems or more."""

    seed: int = 0
    """Fixes the responses and the resampling."""
    prompts: int = 300
    """Held-out prompts; 0 takes all."""
    split: Literal["test", "validation", "train"] = "test"
    """Whose prompts: those of users that no stage learns from, unless asked otherwise."""
    use_case: str = ""
    """Prompts of this use case alone."""
    temperature: float = 1.0
    """Every system is sampled at this temperature."""
    max_tokens: int = 48
    """Length limit of a response."""
    shots: int = 3
    """Demonstrations in a few-shot prompt; fewer where the context is too short."""
    margin: float = 0.0
    """Utilities or rewards that differ by no more than this are a tie."""
    bootstrap: int = 2000
    """Resamples of the prompts for each interval."""
    judge_tokens: int = 512
    """Length limit of an LLM judge's answer; one that reasons needs room before its verdict."""
    overlap: int = 1
    """How many people judge each prompt, by people."""

    def __post_init__(self) -> None:
        check_numbers(self, "compare")
        require(self.overlap >= 1, "compare", f"overlap is {self.overlap}; one person at least")
        require(self.judge_tokens > 0, "compare", "judge_tokens is 0; it must be above 0")


@dataclass(frozen=True)
class FrontierConfig:
    """`accord frontier`: reward against KL."""

    seed: int = 0
    """Fixes the responses and the resampling."""
    prompts: int = 200
    """Held-out prompts; 0 takes all."""
    best_of: int = 16
    """The largest n of best-of-n; the smaller powers of two are read off the same responses."""
    temperature: float = 1.0
    """Every policy is sampled at this temperature, which should be the run's."""
    max_tokens: int = 48
    """Length limit of a response."""
    bootstrap: int = 1000
    """Resamples of the prompts for each interval."""

    def __post_init__(self) -> None:
        check_numbers(self, "frontier")
        require(self.temperature > 0, "frontier", "temperature is 0; a greedy policy has no KL to measure")


@dataclass(frozen=True)
class ExamineConfig:
    """`accord examine`: what a reward model is worth."""

    seed: int = 0
    """Fixes the resampling and every random choice."""
    rankings: int = 0
    """Held-out rankings that are looked at; 0 takes all."""
    bins: int = 10
    """Bins of the reliability curve."""
    wrong: int = 50
    """How many of the most wrong comparisons are written down."""
    attributed: int = 10
    """Of how many of those the score is spread over the tokens."""
    requeue: int = 0
    """How many of the most wrong comparisons are sent back to the labeling queue."""
    curve: int = 0
    """Points of the learning curve, each a reward model trained on half as many rankings as the next; 0 trains none."""
    bootstrap: int = 2000
    """Resamples of the prompts for each interval."""

    def __post_init__(self) -> None:
        check_numbers(self, "examine")
        require(self.bins > 0, "examine", "bins is 0; it must be above 0")


@dataclass(frozen=True)
class ProbeConfig:
    """`accord probe`: alignment tax, truthfulness, safety and fairness."""

    seed: int = 0
    """Fixes the responses and the resampling."""
    prompts: int = 300
    """Held-out prompts of each measure, and rows of each file, at most; 0 takes all."""
    temperature: float = 1.0
    """Every system is sampled at this temperature."""
    max_tokens: int = 48
    """Length limit of a response."""
    shots: int = 3
    """Demonstrations in a few-shot prompt; fewer where the context is too short."""
    bootstrap: int = 2000
    """Resamples of the prompts for each interval."""

    def __post_init__(self) -> None:
        check_numbers(self, "probe")
