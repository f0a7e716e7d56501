"""The OpenAI-compatible API over a host of models: chat and text completions, responses, embeddings,
transcriptions, models, health, metrics.

Closed by default: every route except ``/health`` requires a key. All errors have OpenAI's form.
"""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from accord.errors import AccordError, InputError
from accord.runtime.version import __version__
from accord.serving.completions import chat, completions
from accord.serving.embeddings import EmbeddingRequest, embeddings
from accord.serving.fields import LONGEST_NAME
from accord.serving.gate import Gate, problem
from accord.serving.guards import Rules
from accord.serving.host import Host, NotUnderstood, RefusedRequest, Unavailable, UnknownModel
from accord.serving.keys import Keys
from accord.serving.limits import Limits
from accord.serving.metrics import Meter
from accord.serving.response_fields import RESPONSE_FIELDS
from accord.serving.responses import responses
from accord.serving.scenes import Stages, guarded
from accord.serving.schemas import FIELDS
from accord.serving.service import ERRORS, Keeper, Service, Who, With, key_of
from accord.serving.transcriptions import LARGEST_FORM, ROUTE, Transcriber, transcriptions

OWN = ("127.0.0.1", "localhost", "::1", "[::1]")
log = logging.getLogger("accord.serve")


def create(
    host: Host,
    *,
    keys: Keys | None,
    limits: Limits | None = None,
    names: Sequence[str] = (),
    rules: Rules | None = None,
    scenes: Stages | None = None,
    strict: bool = False,
    keeper: Keeper | None = None,
    transcriber: Transcriber | None = None,
    extend: Callable[[FastAPI], None] | None = None,
) -> ASGIApp:
    """Return the API as an ASGI application over an open host.

    Args:
        keys: the accepted keys; None accepts everybody and is only for this machine's own addresses.
        names: accepted host names, besides this machine's own.
        rules: the rules for every conversation.
        scenes: what is different in some of them; None where the project has no scenes.
        strict: refuse a request with a field that nobody reads, instead of naming it in a header.
        keeper: stores the answers of keys that opted in.
        transcriber: turns recordings into text.
        extend: adds more routes.
    """
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=[*OWN, *names], www_redirect=False)]
    app = FastAPI(title="Accord", version=__version__, docs_url=None, redoc_url=None, middleware=middleware)
    meter = Meter(host.state)
    around = guarded(host, rules or Rules(), scenes, lambda side, kind: meter.filtered.labels(side, kind).inc())
    app.state.service = Service(around, keys, limits or Limits(), meter, strict, keeper, transcriber=transcriber)
    app.state.fields = FIELDS | RESPONSE_FIELDS | set(EmbeddingRequest.model_fields)
    _routes(app)
    if extend:
        extend(app)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    larger = {ROUTE: LARGEST_FORM} if transcriber else {}
    return Gate(app, known=(lambda given: key_of(keys, given) is not None) if keys else None, larger=larger)


def _routes(app: FastAPI) -> None:
    app.get("/health", summary="Whether the server is there.")(health)
    app.get("/metrics", summary="Metrics for Prometheus.", response_class=Response, responses=ERRORS)(metrics)
    app.get("/v1/models", summary="What is served.", responses=ERRORS)(models)
    app.get("/v1/models/{model:path}", summary="One of them.", responses=ERRORS)(one_model)
    app.post("/v1/chat/completions", summary="Answers a conversation.", response_model=None, responses=ERRORS)(chat)
    app.post("/v1/completions", summary="Continues a text.", response_model=None, responses=ERRORS)(completions)
    app.post("/v1/responses", summary="Answers with a list of items.", response_model=None, responses=ERRORS)(responses)
    app.post("/v1/embeddings", summary="Turns texts into vectors.", response_model=None, responses=ERRORS)(embeddings)
    app.post(ROUTE, summary="Turns a recording into text.", response_class=Response, responses=ERRORS)(transcriptions)


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


def _error(status: int, message: str, *, code: str = "", param: str | None = None, headers: dict[str, str] | None = None) -> Response:
    body = problem(status, message, code=code, param=param)
    return Response(body, status, headers, "application/json")


def _refused(_: Request, error: Any) -> Response:
    headers = {"Retry-After": str(math.ceil(error.seconds))} if error.seconds else None
    return _error(error.status, str(error), code=error.code, param=error.param or None, headers=headers)


def _not_valid(request: Request, error: Any) -> Response:
    """Return the first error of a request on one line."""
    first: dict[str, Any] = error.errors()[0]
    known = request.app.state.fields  # the rest names the branches of a union
    where = [part for part in first["loc"] if isinstance(part, int) or part in known]
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])[:LONGEST_NAME]  # it may be as long as the request
        param = ".".join(map(str, [*where, name]))
        close = difflib.get_close_matches(name, sorted(known), 1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        return _error(400, f"unknown field {param!r}{hint}", code="unknown_field", param=param)
    param = ".".join(map(str, where))
    return _error(400, f"{param}: {first['msg']}" if param else str(first["msg"]), code="invalid_value", param=param or None)


def _http(_: Request, error: Any) -> Response:
    codes = {401: "invalid_api_key", 403: "insufficient_scope", 404: "no_such_route", 405: "method_not_allowed"}
    return _error(error.status_code, str(error.detail), code=codes.get(error.status_code, ""), headers=error.headers)


def _not_usable(_: Request, error: Any) -> Response:
    """Refuse a request whose texts cannot be used, e.g. turns that the chat template does not take: asking again does not help."""
    return _refused(_, NotUnderstood(error.what, where=error.where, hint=error.hint))


def _known(_: Request, error: Any) -> Response:
    log.warning("a request failed: %s", error)
    return _refused(_, Unavailable("the server cannot answer at the moment", seconds=5))


_HANDLERS: dict[Any, Any] = {
    RefusedRequest: _refused,
    RequestValidationError: _not_valid,
    HTTPException: _http,
    InputError: _not_usable,
    AccordError: _known,
}
