"""The few seams of the house. ``cli`` hands implementations in; no algorithm imports an engine, a judge or a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from accord.records import Generation, Judgement, Message, Prompt, Sampling

if TYPE_CHECKING:
    import torch


class Sampler(Protocol):
    """Draws responses. The local engine and vLLM satisfy it."""

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Draws n responses for each tokenised prompt; rows come prompt-major."""
        ...

    def refresh(self) -> None:
        """Says that the weights changed: whatever was derived from them is dropped."""
        ...


class Scorer(Protocol):
    """Gives a response its reward. A reward model, a Python function and a mixture of them satisfy it."""

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
        """Returns [rows] float32: one reward a (prompt tokens, response tokens) pair."""
        ...


class Judge(Protocol):
    """Knows the truth, or is asked for an opinion. Only evaluation sees one."""

    def judge(self, prompt: Prompt, response: str) -> Judgement: ...


class Speaker(Protocol):
    """Answers conversations in words: a model of ours, or one behind an OpenAI-compatible address."""

    @property
    def name(self) -> str:
        """What answers are signed with."""
        ...

    def answer(self, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int) -> list[list[str]]:
        """Returns n answers to each conversation, which ends with the user's turn; the same seed gives a local model's same answers."""
        ...
