"""The base of the routes for apps: the database, the caller with the right scope, one transaction per request, errors in OpenAI's form."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.exceptions import HTTPException

from accord.feedback import questions, replays
from accord.feedback.apps import App, NotTaken
from accord.feedback.guideline_pictures import Reader
from accord.feedback.refusals import Refused
from accord.feedback.replays import Reply
from accord.feedback.store import Store
from accord.serving.apps import task_schemas
from accord.serving.apps.schemas import FIELDS, Refusal
from accord.serving.gate import problem
from accord.serving.keys import Key, Scope
from accord.serving.service import Known, With
from accord.settings import LabelConfig
from accord.settings.questions import Questions, usual

SCOPES: dict[Scope, str] = {"chat": "ask the models", "feedback": "send feedback", "tasks": "work with labeling tasks"}
"""What a key with each scope may do."""


def now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


@dataclass
class Desk:
    """The database behind the routes, opened at the first request that needs it: a server that stores nothing needs none."""

    opens: Callable[[], Store]
    questions: Questions = field(default_factory=usual)
    """The questions to labelers in force."""
    label: LabelConfig = field(default_factory=LabelConfig)
    """How tasks are handed out."""
    folder: Path | None = None
    """The project's folder, whose guidelines take precedence over the built-in ones."""
    pictures: Reader | None = None
    """Reads the pictures of a guideline."""
    private: bool = False
    """Whether webhooks may be at addresses that the internet cannot reach."""
    _store: Store | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self) -> Store:
        """Return the open database. Raises StoreError when it cannot be opened."""
        with self._lock:
            if self._store is None:
                self._store = self.opens()
                questions.keep(self._store, self.questions, now=now())
            return self._store

    def close(self) -> None:
        """Close the database, if it was opened."""
        with self._lock:
            if self._store:
                self._store.database.close()
            self._store = None


def app_of(key: Key) -> App:
    """Return the app of a key."""
    return App(key.name, key.terms)


def allowed(scope: Scope) -> Callable[..., Any]:
    """Return a dependency that lets in a caller whose key has a scope, and counts the request."""

    async def caller(service: With, who: Known) -> App:
        if who.key is None or not who.key.can(scope):
            what = f"this needs a key that may {SCOPES[scope]}: accord keys add PROJECT NAME --scope {scope}"
            raise HTTPException(403, what)
        service.limits.enter(who.id, who.key.requests_per_minute, who.key.tokens_per_minute)
        return app_of(who.key)

    return caller


async def _desk(request: Request) -> Desk:
    return request.app.state.desk


At = Annotated[Desk, Depends(_desk)]
OnceKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=replays.LONGEST_KEY)]
"""The key under which a request is carried out once."""


async def _raw(request: Request) -> bytes:
    return f"{request.method} {request.url.path}\n".encode("utf-8", "surrogatepass") + await request.body()


Raw = Annotated[bytes, Depends(_raw)]
"""The request's route and body as they came, by which two requests are compared."""


def carry_out(
    desk: Desk,
    app: App,
    raw: bytes,
    key: str | None,
    work: Callable[[Connection, datetime], BaseModel],
    status: int = 201,
    *,
    again: Callable[[Connection, str], BaseModel] | None = None,
) -> Response:
    """Carry out a request in one transaction, once per idempotency key, and return the reply.

    Args:
        again: for replies that hold texts or a secret: returns the reply by its id. The id alone is kept for repeats.
    """
    at = now()
    with desk.store().write() as connection:
        if key and (before := replays.earlier(connection, app.name, key, raw, now=at)):
            whole = again(connection, before.body).model_dump_json() if again else before.body
            return _reply(Reply(before.status, whole), {"Idempotent-Replayed": "true"})
        made = work(connection, at)
        reply = Reply(status, made.model_dump_json())
        if key:
            kept = Reply(status, str(getattr(made, "id"))) if again else reply  # noqa: B009  (a model with an id)
            replays.keep(connection, app.name, key, raw, kept, now=at)
    return _reply(reply, {})


def mount(app: FastAPI, desk: Desk, *routers: Any) -> None:
    """Add routes for apps to the API."""
    app.state.desk = desk
    app.state.fields = app.state.fields | FIELDS | task_schemas.FIELDS | {"url", "events"}
    for router in routers:
        app.include_router(router)
    handlers: dict[Any, Any] = {NotTaken: _not_taken, Refused: _refused}
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of the errors that a route may answer with."""
    return {status: {"description": REFUSALS[status], "model": Refusal} for status in (*EVERYWHERE, *statuses)}


EVERYWHERE = (400, 401, 403, 408, 413, 429, 503)
REFUSALS = {
    400: "The request is not understood.",
    401: "No working key.",
    403: "The key has another scope.",
    404: "There is no such thing, or it is another app's.",
    408: "The request came too slowly.",
    409: "It conflicts with the present state.",
    410: "It was deleted, or its time is over.",
    413: "The request is too large.",
    422: "It does not fit, or the idempotency key came with another request before.",
    429: "Too much at once; Retry-After says when.",
    503: "The database is not there; Retry-After says when.",
}


def _reply(reply: Reply, headers: dict[str, str]) -> Response:
    return Response(reply.body, reply.status, headers, "application/json")


def _not_taken(_: Request, error: Any) -> Response:
    return Response(problem(error.status, error.what, code=error.code, param=error.param or None), error.status, None, "application/json")


def _refused(_: Request, error: Any) -> Response:
    return Response(problem(error.status, str(error), code=error.key), error.status, None, "application/json")
