"""The interface of a host of models: requests, answers piece by piece, and refusals. Nothing here loads torch.

RefusedRequest                 the request itself cannot be served
├── UnknownModel               no model of this name is served                   404
├── NotUnderstood              a field has a wrong value                         400
├── TooLong                    prompt and answer do not fit the context           400
├── Busy                       every slot is taken and the queue is full          429, with Retry-After
├── TooSlow                    the request ran out of its time                    504
└── Unavailable                the model, or the server behind this one, failed   503, with Retry-After
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from accord.data.retrieval import Document, Quote
from accord.data.scenes import Choice
from accord.data.tool_turns import ToolCall
from accord.errors import RunError
from accord.records import MediaFile, Message, Sampling

Finish = Literal["", "stop", "length"]


class RefusedRequest(RunError):
    """A request that is not served.

    Args:
        seconds: wait before the next try; 0 when trying again does not help.
        param: the request's field at fault, as OpenAI's errors name it.
    """

    status, code = 400, "refused"

    def __init__(self, what: str, *, where: str = "", hint: str = "", seconds: float = 0.0, param: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.seconds, self.param = seconds, param


class UnknownModel(RefusedRequest):
    status, code = 404, "model_not_found"


class NotUnderstood(RefusedRequest):
    status, code = 400, "invalid_value"


class TooLong(RefusedRequest):
    status, code = 400, "context_length_exceeded"


class Busy(RefusedRequest):
    status, code = 429, "busy"


class TooSlow(RefusedRequest):
    status, code = 504, "timeout"


class Unavailable(RefusedRequest):
    status, code = 503, "unavailable"


@dataclass(frozen=True, slots=True)
class Token:
    """A drawn token with the model's own log-probability, in nats, and the likeliest tokens at its position."""

    id: int
    text: str
    logprob: float | None
    """None for the first token of a prompt, which has none before it."""
    likeliest: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Tools:
    """Functions that an answer may call.

    Args:
        functions: name, description and parameters (a JSON schema) of each.
        choice: whether the model decides, must call, or must call one function, by name.
        parallel: whether there may be several calls.
    """

    functions: tuple[Mapping[str, Any], ...]
    choice: Literal["auto", "required"] = "auto"
    only: str = ""
    parallel: bool = True

    @property
    def names(self) -> list[str]:
        return [str(function["name"]) for function in self.functions]


@dataclass(frozen=True, slots=True)
class Piece:
    """The next part of an answer. Its text is whole characters. Only the last piece has a ``finish``."""

    text: str
    finish: Finish = ""
    tokens: tuple[Token, ...] = ()
    """The tokens drawn since the previous piece, if log-probabilities were requested."""
    count: int = 0
    """Number of tokens drawn since the previous piece."""
    prompt_tokens: int = 0
    version: str = ""
    """Name and digest of the exact weights that answer, e.g. ``ppo@1f3a9c0b2d4e``."""
    withheld: Literal["", "input", "output", "unsure"] = ""
    """The reason why these are not the model's words: the prompt or the answer was filtered, or the model was not sure."""
    reasoning: str = ""
    """The chain of thought before the answer, if it is folded away."""
    calls: tuple[ToolCall, ...] = ()
    """The functions that the answer calls; in the last piece."""
    quotes: tuple[Quote, ...] = ()
    """The sentences of the given documents that make up the answer."""
    scene: Choice | None = None
    """The scene by whose rules it was answered; None on a server without scenes."""
    sampling: Sampling | None = None
    """How it was sampled, where a scene changed that."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for one answer: to a conversation, or as the continuation of raw text or tokens."""

    sampling: Sampling
    conversation: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] = ""
    """Used when there is no conversation."""
    user: str = ""
    """Who asks, where answers may be chosen by their taste."""
    key: str = ""
    """The id of the API key with which it came; empty where there is none."""
    seed: int | None = None
    """Random seed; None draws one."""
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many of the likeliest tokens to report with each token; None reports no log-probabilities."""
    exact: bool = False
    """Whether to refuse (TooLong) when ``sampling.max_tokens`` do not fit after the prompt, instead of ending at
    the context's end."""
    shorten: bool = False
    """Whether to drop the oldest turns of a conversation that does not fit."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit as often as the answer has it so far."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of each token that the answer has so far."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token ids with what is added to their logits."""
    special: bool = True
    """Whether a raw text begins with the BOS of a tokenizer that writes one."""
    echo: bool = False
    """Whether the continuation of raw text begins with that text."""
    tools: Tools | None = None
    schema: Mapping[str, Any] | None = None
    """A JSON schema that the answer must fit."""
    documents: tuple[Document, ...] = ()
    """Texts that the answer may quote, and only quote; see ``guards``."""
    media: tuple[MediaFile, ...] = ()
    """The pictures that the conversation names, each once."""
    scene: Choice | None = None
    """The scene that was chosen for it already; see ``scenes``."""
    named: frozenset[str] = frozenset()
    """The sampling settings that the request names itself; a scene leaves these alone."""
    pinned: bool = False
    """Whether the named model has to answer, also where its scene has a model of its own: two models are compared."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The embedding of a text, of length 1."""

    vector: tuple[float, ...]
    tokens: int


class Host(Protocol):
    """A source of answers: models in this process, or a server behind this one."""

    def models(self) -> list[str]: ...

    def version(self, model: str) -> str:
        """Return name and digest of the model that now answers under this name."""
        ...

    def sees(self, model: str) -> bool:
        """Return whether a model reads the pictures of a conversation. Raises UnknownModel."""
        ...

    def state(self) -> dict[str, dict[str, float]]:
        """Return each model's state: requests ``running`` and ``waiting``, prompt tokens ``reused``."""
        ...

    def ask(self, model: str, ask: Ask) -> AsyncGenerator[Piece]:
        """Return pieces of one answer. Closing the generator cancels the request and frees its slot.

        Raises:
            RefusedRequest: at the first piece, or later when the model fails on the way.
        """
        ...

    def stream(
        self, model: str, conversation: Sequence[Message], *, sampling: Sampling, seed: int | None = None, stop: Sequence[str] = ()
    ) -> AsyncGenerator[Piece]: ...

    async def embed(self, model: str, text: str | tuple[int, ...]) -> Embedded:
        """Return the embedding of a text or of tokens. Raises RefusedRequest."""
        ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


async def in_one_piece(pieces: AsyncGenerator[Piece]) -> Piece:
    """Return all the pieces of an answer in one."""
    text, tokens, count, last = "", list[Token](), 0, Piece("", "stop")
    async with aclosing(pieces):
        async for last in pieces:
            text, count = text + last.text, count + last.count
            tokens += last.tokens
    return replace(last, text=text, tokens=tuple(tokens), count=count)
