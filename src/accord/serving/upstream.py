"""A host whose models run behind another OpenAI-compatible server. Accord is the gate (keys, limits, filters,
metrics), the other the engine.

Temporary failures before the first token are retried. After it an answer cannot be restarted, and the stream
reports the break.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from accord.data.tool_turns import ToolCall, template_turn
from accord.engine.remote import KEY, LONGEST_WAIT, TRY_AGAIN, Show, asked_wait, content_of, hidden, parsed, sampling_fields, told
from accord.errors import UsageError
from accord.records import MediaFile, Message, Sampling
from accord.serving.host import Ask, Busy, Embedded, Finish, NotUnderstood, Piece, RefusedRequest, Token, TooSlow, Unavailable, UnknownModel

LONGEST_LINE, LONGEST_ANSWER = 1_000_000, 64_000_000
"""Most bytes of a line of a streamed answer, and of all of an answer."""
LONGEST_PROBLEM = 65_536
"""Most bytes of a refusal that are read."""
LONGEST_TOKEN = 128
"""Characters per token that an answer may have at most, whatever the server counts."""
log = logging.getLogger("accord.serve")


class Upstream:
    """Answers through an OpenAI-compatible address.

    Args:
        address: up to and including ``/v1``.
        key: its API key; by default the environment's ``OPENAI_API_KEY``.
        seconds: deadline of one answer, from the first try to the last token.
        tries: how often a request is sent before its first token.
        pause: seconds before the second try; doubled with every further one.
        show: gives a picture by its digest; without it messages with pictures of the store are refused.
        sees: whether its models read pictures; those of requests are passed on then.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str = "",
        seconds: float = 300.0,
        tries: int = 3,
        pause: float = 0.5,
        show: Show | None = None,
        sees: bool = False,
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise UsageError("is not an address", where=address, hint="give one like http://127.0.0.1:8000/v1")
        self.address, self.seconds, self.tries, self.pause = address.rstrip("/"), seconds, tries, pause
        self._show, self._sees = show, sees
        self._key = key or os.environ.get(KEY, "")
        self._names: list[str] = []
        self._running: dict[str, int] = {}
        self._client: httpx.AsyncClient | None = None

    def models(self) -> list[str]:
        """Return the names that the server last listed."""
        return list(self._names)

    def version(self, model: str) -> str:
        """Return the name at the server; only that server knows the weights."""
        return f"{model}@{urlsplit(self.address).netloc}"

    def sees(self, model: str) -> bool:
        """Return whether pictures are passed on."""
        return self._sees

    def state(self) -> dict[str, dict[str, float]]:
        return {model: {"running": count} for model, count in self._running.items()}

    async def start(self) -> None:
        """Ask for the server's models. A server that does not answer yet is asked again with the first request."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        timeout = httpx.Timeout(self.seconds, connect=5.0)
        self._client = httpx.AsyncClient(base_url=self.address, headers=headers, timeout=timeout, limits=limits)
        await self._refresh()

    async def close(self) -> None:
        if self._client:
            await self._client.aclose()
        self._client = None

    async def swap(self, name: str, model: str) -> None:
        """Ask for the server's models again; that server swaps its models itself."""
        await self._refresh()

    async def stream(
        self, model: str, conversation: Sequence[Message], *, sampling: Sampling, seed: int | None = None, stop: Sequence[str] = ()
    ) -> AsyncGenerator[Piece]:
        """Return pieces of an answer to a conversation; see ``host.Host``."""
        pieces = self.ask(model, Ask(sampling, tuple(conversation), seed=seed, stop=tuple(stop)))
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    async def embed(self, model: str, text: str | tuple[int, ...]) -> Embedded:
        """Refuse: embeddings of the other server are not passed on."""
        raise NotUnderstood("embeddings of the server behind this one are not passed on", where=model, hint="ask that server itself")

    async def ask(self, model: str, ask: Ask) -> AsyncGenerator[Piece]:
        """Return pieces of one answer; see ``host.Host``."""
        if not self._names:
            await self._refresh()
        self._running[model] = self._running.get(model, 0) + 1
        response = None
        deadline = asyncio.get_running_loop().time() + self.seconds
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._begun(model, ask)
            async with aclosing(_pieces(model, ask, response, self.version(model), deadline)) as pieces:
                async for piece in pieces:
                    yield piece
        except TimeoutError as error:
            raise TooSlow("the answer took longer than the time limit", where=self.address, seconds=5) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s sent what is no part of an answer: %r", self.address, error)
            raise Unavailable("the server behind this one sent what is no part of an answer", where=self.address, seconds=5) from error
        except httpx.TimeoutException as error:
            raise TooSlow("the server behind this one took too long", where=self.address, seconds=5) from error
        except httpx.TransportError as error:
            raise Unavailable("the server behind this one broke the connection", where=self.address, seconds=5) from error
        finally:
            self._running[model] -= 1
            if response is not None:
                await response.aclose()

    async def _begun(self, model: str, ask: Ask) -> httpx.Response:
        """Return the response to a request, its head read. Raises RefusedRequest."""
        if self._client is None:
            raise Unavailable("the gate is not open", hint="start the host first", seconds=5)
        problem, wait = "", 0.0
        for number in range(self.tries):
            if number:
                await asyncio.sleep(min(wait or self.pause * 2 ** (number - 1) * random.uniform(0.5, 1.5), LONGEST_WAIT))
            request = self._client.build_request(
                "POST", "/chat/completions" if ask.conversation else "/completions", json=_body(model, ask, self._show)
            )
            try:
                response = await self._client.send(request, stream=True)
            except httpx.TransportError as error:
                problem, wait = f"{type(error).__name__}: {error}", 0.0
                continue
            if response.is_success:
                return response
            try:
                said = await beginning(response, self._key)
            finally:
                await response.aclose()
            if response.status_code == 429 or response.status_code not in TRY_AGAIN:
                raise refusal(model, response, said)
            problem, wait = f"{response.status_code}: {said}", asked_wait(response.headers)
        log.warning("%s gave no answer in %s tries: %s", self.address, self.tries, problem)
        raise Unavailable(
            f"the server behind this one gave no answer in {self.tries} tries", hint="it may be down; try again later", seconds=5
        )

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(5.0):
                listed = await self._listed()
            self._names = [str(row["id"]) for row in listed.get("data", [])]
        except (httpx.TransportError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s does not say what it has: %s", self.address, error)

    async def _listed(self) -> dict[str, Any]:
        """Return what the server says of its models. Raises ValueError when it never ends."""
        text = bytearray()
        if self._client is None:
            return {}
        async with self._client.stream("GET", "/models") as response:
            async for part in response.aiter_bytes():
                text += part
                if len(text) > LONGEST_LINE:
                    raise ValueError("its list of models does not end")
        return parsed(bytes(text)) if response.is_success else {}


@dataclass(frozen=True)
class UpstreamLibrary:
    """The models of the server behind this one. Their version is the server's address, because only the server
    knows the weights."""

    host: Upstream
    default: str = ""
    """The model to ask for until the server has listed its own."""

    def names(self) -> Sequence[str]:
        """Return the models that the server listed last."""
        return self.host.models() or [self.default or "default"]

    def digest(self, name: str) -> str:
        """Return the server's address, which stands for the digest."""
        return self.host.version(name).rpartition("@")[2]

    def sees(self, name: str) -> bool:
        """Return whether pictures are passed on."""
        return self.host.sees(name)


def _body(model: str, ask: Ask, show: Show | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}, **sampling_fields(ask.sampling)}
    if ask.exact:
        body["max_tokens"] = ask.sampling.max_tokens
    if ask.conversation:
        body["messages"] = [_turn(message, _shown(ask.media, show)) for message in ask.conversation]
    else:
        body["prompt"] = ask.prompt if isinstance(ask.prompt, str) else list(ask.prompt)
    if ask.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": ask.logprobs} if ask.conversation else {"logprobs": ask.logprobs}
    body |= {name: getattr(ask, name) for name in ("frequency_penalty", "presence_penalty") if getattr(ask, name)}
    if ask.logit_bias:
        body["logit_bias"] = {str(token): amount for token, amount in ask.logit_bias}
    if ask.tools:
        only: Any = {"type": "function", "function": {"name": ask.tools.only}}
        body["tools"] = [{"type": "function", "function": dict(function)} for function in ask.tools.functions]
        body |= {"tool_choice": only if ask.tools.only else ask.tools.choice, "parallel_tool_calls": ask.tools.parallel}
    if ask.schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(ask.schema), "strict": True}}
    if ask.echo:
        body["echo"] = True
    if not ask.special:
        body["add_special_tokens"] = False
    more: dict[str, Any] = {"seed": ask.seed, "stop": list(ask.stop) or None, "truncation": "auto" if ask.shorten else None}
    return body | {name: value for name, value in more.items() if value is not None}


