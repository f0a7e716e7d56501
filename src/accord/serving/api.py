"""The OpenAI-compatible API over a host of models: chat and text completions, models, health, metrics.

Closed by default: every route except ``/health`` requires a key. All errors have OpenAI's form.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from accord.errors import AccordError
from accord.runtime.version import __version__
from accord.serving import answers
from accord.serving.answers import DONE, Choice, Events, Form
from accord.serving.gate import Gate, Gone, problem
from accord.serving.guards import Guarded, Rules
from accord.serving.host import Ask, Host, Piece, RefusedRequest, Unavailable, UnknownModel
from accord.serving.keys import Key, Keys
from accord.serving.limits import Limits
from accord.serving.metrics import Meter
from accord.serving.schemas import FIELDS, ChatRequest, CompletionRequest, Drawing

Result = TypeVar("Result")
OWN = ("127.0.0.1", "localhost", "::1", "[::1]")
WHOLE_CONTEXT = 10_000_000
"""Length limit when a request names none: the model's context ends the answer."""
NOBODY = "open"
"""The caller when no key is needed."""
log = logging.getLogger("accord.serve")


@dataclass(frozen=True)
class Service:
    """The objects that the routes work with."""

    host: Host
    keys: Keys | None
    limits: Limits
    meter: Meter


@dataclass(frozen=True)
class Caller:
    """The sender of a request."""

    id: str
    key: Key | None

    def may(self, model: str) -> bool:
        return self.key is None or not self.key.models or model in self.key.models


def create(
    host: Host, *, keys: Keys | None, limits: Limits | None = None, names: Sequence[str] = (), rules: Rules | None = None
) -> ASGIApp:
    """Return the API as an ASGI application over an open host.

    Args:
        keys: the accepted keys; None accepts everybody and is only for this machine's own addresses.
        names: accepted host names, besides this machine's own.
        rules: the rules for every conversation.
    """
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=[*OWN, *names], www_redirect=False)]
    app = FastAPI(title="Accord", version=__version__, docs_url=None, redoc_url=None, middleware=middleware)
    meter = Meter(host.state)
    guarded = Guarded(host, rules or Rules(), lambda side, kind: meter.filtered.labels(side, kind).inc())
    app.state.service = Service(guarded, keys, limits or Limits(), meter)
    _routes(app)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return Gate(app)


async def _service(request: Request) -> Service:
    return request.app.state.service


async def _caller(request: Request, service: Annotated[Service, Depends(_service)]) -> Caller:
    """Return the caller of a request. Raises HTTPException 401 without a valid key."""
    if service.keys is None:
        return Caller(NOBODY, None)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    key = service.keys.find(token.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        raise HTTPException(401, "give a working API key as Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
    return Caller(key.id, key)


Who = Annotated[Caller, Depends(_caller)]
With = Annotated[Service, Depends(_service)]
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text}
    for status, text in {
        400: "The request is not understood, or does not fit the context.",
        401: "No working key.",
        404: "No such model.",
        408: "The request came too slowly.",
        413: "The request is too large.",
        429: "Too much at once; Retry-After says when.",
        503: "The model is not there; Retry-After says when.",
        504: "The answer took too long.",
    }.items()
}


def _routes(app: FastAPI) -> None:
    app.get("/health", summary="Whether the server is there.")(health)
    app.get("/metrics", summary="Metrics for Prometheus.", response_class=Response, responses=ERRORS)(metrics)
    app.get("/v1/models", summary="What is served.", responses=ERRORS)(models)
    app.get("/v1/models/{model:path}", summary="One of them.", responses=ERRORS)(one_model)
    app.post("/v1/chat/completions", summary="Answers a conversation.", response_model=None, responses=ERRORS)(chat)
    app.post("/v1/completions", summary="Continues a text.", response_model=None, responses=ERRORS)(completions)


async def health(service: With) -> dict[str, Any]:
    """Answer without a key, and reveal only public facts."""
    return {"status": "ok", "version": __version__}


async def metrics(service: With, who: Who) -> Response:
    return Response(service.meter.text(), media_type="text/plain; version=0.0.4")


async def models(service: With, who: Who) -> dict[str, Any]:
    return {"object": "list", "data": [_described(service, name) for name in service.host.models() if who.may(name)]}


async def one_model(model: str, service: With, who: Who) -> dict[str, Any]:
    if model not in service.host.models() or not who.may(model):
        raise UnknownModel("no such model is served", where=model)
    return _described(service, model)


def _described(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "accord", "version": service.host.version(name)}


async def chat(asked: ChatRequest, request: Request, service: With, who: Who) -> Response:
    return await _answered(answers.CHAT, asked, [asked.ask(WHOLE_CONTEXT)], request, service, who)


async def completions(asked: CompletionRequest, request: Request, service: With, who: Who) -> Response:
    return await _answered(answers.TEXT, asked, asked.asks(), request, service, who)


