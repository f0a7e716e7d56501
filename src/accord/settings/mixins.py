"""The settings that several commands share, each group a mixin; a config that wants another default or sentence writes the field again.

A field that is written again without a sentence keeps the mixin's sentence in `--help`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from accord.settings.ranges import Count, Natural, NonNegative, Positive, Range, Signed, check_numbers, require

Config = TypeVar("Config")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def section(kind: type[Config]) -> type[Config]:
    """Make a class a frozen dataclass: a section of accord.toml.

    The fields that it adds come before those of its mixins, `seed` before all; a field that is written again keeps its place. A plain
    dataclass would begin with the mixins, so that `accord ppo --help` would name the rank of adapters before the number of steps.
    """
    made = cast("Any", dataclass(frozen=True, kw_only=True)(kind))
    added_by: dict[str, type[Any]] = {}
    for base in reversed(kind.__mro__):
        for name in inspect.get_annotations(base):
            added_by.setdefault(name, base)
    fields = made.__dataclass_fields__
    ordered = sorted(fields, key=lambda name: (name != "seed", kind.__mro__.index(added_by[name])))
    made.__dataclass_fields__ = {name: fields[name] for name in ordered}
    return made


@section
class Settings:
    """What every section has: its name, and numbers that are held to their ranges."""

    def __post_init__(self) -> None:
        check_numbers(self, self.stage)

    @property
    def stage(self) -> str:
        """The command's name, and the section's in accord.toml."""
        return type(self).__name__.removesuffix("Config").lower()

    def require(self, condition: bool, message: str) -> None:
        """Raise UsageError, which names the section and the bad numbers, unless the condition holds."""
        require(condition, self.stage, message)


@section
class Seed(Settings):
    """A stage that makes random choices."""

    seed: Natural = 0
    """Fixes every random choice of the stage."""


@section
class Training(Seed):
    """A stage that trains weights in the memory there is."""

    micro_tokens: Count = 16_384
    """Tokens in one forward pass; a larger batch accumulates gradients over several."""
    save_every: Count = 20
    """Steps between checkpoints."""
    lora_rank: Natural = 0
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_bits: Annotated[int, Range(least=0, most=4, why="4, or 0 for weights as they are")] = 0
    """4 holds the frozen weights under the adapters in four bits (QLoRA); 0 leaves them as they are."""
    recompute: bool = False
    """Compute each layer again in the backward pass instead of keeping its activations: less memory, about a fifth more time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bits = self.lora_bits
        self.require(bits in (0, 4), f"lora_bits is {bits}; 4, or 0 for weights as they are")
        learns = not bits or self.lora_rank > 0
        self.require(learns, "lora_bits is 4 and lora_rank 0: weights in four bits do not learn, adapters on them do")


@section
class CosineOptimizer(Settings):
    """Learning rates that warm up and then fall along a cosine, for data that is known beforehand."""

    lr: NonNegative = 1e-4
    """Peak learning rate of AdamW; cosine to a tenth."""
    muon_lr: NonNegative = 0.0
    """Peak learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: Natural = 10
    """Linear warm-up."""


@section
class ConstantOptimizer(Settings):
    """Learning rates that warm up and then stay, for a policy that makes its own data."""

    lr: NonNegative = 3e-4
    """Learning rate of AdamW, constant after warm-up."""
    muon_lr: NonNegative = 0.0
    """Learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: Natural = 10
    """Optimiser steps of linear warm-up."""
    max_grad_norm: NonNegative = 1.0
    """Gradient norm is clipped here; 0 is off."""


@section
class Window(Settings):
    """How much of a prompt and its response a model reads."""

    max_tokens: Count = 256
    """Longest prompt and response together; the right end is kept."""


@section
class Labels(Window):
    """Whose labels a model learns from."""

    kinds: str = "person simulated"
    """Kinds of labelers whose word counts, of person, simulated, model and user."""
    held_out_group: str = ""
    """Labelers of this group are kept out of training, and the policy's accuracy on them is measured apart."""


@section
class Rollouts(Settings):
    """How a policy samples the responses that it learns from."""

    temperature: Positive = 1.0
    """Sampling temperature; part of the policy everywhere."""
    max_tokens: Count = 48
    """Length limit of a response."""
    no_stop_reward: Signed = -3.0
    """Reward of an unfinished response under `penalise`."""


@section
class Rewards(Settings):
    """What a policy's own samples are rewarded for."""

    rewards: str = "model"
    """What is rewarded, and its weights: `model=1, exact=0..2, length=-0.01, harmless>=0.5`; docs/rewards.md."""
    reward_seconds: Count = 600
    """A Python reward that takes longer over one batch stops the run."""
    limit_rate: NonNegative = 0.1
    """How fast the multiplier of a reward with a limit follows what is missing to it."""
    kinds: str = "person simulated"
    """Kinds of labelers whose demonstrations and ratings the rewards take, of person, simulated, model and user."""
    logprob_gap: Positive = 0.1
    """The run stops with an error when sampler and trainer log-probabilities differ by more than this on average."""


@section
class Decoding(Settings):
    """How a response is drawn for people to read."""

    temperature: NonNegative = 1.0
    """0 is greedy."""
    top_k: Natural = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: Annotated[float, Range(above=0, most=1)] = 1.0
    """Keep the smallest set of tokens with this probability."""
    repetition_penalty: Positive = 1.0
    """1 is off."""
    max_tokens: Count = 48
    """Length limit of a response."""


@section
class HeldOut(Settings):
    """Systems measured by their responses to held-out prompts, with intervals."""

    prompts: Natural = 600
    """Held-out prompts; 0 takes all."""
    temperature: NonNegative = 1.0
    """Every system is sampled at this temperature."""
    max_tokens: Count = 48
    """Length limit of a response."""
    bootstrap: Count = 2000
    """Resamples of the prompts for each interval."""
