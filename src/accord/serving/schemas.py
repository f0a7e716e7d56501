"""The API's request fields: the supported part of OpenAI's, four more, and nothing else. An unknown field is
refused by name.

Field names are OpenAI's; ``top_k``, ``min_p`` and ``repetition_penalty`` are vLLM's; ``truncation`` is that
of OpenAI's Responses.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from accord.records import Message, Role, Sampling
from accord.serving.host import Ask, NotUnderstood
from accord.serving.retrieval import Document

LONGEST = 2_000_000
"""Longest text in characters. The body's limit is lower, so this bounds the schema alone."""
MOST_ANSWERS = 16
SEED = 2**63

Text = Annotated[str, StringConstraints(max_length=LONGEST)]
StopWord = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Strict(BaseModel):
    """A model that refuses unknown fields and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, protected_namespaces=())


class TextPart(Strict):
    """A part of a message. Only text is supported."""

    type: Literal["text"]
    text: Text


class ChatMessage(Strict):
    """One turn. ``developer`` is OpenAI's name of ``system`` for its newer models."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=256)]

    def record(self) -> Message:
        role: Role = "system" if self.role == "developer" else self.role
        return Message(role, self.content if isinstance(self.content, str) else "".join(part.text for part in self.content))


class DocumentPart(Strict):
    """A text that the answer may quote."""

    title: Annotated[str, StringConstraints(max_length=300)] = ""
    text: Text


class StreamOptions(Strict):
    """Whether a stream ends with a chunk of token usage."""

    include_usage: bool = False


class Drawing(Strict):
    """The fields that both kinds of request share."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    n: int = Field(1, ge=1, le=MOST_ANSWERS, description="Answers to the same prompt.")
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: StopWord | Annotated[list[StopWord], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-SEED, lt=SEED, description="The same seed and request give the same answer.")
    temperature: float = Field(1.0, ge=0, le=10, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1, le=10_000_000, description="Keep the k likeliest tokens; 0 or -1 keeps all.")
    min_p: float = Field(0.0, ge=0, le=1, description="Keep the tokens at least this probable relative to the likeliest.")
    repetition_penalty: float = Field(1.0, gt=0, le=10, description="1 is off.")
    user: Annotated[str, StringConstraints(max_length=300)] | None = Field(None, description="Taken, and used for nothing.")

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_k=max(self.top_k, 0),
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            max_tokens=max_tokens,
            min_p=self.min_p,
        )

    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def seeds(self) -> list[int | None]:
        """Return one seed for each of the n answers; the first is the request's own."""
        return [None if self.seed is None else self.seed + number for number in range(self.n)]


class ChatRequest(Drawing):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2048)]
    max_tokens: int | None = Field(None, ge=1, le=10_000_000, description="Without it an answer may fill the context.")
    max_completion_tokens: int | None = Field(None, ge=1, le=10_000_000, description="Another name for max_tokens.")
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    truncation: Literal["disabled", "auto"] = Field("disabled", description="auto leaves out the oldest turns that do not fit.")

    documents: Annotated[list[DocumentPart], Field(max_length=64)] = Field([], description="Answers with quotes from these alone.")

    def ask(self, default: int) -> Ask:
        """Return the request without its seed. Raises NotUnderstood when two fields contradict each other."""
        wanted = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(wanted) > 1:
            raise NotUnderstood("max_tokens and max_completion_tokens differ", where="max_tokens", hint="give only one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise NotUnderstood("top_logprobs needs logprobs", where="top_logprobs", hint="give logprobs: true")
        return Ask(
            self.sampling(next(iter(wanted)) or default if wanted else default),
            conversation=tuple(message.record() for message in self.messages),
            stop=self.stops(),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            exact=bool(wanted),
            shorten=self.truncation == "auto",
            documents=tuple(Document(part.title, part.text) for part in self.documents),
        )


TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1_000_000)]


class CompletionRequest(Drawing):
    """``POST /v1/completions``: raw text or tokens, continued."""

    prompt: Text | TokenIds | Annotated[list[Text], Field(min_length=1, max_length=64)]
    max_tokens: int = Field(16, ge=1, le=10_000_000)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: Literal[False] = False

    def asks(self) -> list[Ask]:
        """Return one ask per prompt, without seeds. Raises NotUnderstood for more answers than one request may have."""
        prompts: list[str | tuple[int, ...]] = []
        if isinstance(self.prompt, str):
            prompts.append(self.prompt)
        else:
            texts = [part for part in self.prompt if isinstance(part, str)]
            prompts += texts or [tuple(part for part in self.prompt if isinstance(part, int))]
        if len(prompts) * self.n > 128:
            raise NotUnderstood(f"{len(prompts)} prompts with n={self.n} make {len(prompts) * self.n} answers", hint="ask for 128 at most")
        sampling, stops = self.sampling(self.max_tokens), self.stops()
        return [Ask(sampling, prompt=prompt, stop=stops, logprobs=self.logprobs, exact=True) for prompt in prompts]


KINDS = (ChatRequest, CompletionRequest, ChatMessage, TextPart, DocumentPart, StreamOptions)
FIELDS = {name for kind in KINDS for name in kind.model_fields}
"""Every field's name."""