async def _answered(form: Form, asked: Drawing, asks: Sequence[Ask], request: Request, service: Service, who: Caller) -> Response:
    """Draw n answers for each ask, and send them whole or as a stream."""
    if not who.may(asked.model):
        raise UnknownModel("no such model is served", where=asked.model)
    if who.key:
        service.limits.enter(who.id, who.key.requests_per_minute, who.key.tokens_per_minute)
    told = asks[0].logprobs is not None
    seeded = [replace(ask, seed=seed) for ask in asks for seed in asked.seeds()]
    drawn = [service.meter.watch(asked.model, service.host.ask(asked.model, ask)) for ask in seeded]
    choices = [Choice() for _ in drawn]
    pieces = _merged(drawn)
    if asked.stream:
        first = await _while_there(request.receive, anext(pieces))
        counted = bool(asked.stream_options and asked.stream_options.include_usage)
        events = _events(form, asked, first, pieces, choices, logprobs=told, counted=counted)
        return Stream(events, _limit_headers(service, who), lambda: _spend(service, who, choices, asked.n))

    async def gathered() -> None:
        async with aclosing(pieces):
            async for index, piece in pieces:
                choices[index].add(piece)

    try:
        await _while_there(request.receive, gathered())
    finally:
        _spend(service, who, choices, asked.n)
    return JSONResponse(answers.whole(form, asked.model, choices, asked.n, logprobs=told), headers=_limit_headers(service, who))


def _spend(service: Service, who: Caller, choices: Sequence[Choice], n: int) -> None:
    service.limits.spend(who.id, answers.usage(choices, n)["total_tokens"])


def _limit_headers(service: Service, who: Caller) -> dict[str, str]:
    return {f"x-ratelimit-remaining-{what}": str(left) for what, left in service.limits.left(who.id).items()}


async def _merged(drawn: Sequence[AsyncGenerator[Piece]]) -> AsyncGenerator[tuple[int, Piece]]:
    """Yield the pieces of several answers as they arrive, each with its answer's number. When one fails, all end."""
    if len(drawn) == 1:
        async with aclosing(drawn[0]) as pieces:
            async for piece in pieces:
                yield 0, piece
        return
    came: asyncio.Queue[tuple[int, Piece | BaseException]] = asyncio.Queue()

    async def follow(index: int, pieces: AsyncGenerator[Piece]) -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    came.put_nowait((index, piece))
        except Exception as error:  # told to whoever reads the merged stream
            came.put_nowait((index, error))

    tasks = [asyncio.create_task(follow(index, pieces)) for index, pieces in enumerate(drawn)]
    try:
        left = len(tasks)
        while left:
            index, piece = await came.get()
            if isinstance(piece, BaseException):
                raise piece
            left -= bool(piece.finish)
            yield index, piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _events(
    form: Form,
    asked: Drawing,
    first: tuple[int, Piece],
    rest: AsyncGenerator[tuple[int, Piece]],
    choices: list[Choice],
    *,
    logprobs: bool,
    counted: bool,
) -> AsyncGenerator[bytes]:
    """Yield the events of a stream whose first piece has arrived."""
    events = Events(form, asked.model, first[1].version)
    async with aclosing(rest):
        choices[first[0]].add(first[1])
        yield events.part(first[0], first[1], logprobs=logprobs)
        try:
            async for index, piece in rest:
                choices[index].add(piece)
                yield events.part(index, piece, logprobs=logprobs)
        except RefusedRequest as error:
            yield events.failed(problem(error.status, str(error), code=error.code))
            return
    if counted:
        yield events.usage(choices, asked.n)
    yield DONE


class Stream(Response):
    """Server-sent events. When the client disconnects, the generator is closed at once, which cancels the
    requests behind it."""

    def __init__(self, events: AsyncGenerator[bytes], headers: dict[str, str], ended: Callable[[], None]) -> None:
        super().__init__(None, 200, headers, "text/event-stream")
        del self.headers["content-length"]
        self.events, self.ended = events, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent() -> None:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self.events):
                async for event in self.events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            await _while_there(receive, sent())
        finally:
            await self.events.aclose()
            self.ended()


async def _while_there(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Run work until it is done or the client disconnects, which cancels it. Raises Gone then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Gone
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _error(status: int, message: str, *, code: str = "", param: str | None = None, headers: dict[str, str] | None = None) -> Response:
    body = problem(status, message, code=code, param=param)
    return Response(body, status, headers, "application/json")


def _refused(_: Request, error: Any) -> Response:
    headers = {"Retry-After": str(math.ceil(error.seconds))} if error.seconds else None
    return _error(error.status, str(error), code=error.code, headers=headers)


def _not_valid(_: Request, error: Any) -> Response:
    """Return the first error of a request on one line. For an unknown field, suggest the nearest known one."""
    first: dict[str, Any] = error.errors()[0]
    unknown = first["type"] == "extra_forbidden"
    where = [part for part in first["loc"] if isinstance(part, int) or part in FIELDS]  # the rest names the branches of a union
    param = ".".join(map(str, [*where, first["loc"][-1]] if unknown else where))
    if unknown:
        close = difflib.get_close_matches(str(first["loc"][-1]), sorted(FIELDS), 1)
        return _error(400, f"unknown field {param!r}{f': did you mean {close[0]!r}?' if close else ''}", code="unknown_field", param=param)
    return _error(400, f"{param}: {first['msg']}" if param else str(first["msg"]), code="invalid_value", param=param or None)


def _http(_: Request, error: Any) -> Response:
    codes = {401: "invalid_api_key", 404: "no_such_route", 405: "method_not_allowed"}
    return _error(error.status_code, str(error.detail), code=codes.get(error.status_code, ""), headers=error.headers)


def _known(_: Request, error: Any) -> Response:
    log.warning("a request failed: %s", error)
    return _refused(_, Unavailable("the server cannot answer at the moment", seconds=5))


_HANDLERS: dict[Any, Any] = {
    RefusedRequest: _refused,
    RequestValidationError: _not_valid,
    HTTPException: _http,
    AccordError: _known,
}