def _shown(media: Sequence[MediaFile], show: Show | None) -> Show | None:
    """Return what gives a picture by its digest: one of the request, or one of the store."""
    held = {file.digest: file for file in media}
    if not held:
        return show

    def given(digest: str) -> MediaFile:
        if digest in held or show is None:
            return held[digest]
        return show(digest)

    return given


def _turn(message: Message, show: Show | None) -> dict[str, Any]:
    """Return a turn in OpenAI's form, in which the arguments of calls are text, and pictures are data URLs."""
    turn = template_turn(message) | {"content": content_of(message, show)}
    for call in turn.get("tool_calls", ()):
        call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return turn


async def beginning(response: httpx.Response, key: str) -> str:
    """Return the message of a refusal, however long its text is, without our key."""
    text = bytearray()
    async for part in response.aiter_bytes():
        text += part
        if len(text) > LONGEST_PROBLEM:
            break
    return hidden(told(httpx.Response(response.status_code, content=bytes(text))), key)


def refusal(model: str, response: httpx.Response, text: str, key: str = KEY) -> RefusedRequest:
    """Return the other server's refusal as our own, with its words but without its complaints about our key.

    Args:
        key: the environment variable that holds it.
    """
    status = response.status_code
    if status == 404:
        return UnknownModel(text, where=model)
    if status == 429:
        return Busy(text, where=model, seconds=asked_wait(response.headers) or 1.0)
    if status in (401, 403):
        log.warning("%s refuses this gate: %s %s", response.url, status, text)
        return Unavailable(
            "the server behind this one refused this gate's key", hint=f"the operator of this gate has to set {key}", seconds=60
        )
    return NotUnderstood(text, where=model)


