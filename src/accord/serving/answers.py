"""Pieces of an answer as OpenAI's JSON: whole answers, and the events of a stream."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from accord.data.retrieval import Quote
from accord.data.tool_turns import ToolCall
from accord.serving.detokenizer import Apart
from accord.serving.gate import problem
from accord.serving.host import Piece, RefusedRequest, Token

LEAST_LOGPROB = -9999.0
"""The value that OpenAI writes for a token of zero probability."""


@dataclass(frozen=True)
class Form:
    """The response format of one kind of request."""

    prefix: str
    whole: str
    part: str
    chat: bool


CHAT = Form("chatcmpl-", "chat.completion", "chat.completion.chunk", True)
TEXT = Form("cmpl-", "text_completion", "text_completion", False)


@dataclass
class Choice:
    """One answer in its current state."""

    text: str = ""
    finish: str = ""
    tokens: tuple[Token, ...] = ()
    count: int = 0
    prompt_tokens: int = 0
    version: str = ""
    reasoning: str = ""
    quotes: tuple[Quote, ...] = ()
    calls: tuple[ToolCall, ...] = ()

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.finish, self.version = ended(piece), piece.version
        self.reasoning, self.quotes, self.calls = piece.reasoning, piece.quotes, piece.calls
        self.tokens += piece.tokens
        self.count += piece.count
        self.prompt_tokens = piece.prompt_tokens


def ended(piece: Piece) -> str:
    """Return OpenAI's term for the end of an answer."""
    if piece.calls and piece.finish == "stop":
        return "tool_calls"
    return "content_filter" if piece.withheld in ("input", "output") else piece.finish


