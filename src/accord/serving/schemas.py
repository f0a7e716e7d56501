"""The API's request fields: the supported part of OpenAI's, and five more. ``fields`` says what becomes of any other.

Field names are OpenAI's; ``top_k``, ``min_p``, ``repetition_penalty`` and ``add_special_tokens`` are vLLM's; ``truncation`` is that of
OpenAI's Responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, cast

from pydantic import Field, StringConstraints

from accord.data.retrieval import Document
from accord.data.tool_turns import ToolCall, ToolTurn
from accord.records import Media, Message, Role, Sampling, composed
from accord.serving.fields import Open
from accord.serving.host import Ask, NotUnderstood
from accord.serving.picture_parts import ImageUrl, Pictures
from accord.serving.tool_fields import (
    MOST_CALLS,
    MOST_TOOLS,
    Call,
    Called,
    Choose,
    Format,
    Function,
    Id,
    OneFunction,
    Schema,
    Tool,
    answerable,
    named,
    one_form,
    tools_of,
)

LONGEST = 2_000_000
"""Longest text in characters. The body's limit is lower, so this bounds the schema alone."""
MOST_ANSWERS = 16
MOST_BIASED = 1024
"""Tokens that ``logit_bias`` may name."""
SEED = 2**63
USERS = "put pictures into the user's turns"

Text = Annotated[str, StringConstraints(max_length=LONGEST)]
TokenName = Annotated[str, StringConstraints(pattern="^[0-9]{1,9}$")]
StopWord = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Part(Open):
    """A part of a message: text, or a picture."""

    type: Annotated[str, StringConstraints(max_length=100)]
    text: Text | None = None
    refusal: Text | None = None
    image_url: ImageUrl | None = None

    def piece(self, where: str, shown: Pictures) -> str | Media:
        """Return its text or its picture. Raises NotUnderstood for a part that is neither."""
        if self.type == "image_url":
            if self.image_url is None:
                raise NotUnderstood(f"{where}.image_url is missing", hint="give {url: data URL}", param=f"{where}.image_url")
            return shown.take(self.image_url.url, f"{where}.image_url.url")
        said = {"text": self.text, "refusal": self.refusal}.get(self.type)
        if said is None:
            raise NotUnderstood(f"{where} has the type {self.type!r}: this server reads text and pictures", param=f"{where}.type")
        return said


class ChatMessage(Open):
    """One turn. ``developer`` is OpenAI's name of ``system`` for its newer models. What an answer's message holds may come back."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[Part], Field(min_length=1, max_length=256)] | None = None
    name: Annotated[str, StringConstraints(max_length=300)] | None = Field(None, description="Taken, and used for nothing.")
    refusal: Text | None = Field(None, description="What an assistant said instead of content.")
    reasoning_content: Text | None = Field(None, description="An earlier thought; a model does not see it again.")
    quotes: Annotated[list[Any], Field(max_length=1024)] | None = Field(None, description="As an answer had them; not read again.")
    tool_calls: Annotated[list[Call], Field(max_length=MOST_CALLS)] = Field(default_factory=list[Call])
    tool_call_id: Id | None = Field(None, description="The call whose result this turn of the role tool is.")

    def pictures(self) -> list[int]:
        """Return the places of the parts that are pictures."""
        return [place for place, part in enumerate(self.content) if part.type == "image_url"] if isinstance(self.content, list) else []

    def record(self, where: str, shown: Pictures) -> Message:
        """Return the turn as a record. Raises NotUnderstood for one without words, and for a call or a result in another's turn.

        Args:
            shown: takes its pictures.
        """
        content = self.content if self.content is not None or self.role != "assistant" else self.refusal
        if (self.role == "tool") != (self.tool_call_id is not None) or (self.tool_calls and self.role != "assistant"):
            field = "tool_calls" if self.tool_calls else "tool_call_id"
            raise NotUnderstood(f"{where}.{field} does not go with the role {self.role!r}", param=f"{where}.{field}")
        if content is None and not self.tool_calls:
            raise NotUnderstood(f"{where}.content is missing", hint="give the turn's text", param=f"{where}.content")
        parts = content if isinstance(content, list) else []
        if (places := self.pictures()) and self.role != "user":
            where_from = f"{where}.content.{places[0]}"
            raise NotUnderstood(f"{where_from} is a picture in a turn of the role {self.role!r}", hint=USERS, param=where_from)
        told = [part.piece(f"{where}.content.{place}", shown) for place, part in enumerate(parts)]
        if places:
            return composed("user", told)
        said = content if isinstance(content, str) else "".join(piece for piece in told if isinstance(piece, str))
        calls = list[ToolCall]()
        for place, call in enumerate(self.tool_calls):
            calls.append(call.function.call(call.id, f"{where}.tool_calls.{place}.function"))
        role = cast("Role", "system" if self.role == "developer" else self.role)
        if calls or self.tool_call_id:
            return ToolTurn(role, said, tuple(calls), self.tool_call_id or "", self.name or "")
        return Message(role, said)


class DocumentPart(Open):
    """A text that the answer may quote."""

    title: Annotated[str, StringConstraints(max_length=300)] = ""
    text: Text


class StreamOptions(Open):
    """Whether a stream ends with a chunk of token usage."""

    include_usage: bool = False
    include_obfuscation: bool = Field(False, description="Taken; nothing is added to hide an event's length.")


class Asked(Open):
    """The fields that every request has."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    user: Annotated[str, StringConstraints(max_length=300)] | None = Field(None, description="Taken, and used for nothing.")


