"""The settings of the commands that measure: win rates, the frontier, the reward model's examination, probes, problems, methods."""

from __future__ import annotations

from typing import Annotated, Literal

from accord.methods import BEST_OF, METHODS
from accord.settings.mixins import HeldOut, Seed, section
from accord.settings.ranges import Count, Natural, NonNegative, Range


@section
class EvaluateConfig(Seed, HeldOut):
    """`accord evaluate`: win rates on held-out users' prompts."""

    best_of: Annotated[int, Range(least=2, why="2 at least: the best of one is no choice")] = 8
    """n of best-of-n from the SFT model, 2 at the least."""
    draws: Count = 8
    """Responses a prompt for the share of made-up answers, which few prompts ask for."""
    temperature: NonNegative = 1.0
    """Every model is sampled at this temperature."""


@section
class CompareConfig(Seed, HeldOut):
    """`accord compare`: win rates of two systems or more."""

    seed: Natural = 0
    """Fixes the responses and the resampling."""
    prompts: Natural = 300
    split: Literal["test", "validation", "train"] = "test"
    """Whose prompts: those of users that no stage learns from, unless asked otherwise."""
    use_case: str = ""
    """Prompts of this use case alone."""
    shots: Natural = 3
    """Demonstrations in a few-shot prompt; fewer where the context is too short."""
    margin: NonNegative = 0.0
    """Utilities or rewards that differ by no more than this are a tie."""
    judge_tokens: Count = 512
    """Length limit of an LLM judge's answer; one that reasons needs room before its verdict."""
    overlap: Annotated[int, Range(least=1, why="one person at least")] = 1
    """How many people judge each prompt, by people."""


@section
class FrontierConfig(Seed, HeldOut):
    """`accord frontier`: reward against KL."""

    seed: Natural = 0
    """Fixes the responses and the resampling."""
    prompts: Natural = 200
    best_of: Count = 16
    """The largest n of best-of-n; the smaller powers of two are read off the same responses."""
    temperature: Annotated[float, Range(above=0, why="a greedy policy has no KL to measure")] = 1.0
    """Every policy is sampled at this temperature, which should be the run's."""
    bootstrap: Count = 1000


@section
class ExamineConfig(Seed):
    """`accord examine`: what a reward model is worth."""

    seed: Natural = 0
    """Fixes the resampling and every random choice."""
    rankings: Natural = 0
    """Held-out rankings that are looked at; 0 takes all."""
    bins: Count = 10
    """Bins of the reliability curve."""
    wrong: Natural = 50
    """How many of the most wrong comparisons are written down."""
    attributed: Natural = 10
    """Of how many of those the score is spread over the tokens."""
    requeue: Natural = 0
    """How many of the most wrong comparisons are sent back to the labeling queue."""
    curve: Natural = 0
    """Points of the learning curve, each a reward model trained on half as many rankings as the next; 0 trains none."""
    bootstrap: Count = 2000
    """Resamples of the prompts for each interval."""


@section
class ProbeConfig(Seed, HeldOut):
    """`accord probe`: alignment tax, truthfulness, safety and fairness."""

    seed: Natural = 0
    """Fixes the responses and the resampling."""
    prompts: Natural = 300
    """Held-out prompts of each measure, and rows of each file, at most; 0 takes all."""
    shots: Natural = 3
    """Demonstrations in a few-shot prompt; fewer where the context is too short."""


@section
class SolveConfig(Seed, HeldOut):
    """`accord solve`: how often a model's final answer is right, by one answer or by the majority of several (self-consistency)."""

    seed: Natural = 0
    """Fixes the samples."""
    votes: Count = 1
    """Answers to each problem; from 2 on the most frequent one counts (Wang et al. 2023)."""
    prompts: Natural = 0
    """Held-out problems; 0 takes all."""
    temperature: NonNegative = 0.0
    """0 is greedy, for one vote; several votes need some."""
    max_tokens: Count = 96
    bootstrap: Count = 2000
    """Resamples of the problems for the interval."""

    def __post_init__(self) -> None:
        super().__post_init__()
        alike = self.votes > 1 and self.temperature == 0
        self.require(not alike, f"temperature is 0, so that all {self.votes} votes are the same; 0.7 is usual")


@section
class AlgorithmsConfig(Seed, HeldOut):
    """`accord algorithms`: methods against each other on one project's data, under one judge."""

    seed: Natural = 0
    """Fixes the evaluation's samples and intervals; training takes its seeds from `seeds`."""
    methods: str = "ppo dpo kto grpo rloo raft ilql best-of-n q-best-of-n"
    """Which methods, of ppo, dpo, kto, grpo, rloo, reinforce, raft, ilql, best-of-n and q-best-of-n (which needs ilql)."""
    seeds: str = "0 1 2"
    """Seeds of the training runs."""
    budget: NonNegative = 0.0
    """Seconds of training a run for methods that sample while they learn: as many steps as fit; 0 takes their settings' steps."""
    best_of: Count = 8
    """n of best-of-n and q-best-of-n."""
    temperature: NonNegative = 1.0
    """Every model is sampled at this temperature."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (*METHODS, *BEST_OF)
        unknown = [name for name in self.chosen if name not in known]
        self.require(bool(self.chosen) and not unknown, f"methods is {self.methods!r}; known are {', '.join(known)}")
        apart = "q-best-of-n" in self.chosen and "ilql" not in self.chosen
        self.require(not apart, "q-best-of-n chooses by the network of ilql, which is not among the methods")
        words = self.seeds.replace(",", " ").split()
        numbers = bool(words) and all(word.isdecimal() for word in words)
        self.require(numbers, f"seeds is {self.seeds!r}; give whole numbers, for example '0 1 2'")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods by name."""
        return tuple(dict.fromkeys(self.methods.replace(",", " ").split()))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds as numbers."""
        return tuple(dict.fromkeys(map(int, self.seeds.replace(",", " ").split())))
