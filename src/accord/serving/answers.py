"""Pieces of an answer as OpenAI's JSON: whole answers, and the events of a stream."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from accord.data.retrieval import Quote
from accord.data.tool_turns import ToolCall
from accord.serving.detokenizer import Apart
from accord.serving.host import Piece, Token

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


def whole(form: Form, model: str, choices: Sequence[Choice], n: int, *, logprobs: bool, id: str = "") -> dict[str, Any]:
    """Return the body of a response that is not streamed."""
    return {
        **_head(form, form.whole, model, choices[0].version, id),
        "choices": [
            {"index": i, **_content(form, choice), "logprobs": _logprobs(form, choice.tokens) if logprobs else None}
            | {"finish_reason": choice.finish}
            for i, choice in enumerate(choices)
        ],
        "usage": usage(choices, n),
    }


class Events:
    """The events of one stream. Its constant head is serialised once, because a stream has hundreds of events."""

    def __init__(self, form: Form, model: str, version: str, id: str = "") -> None:
        self.form = form
        head = json.dumps(_head(form, form.part, model, version, id), ensure_ascii=False)
        self._head = f"data: {head[:-1]}, "
        self._begun = set[int]()
        self._apart = dict[int, Apart]()

    def part(self, index: int, piece: Piece, *, logprobs: bool) -> bytes:
        """Return a piece of the answer with this number."""
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
        told = json.dumps(_logprobs(self.form, piece.tokens), ensure_ascii=False) if logprobs else "null"
        finish = f'"{ended(piece)}"' if piece.finish else "null"
        event = f'{self._head}"choices": [{{"index": {index}, {said}, "logprobs": {told}, "finish_reason": {finish}}}]}}\n\n'
        return event.encode("utf-8", "replace")

    def usage(self, choices: Sequence[Choice], n: int) -> bytes:
        """Return the event with the token usage."""
        return f'{self._head}"choices": [], "usage": {json.dumps(usage(choices, n))}}}\n\n'.encode()

    def failed(self, body: bytes) -> bytes:
        """Return an error in the middle of a stream."""
        return b"data: " + body + b"\n\n"


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


def _head(form: Form, object: str, model: str, version: str, id: str) -> dict[str, Any]:
    return {"id": id or new_id(form), "object": object, "created": int(time.time()), "model": model, "system_fingerprint": version}


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
        content = list[dict[str, Any]]()
        for token in tokens:
            likeliest = [_told(text, logprob) for text, logprob in token.likeliest]
            content.append({**_told(token.text, token.logprob), "top_logprobs": likeliest})
        return {"content": content}
    tops, starts, end = list[dict[str, float]](), list[int](), 0
    for token in tokens:
        tops.append({text: max(logprob, LEAST_LOGPROB) for text, logprob in token.likeliest})
        starts.append(end)
        end += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [max(token.logprob, LEAST_LOGPROB) for token in tokens],
        "top_logprobs": tops,
        "text_offset": starts,
    }


def _told(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": max(logprob, LEAST_LOGPROB), "bytes": list(text.encode("utf-8", "replace"))}