class Drawing(Asked):
    """The fields that every request for an answer has."""

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
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="Subtracted from a token's logit as often as the answer has it.")
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="Subtracted once from the logit of a token that the answer has.")
    logit_bias: Annotated[dict[TokenName, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MOST_BIASED)] = Field(
        {}, description="Added to the logits of these tokens, by their ids."
    )

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

    def biased(self) -> tuple[tuple[int, float], ...]:
        return tuple((int(token), amount) for token, amount in self.logit_bias.items())

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

    tools: Annotated[list[Tool], Field(max_length=MOST_TOOLS)] = Field([])
    tool_choice: Literal["none", "auto", "required"] | Choose = "auto"
    parallel_tool_calls: bool = True
    response_format: Format = Format(type="text")
    documents: Annotated[list[DocumentPart], Field(max_length=64)] = Field([], description="Answers with quotes from these alone.")

    def picture(self) -> str:
        """Return the path of its first picture; empty when it has none."""
        for number, message in enumerate(self.messages):
            if places := message.pictures():
                return f"messages.{number}.content.{places[0]}"
        return ""

    def ask(self, default: int, shown: Pictures) -> Ask:
        """Return the request without its seed. Raises NotUnderstood when two fields contradict each other.

        Args:
            shown: takes the request's pictures.
        """
        wanted = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(wanted) > 1:
            raise NotUnderstood("max_tokens and max_completion_tokens differ", where="max_tokens", hint="give only one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise NotUnderstood("top_logprobs needs logprobs", where="top_logprobs", hint="give logprobs: true")
        turns = [message.record(f"messages.{place}", shown) for place, message in enumerate(self.messages)]
        answerable(turns, [f"messages.{place}.{{}}" for place in range(len(turns))], result="tool_call_id")
        schema = self.response_format.schema_of_answer()
        choice, only = (self.tool_choice, "") if isinstance(self.tool_choice, str) else ("required", self.tool_choice.function.name)
        tools = tools_of([tool.function for tool in self.tools], choice, only, parallel=self.parallel_tool_calls)
        one_form(tools, schema, "response_format")
        if self.documents and (tools or schema is not None):
            raise NotUnderstood("documents allow quotes alone, no calls and no schema", param="documents")
        if self.documents and shown.files:
            raise NotUnderstood("documents allow quotes alone, which no picture is", hint="leave one of them out", param="documents")
        return Ask(
            self.sampling(next(iter(wanted)) or default if wanted else default),
            conversation=named(turns),
            tools=tools,
            schema=schema,
            stop=self.stops(),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            exact=bool(wanted),
            shorten=self.truncation == "auto",
            documents=tuple(Document(part.title, part.text) for part in self.documents),
            media=shown.files,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias=self.biased(),
        )


TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1_000_000)]


def texts_of(given: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]]) -> list[str | tuple[int, ...]]:
    """Return the texts, or the tokens, that a field holds: one or several."""
    if isinstance(given, str):
        return [given]
    if ids := [part for part in given if isinstance(part, int)]:
        return [tuple(ids)]
    return [part if isinstance(part, str) else tuple(part) for part in given if not isinstance(part, int)]


class CompletionRequest(Drawing):
    """``POST /v1/completions``: raw text or tokens, continued."""

    prompt: Text | TokenIds | Annotated[list[Text] | list[TokenIds], Field(min_length=1, max_length=64)]
    max_tokens: int = Field(16, ge=0, le=10_000_000, description="0, with echo, gives the prompt alone.")
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = Field(False, description="Whether the answer begins with the prompt.")
    add_special_tokens: bool = Field(True, description="Whether a text begins with the BOS of a tokenizer that writes one.")
    best_of: int | None = Field(None, ge=1, le=MOST_ANSWERS, description="Only n itself: every answer that is drawn is returned.")

    def asks(self) -> list[Ask]:
        """Return one ask per prompt, without seeds. Raises NotUnderstood for more answers than one request may have."""
        prompts = texts_of(self.prompt)
        if len(prompts) * self.n > 128:
            raise NotUnderstood(f"{len(prompts)} prompts with n={self.n} make {len(prompts) * self.n} answers", hint="ask for 128 at most")
        if self.best_of not in (None, self.n):
            raise NotUnderstood(f"best_of is {self.best_of} and n is {self.n}", hint="give n alone, and choose among them", param="best_of")
        if not self.max_tokens and not self.echo:
            raise NotUnderstood("max_tokens is 0, so that there is nothing to answer", hint="give echo: true, or more", param="max_tokens")
        one = Ask(
            self.sampling(self.max_tokens),
            stop=self.stops(),
            logprobs=self.logprobs,
            exact=True,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias=self.biased(),
            special=self.add_special_tokens,
            echo=self.echo,
        )
        return [replace(one, prompt=prompt) for prompt in prompts]


KINDS = (
    *(ChatRequest, CompletionRequest, ChatMessage, Part, ImageUrl, DocumentPart, StreamOptions),
    *(Tool, Function, Call, Called, Choose, OneFunction, Format, Schema),
)
FIELDS = {name for kind in KINDS for name in kind.model_fields}
"""Every field's name."""
