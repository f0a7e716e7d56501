"""The house's few interfaces. ``commands`` passes implementations in; no algorithm imports an engine, a judge or a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from accord.records import Generation, Judgement, Message, Prompt, Sampling, Turn

if TYPE_CHECKING:
    import torch


class Sampler(Protocol):
    """A source of responses. The local engine and vLLM satisfy it.

    One that computes outside this process says so by an attribute ``foreign = True``. Training then corrects for its other rounding
    and keeps what it drew, since it need not draw the same again; ``Generation.version`` names the weights that drew. It may have a
    method ``bring()``, which takes over the weights at once, before a draw one step ahead begins in a thread.

    One that draws the turns of episodes while others still wait for their environments has a method ``turns(rows, longest)``, which
    returns a ``TurnSource``. Any other is asked for all turns at once, when all environments have answered.
    """

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Draw n responses for each tokenised prompt; rows come prompt-major."""
        ...

    def refresh(self) -> None:
        """Drop everything derived from the weights, because they changed."""
        ...


class TurnSource(Protocol):
    """A source of turns in many conversations at once. A turn depends on its tokens, sampling and seed, not on the others."""

    @property
    def busy(self) -> bool:
        """Whether a turn that was asked for is not there yet."""
        ...

    def submit(self, tokens: Sequence[int], sampling: Sampling, seed: int) -> int:
        """Ask for the turn that follows these tokens; return its ticket."""
        ...

    def step(self) -> list[Turn]:
        """Go on drawing; return the turns that are whole now."""
        ...


class Environment(Protocol):
    """What a model speaks with in one episode: a user, tools, a game. Each episode has an object of its own.

    Either method may be ``async def``. One that answers the same to the same row and messages says so by an attribute
    ``deterministic = True``. A method ``close()``, if there is one, is called at the end.
    """

    def reset(self, row: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
        """Return the conversation that the model is to go on with, as messages with ``role`` and ``content``.

        ``row`` holds the prompt: its ``id``, ``messages``, ``use_case``, ``user`` and ``extra``, and a ``seed``, which is the same for all
        episodes of a group.
        """
        ...

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[Sequence[Mapping[str, str]], float, bool, Mapping[str, Any]]:
        """Answer the conversation, whose last message is the model's: messages to append, the reward of the model's turn, whether the
        episode is done, and information, whose numbers are counted. Messages are of a ``user``, a ``tool`` or the ``system``."""
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