class Writer(Protocol):
    """Writes the answers to one request, whole or as the events of a stream."""

    @property
    def id(self) -> str:
        """The response's id."""
        ...

    def whole(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Return the body of a response that is not streamed."""
        ...

    def part(self, index: int, piece: Piece) -> bytes:
        """Return the events of a piece of the answer with this number."""
        ...

    def last(self, choices: Sequence[Choice]) -> bytes:
        """Return the events behind the last piece."""
        ...

    def failed(self, error: RefusedRequest) -> bytes:
        """Return the event of an error in the middle of a stream."""
        ...


def usage(choices: Sequence[Choice], n: int) -> dict[str, Any]:
    """Return the token usage of a request. The prompt counts once for its n answers."""
    prompt, drawn = sum(choice.prompt_tokens for choice in choices[::n]), sum(choice.count for choice in choices)
    return {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}


def new_id(form: Form) -> str:
    """Return a random id for a response."""
    return f"{form.prefix}{secrets.token_hex(12)}"


def spoken(choice: Choice) -> str:
    """Return an answer without the model's thought."""
    return Apart().push(choice.text, last=True)[1]


class Completion:
    """Writes chat and text completions.

    Args:
        n: answers to each prompt.
        logprobs: whether to report log-probabilities.
        counted: whether a stream ends with the token usage.
    """

    def __init__(self, form: Form, model: str, n: int, *, logprobs: bool, counted: bool) -> None:
        self.form, self.model, self.n, self.logprobs, self.counted = form, model, n, logprobs, counted
        self.id = new_id(form)
        self._head = ""
        """The constant head of a stream's events, serialised once, because a stream has hundreds of them."""
        self._begun = set[int]()
        self._apart = dict[int, Apart]()

    def whole(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Return the body of a response that is not streamed."""
        told = list[dict[str, Any]]()
        for index, choice in enumerate(choices):
            logprobs = _logprobs(self.form, choice.tokens) if self.logprobs else None
            told.append({"index": index, **_content(self.form, choice), "logprobs": logprobs, "finish_reason": choice.finish})
        head = _head(self.form.whole, self.model, choices[0].version, self.id)
        return {**head, "choices": told, "usage": usage(choices, self.n)}

    def part(self, index: int, piece: Piece) -> bytes:
        """Return the event of a piece of the answer with this number."""
        if not self._head:
            head = json.dumps(_head(self.form.part, self.model, piece.version, self.id), ensure_ascii=False)
            self._head = f"data: {head[:-1]}, "
        if not self.form.chat:
            said = f'"text": {json.dumps(piece.text, ensure_ascii=False)}'
        else:
            reasoning, text = self._apart.setdefault(index, Apart()).push(piece.text, last=bool(piece.finish))
            content = json.dumps(text, ensure_ascii=False)
            piece = replace(piece, reasoning=piece.reasoning or reasoning)
            role = "" if index in self._begun else '"role": "assistant", '
            self._begun.add(index)
            called = [{"index": place, **call} for place, call in enumerate(written(piece.calls))]
            beside = json.dumps(_beside(piece) | ({"tool_calls": called} if called else {}), ensure_ascii=False)[1:-1]
            said = f'"delta": {{{role}"content": {content}{", " if beside else ""}{beside}}}'
        told = json.dumps(_logprobs(self.form, piece.tokens), ensure_ascii=False) if self.logprobs else "null"
        finish = f'"{ended(piece)}"' if piece.finish else "null"
        event = f'{self._head}"choices": [{{"index": {index}, {said}, "logprobs": {told}, "finish_reason": {finish}}}]}}\n\n'
        return event.encode("utf-8", "replace")

    def last(self, choices: Sequence[Choice]) -> bytes:
        """Return the token usage, if it is asked for, and the mark of the end."""
        counted = f'{self._head}"choices": [], "usage": {json.dumps(usage(choices, self.n))}}}\n\n' if self.counted else ""
        return counted.encode() + DONE

    def failed(self, error: RefusedRequest) -> bytes:
        """Return the event of an error in the middle of a stream."""
        return b"data: " + problem(error.status, str(error), code=error.code) + b"\n\n"


DONE = b"data: [DONE]\n\n"


async def gather(pieces: AsyncGenerator[Piece]) -> Choice:
    """Collect all the pieces of one answer."""
    choice = Choice()
    try:
        async for piece in pieces:
            choice.add(piece)
    finally:
        await pieces.aclose()
    return choice


def _head(object: str, model: str, version: str, id: str) -> dict[str, Any]:
    return {"id": id, "object": object, "created": int(time.time()), "model": model, "system_fingerprint": version}


def _content(form: Form, choice: Choice) -> dict[str, Any]:
    if not form.chat:
        return {"text": choice.text}
    reasoning, text = Apart().push(choice.text, last=True)
    said = replace(choice, reasoning=choice.reasoning or reasoning)
    called = {"tool_calls": written(choice.calls)} if choice.calls else {}
    content = text or (None if called else text)
    return {"message": {"role": "assistant", "content": content, "refusal": None, **called, **_beside(said)}}


def written(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """Return calls of functions in OpenAI's form."""
    told = list[dict[str, Any]]()
    for call in calls:
        arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
        told.append({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
    return told


def _beside(said: Choice | Piece) -> dict[str, Any]:
    """Return the fields beside OpenAI's: reasoning, as vLLM and DeepSeek name it, and quotes with their positions."""
    more: dict[str, Any] = {"reasoning_content": said.reasoning} if said.reasoning else {}
    return more | ({"quotes": [asdict(quote) for quote in said.quotes]} if said.quotes else {})


def _logprobs(form: Form, tokens: Sequence[Token]) -> dict[str, Any]:
    if form.chat:
        return {"content": told_tokens(tokens)}
    tops, starts, end = list[dict[str, float] | None](), list[int](), 0
    for token in tokens:
        likeliest = {text: max(logprob, LEAST_LOGPROB) for text, logprob in token.likeliest}
        tops.append(None if token.logprob is None else likeliest)
        starts.append(end)
        end += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [None if token.logprob is None else max(token.logprob, LEAST_LOGPROB) for token in tokens],
        "top_logprobs": tops,
        "text_offset": starts,
    }


def told_tokens(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Return tokens with their log-probabilities and the likeliest ones, as answers to conversations have them."""
    content = list[dict[str, Any]]()
    for token in tokens:
        likeliest = [_told(text, logprob) for text, logprob in token.likeliest]
        content.append({**_told(token.text, token.logprob or 0.0), "top_logprobs": likeliest})
    return content


def _told(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": max(logprob, LEAST_LOGPROB), "bytes": list(text.encode("utf-8", "replace"))}
