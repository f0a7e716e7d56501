"""The house's few interfaces. ``commands`` passes implementations in; no algorithm imports an engine, a judge or a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from accord.records import Generation, Judgement, Message, Prompt, Sampling

if TYPE_CHECKING:
    import torch


class Sampler(Protocol):
    """A source of responses. The local engine and vLLM satisfy it.

    One that computes outside this process says so by an attribute ``foreign = True``. Training then corrects for its other rounding
    and keeps what it drew, since it need not draw the same again; ``Generation.version`` names the weights that drew. It may have a
    method ``bring()``, which takes over the weights at once, before a draw one step ahead begins in a thread.
    """

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Draw n responses for each tokenised prompt; rows come prompt-major."""
        ...

    def refresh(self) -> None:
        """Drop everything derived from the weights, because they changed."""
        ...


def is_foreign(sampler: Sampler) -> bool:
    """Return whether a sampler computes outside this process."""
    return bool(getattr(sampler, "foreign", False))


class Scorer(Protocol):
    """A source of rewards. A reward model, a Python function and a mixture of them satisfy it."""

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return [rows] float32: one reward per pair of prompt tokens and response tokens."""
        ...


class Judge(Protocol):
    """A judge of responses, either by the gold answer or by opinion. Only evaluation uses one."""

    def judge(self, prompt: Prompt, response: str) -> Judgement: ...


class Speaker(Protocol):
    """A chat model: one of the project's, or one behind an OpenAI-compatible address."""

    @property
    def name(self) -> str:
        """The name that answers are stored under."""
        ...

    def answer(self, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int) -> list[list[str]]:
        """Return n answers to each conversation, which ends with the user's turn. A local model gives the same
        answers for the same seed."""
        ...
