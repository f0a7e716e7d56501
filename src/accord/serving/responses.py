"""``POST /v1/responses``: an answer as a list of items (a thought, a message, calls), whole or as a stream.

The answer is drawn as for chat completions; only its form is another. Nothing is kept: a response cannot be fetched or continued by its
id.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from accord.data.tool_turns import ToolCall
from accord.serving.answers import Choice, ended, told_tokens, usage, written
from accord.serving.completions import answered, understood
from accord.serving.detokenizer import Apart
from accord.serving.host import Piece, RefusedRequest, Token
from accord.serving.response_fields import ResponseRequest
from accord.serving.service import Who, With

UNFINISHED = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete, by the end that chat completions name."""


async def responses(asked: ResponseRequest, request: Request, service: With, who: Who) -> Response:
    ask, beside = await understood(asked, request, service, who)
    return await answered(Written(asked, logprobs=ask.logprobs is not None), asked, [ask], request, service, who, beside)


class Written:
    """Writes one response."""

    def __init__(self, asked: ResponseRequest, *, logprobs: bool) -> None:
        self.asked, self.logprobs = asked, logprobs
        self.id, self.created = _new("resp"), int(time.time())
        self._apart = Apart()
        self._items = list[dict[str, Any]]()
        """Items of the stream; the last one may be open."""
        self._open = False
        self._tokens = list[Token]()
        """Tokens of the open message whose text is held back."""
        self._told = list[Token]()
        self._number = 0

    def whole(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Return the body of a response that is not streamed."""
        choice = choices[0]
        reasoning, text = Apart().push(choice.text, last=True)
        items, status = list[dict[str, Any]](), _status(choice.finish)
        if thought := choice.reasoning or reasoning:
            items.append(_thought(thought))
        if text or not choice.calls:
            items.append(_message(text, status, choice.tokens if self.logprobs else None))
        items += [_call(call) for call in choice.calls]
        return self._body(choice, items)

    def part(self, index: int, piece: Piece) -> bytes:
        """Return the events of the next piece."""
        sent = list[bytes]()
        if not self._number:
            begun = self._body(Choice(version=piece.version), [])
            sent += [self._event("response.created", response=begun), self._event("response.in_progress", response=begun)]
        reasoning, text = self._apart.push(piece.text, last=bool(piece.finish))
        self._tokens += piece.tokens
        if thought := piece.reasoning or reasoning:
            sent += self._grown("reasoning", thought)
        if text or (piece.finish and not piece.calls and not self._in("message")):
            sent += self._grown("message", text)
        if piece.finish:
            sent += self._closed(_status(ended(piece)))
        for call in piece.calls:
            sent += self._called(call)
        return b"".join(sent)

    def last(self, choices: Sequence[Choice]) -> bytes:
        """Return the event with the whole response."""
        body = self._body(choices[0], self._items)
        return self._event(f"response.{body['status']}", response=body)

    def failed(self, error: RefusedRequest) -> bytes:
        """Return the event of an error in the middle of a stream."""
        body = self._body(Choice(), self._items) | {"status": "failed", "error": {"code": "server_error", "message": str(error)}}
        return self._event("response.failed", response=body)

    def _in(self, type: str) -> bool:
        return self._open and self._items[-1]["type"] == type

    def _grown(self, type: str, text: str) -> list[bytes]:
        """Return the events of more text of a message or a thought, which may begin with it."""
        sent = list[bytes]()
        if not self._in(type):
            sent += self._closed("completed")
            item = _message("", "in_progress", None) if type == "message" else _thought("")
            self._open = True
            self._items.append(item)
            part, item = item["content"][0], item | {"content": []}
            sent.append(self._event("response.output_item.added", output_index=self._place, item=item))
            sent.append(self._of_part("response.content_part.added", part=part))
        self._items[-1]["content"][0]["text"] += text
        if type == "reasoning":
            return [*sent, self._of_part("response.reasoning_text.delta", delta=text)]
        told, self._tokens = self._tokens, []
        self._told += told
        return [*sent, self._of_part("response.output_text.delta", delta=text, logprobs=told_tokens(told) if self.logprobs else [])]

    def _closed(self, status: str) -> list[bytes]:
        """Return the events with which the open item ends."""
        if not self._open:
            return []
        self._open, item = False, self._items[-1]
        part, tokens = item["content"][0], list[Any]()
        name, beside = "reasoning_text", dict[str, Any]()
        if item["type"] == "message":
            tokens = told_tokens([*self._told, *self._tokens]) if self.logprobs else []
            self._told, self._tokens = [], []
            part |= {"logprobs": tokens}
            item["status"] = status
            name, beside = "output_text", {"logprobs": tokens}
        return [
            self._of_part(f"response.{name}.done", text=part["text"], **beside),
            self._of_part("response.content_part.done", part=part),
            self._event("response.output_item.done", output_index=self._place, item=item),
        ]

    def _called(self, call: ToolCall) -> list[bytes]:
        """Return the events of a call."""
        item = _call(call)
        self._items.append(item)
        where = {"item_id": item["id"], "output_index": self._place}
        begun = item | {"arguments": "", "status": "in_progress"}
        return [
            self._event("response.output_item.added", output_index=self._place, item=begun),
            self._event("response.function_call_arguments.delta", **where, delta=item["arguments"]),
            self._event("response.function_call_arguments.done", **where, name=item["name"], arguments=item["arguments"]),
            self._event("response.output_item.done", output_index=self._place, item=item),
        ]

    @property
    def _place(self) -> int:
        return len(self._items) - 1

    def _of_part(self, type: str, **fields: Any) -> bytes:
        return self._event(type, item_id=self._items[-1]["id"], output_index=self._place, content_index=0, **fields)

    def _event(self, type: str, **fields: Any) -> bytes:
        body = json.dumps({"type": type, "sequence_number": self._number, **fields}, ensure_ascii=False)
        self._number += 1
        return f"event: {type}\ndata: {body}\n\n".encode("utf-8", "replace")

    def _body(self, choice: Choice, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the response with these items; it is in progress while the answer has no end."""
        asked, why = self.asked, UNFINISHED.get(choice.finish)
        counted = usage([choice], 1)
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": _status(choice.finish) if choice.finish else "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": {"reason": why} if why else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata,
            "model": asked.model,
            "output": list(items),
            "parallel_tool_calls": asked.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": False,
            "system_fingerprint": choice.version,
            "temperature": asked.temperature,
            "text": {"format": asked.text.format.model_dump(by_alias=True, exclude_none=True)},
            "tool_choice": asked.tool_choice if isinstance(asked.tool_choice, str) else asked.tool_choice.model_dump(),
            "tools": [tool.model_dump() for tool in asked.tools],
            "top_logprobs": asked.top_logprobs or 0,
            "top_p": asked.top_p,
            "truncation": asked.truncation,
            "usage": _usage(counted) if choice.finish else None,
            "user": asked.user,
        }


def _usage(counted: dict[str, int]) -> dict[str, Any]:
    """Return the usage by the names of responses. What was cached or thought is not counted apart."""
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted["total_tokens"],
    }


def _status(finish: str) -> str:
    return "incomplete" if finish in UNFINISHED else "completed"


def _message(text: str, status: str, tokens: Sequence[Token] | None) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": told_tokens(tokens or ())}
    return {"id": _new("msg"), "type": "message", "status": status, "role": "assistant", "content": [part]}


def _thought(text: str) -> dict[str, Any]:
    return {"id": _new("rs"), "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def _call(call: ToolCall) -> dict[str, Any]:
    function = written([call])[0]["function"]
    return {"id": _new("fc"), "type": "function_call", "status": "completed", "call_id": call.id, **function}


def _new(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"