async def _pieces(model: str, ask: Ask, response: httpx.Response, version: str, deadline: float) -> AsyncGenerator[Piece]:
    """Return the stream's chunks as pieces. The last is held back until the tokens are counted.

    An answer ends at the tokens that the request allows, whatever the server goes on to send.
    """
    last, drawn, prompt, counted = "", 0, 0, 0
    most, length = ask.sampling.max_tokens if ask.exact else math.inf, 0
    called = dict[int, dict[str, str]]()
    async for chunk in _chunks(response, deadline):
        version = str(chunk.get("system_fingerprint") or version)
        if usage := chunk.get("usage"):
            prompt, counted = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        for choice in chunk.get("choices") or ():
            said: Any = (choice.get("delta") or {}).get("content") if ask.conversation else choice.get("text")
            text = cast("str", said or "")
            tokens = _tokens(choice.get("logprobs"), chat=bool(ask.conversation)) if ask.logprobs is not None else ()
            last = str(choice.get("finish_reason") or last)
            for part in cast("list[dict[str, Any]]", (choice.get("delta") or {}).get("tool_calls") or []):
                _join(called, part)
                length += len(str(part))
            count: int = len(tokens) or bool(text)
            drawn, length = drawn + count, length + len(text)
            if drawn > most or length > most * LONGEST_TOKEN:
                yield Piece("", "length", (), 0, prompt, version)
                return
            if count:
                yield Piece(text, "", tokens, count, prompt, version)
    if not last:
        raise Unavailable("the server behind this one broke the connection", where=model, seconds=5)
    finish: Finish = "length" if last == "length" else "stop"
    calls = tuple(_called(model, call) for _, call in sorted(called.items()))
    yield Piece("", finish, (), max(counted - drawn, 0), prompt, version, calls=calls)


def _join(called: dict[int, dict[str, str]], part: dict[str, Any]) -> None:
    """Add a part of a call to the calls so far."""
    call = called.setdefault(int(part.get("index") or 0), {"id": "", "name": "", "arguments": ""})
    function: dict[str, Any] = part.get("function") or {}
    call["id"] += str(part.get("id") or "")
    for name in ("name", "arguments"):
        call[name] += str(function.get(name) or "")


def _called(model: str, call: dict[str, str]) -> ToolCall:
    try:
        arguments: Any = json.loads(call["arguments"] or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise Unavailable("the server behind this one sent a call without arguments", where=model, seconds=5)
    return ToolCall(call["id"], call["name"], cast("dict[str, Any]", arguments))


async def _chunks(response: httpx.Response, deadline: float) -> AsyncIterator[dict[str, Any]]:
    async for line in _lines(response, deadline):
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        try:
            chunk = parsed(line[5:])
        except ValueError as error:
            raise Unavailable("the server behind this one sent invalid JSON", seconds=5) from error
        if not isinstance(chunk, dict):
            raise TypeError("a chunk is no object")
        if "error" in chunk:
            log.warning("the server behind this one failed: %.300s", cast("dict[str, Any]", chunk)["error"])
            raise Unavailable("the server behind this one failed while it was answering", seconds=5)
        yield cast("dict[str, Any]", chunk)


async def _lines(response: httpx.Response, deadline: float) -> AsyncIterator[bytes]:
    """Return a stream's lines. Comments too count against the deadline, and no line is longer than ``LONGEST_LINE``."""
    rest, size = bytearray(), 0
    parts = response.aiter_bytes()
    while True:
        async with asyncio.timeout_at(deadline):
            part = await anext(parts, None)
        if part is None:
            break
        size += len(part)
        *lines, last = part.split(b"\n")
        for line in lines:
            yield bytes(rest + line)
            rest.clear()
        rest += last
        if len(rest) > LONGEST_LINE or size > LONGEST_ANSWER:
            raise ValueError("a line or an answer does not end")
    if rest:
        yield bytes(rest)


def _tokens(told: Any, *, chat: bool) -> tuple[Token, ...]:
    """Return the log-probabilities of a chunk. The server sends no token ids, so these are -1."""
    if not told:
        return ()
    if chat:
        tokens = list[Token]()
        rows: list[Any] = told.get("content") or []
        for row in rows:
            tops = tuple((top["token"], top["logprob"]) for top in row.get("top_logprobs") or ())
            tokens.append(Token(-1, row["token"], row["logprob"], tops))
        return tuple(tokens)
    likeliest: list[Any] = told.get("top_logprobs") or [{}] * len(told["tokens"])
    triples = zip(told["tokens"], told["token_logprobs"], likeliest, strict=True)
    return tuple(Token(-1, text, logprob, _pairs(top)) for text, logprob, top in triples)


def _pairs(top: dict[str, float] | None) -> tuple[tuple[str, float], ...]:
    return tuple(top.items()) if top else ()
