"""What every route of the API works with: the host, the keys, the limits, and who is calling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from accord.serving.gate import NO_KEY
from accord.serving.host import Ask, Host
from accord.serving.keys import Key, Keys
from accord.serving.limits import Limits
from accord.serving.metrics import Meter
from accord.serving.picture_parts import PictureReader

NOBODY = "open"
"""The caller when no key is needed."""


@dataclass(frozen=True)
class Answered:
    """A complete answer, or one whose client has left."""

    text: str
    finish: str
    version: str


async def _not_kept(id: str, answers: Sequence[Answered]) -> None:
    """Store nothing."""


@dataclass(frozen=True)
class Kept:
    """The storage of one request's answers."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Says to the client what is stored."""
    keep: Callable[[str, Sequence[Answered]], Awaitable[None]] = _not_kept
    """Stores the answers under the response's id."""


class Keeper(Protocol):
    """Stores answers for keys that opted in."""

    def opened(self, key: Key | None, ask: Ask, user: str, wanted: bool | None) -> Kept:
        """Return the storage of one request's answers.

        Args:
            wanted: the request's own ``store``; false opts out.
        """
        ...


class Transcribes(Protocol):
    """Turns the recording of a form into text (``transcriptions.Transcriber``)."""

    async def ask(self, form: Any) -> bytes: ...


@dataclass(frozen=True)
class Service:
    """The objects that the routes work with."""

    host: Host
    keys: Keys | None
    limits: Limits
    meter: Meter
    strict: bool = False
    """Whether a field that nobody reads is refused."""
    keeper: Keeper | None = None
    """Stores answers; None stores nothing of anybody's."""
    pictures: PictureReader = field(default_factory=PictureReader)
    transcriber: Transcribes | None = None
    """Turns recordings into text; None where none was named."""


@dataclass(frozen=True)
class Caller:
    """The sender of a request."""

    id: str
    key: Key | None

    def may(self, model: str) -> bool:
        return self.key is None or not self.key.models or model in self.key.models

    def is_trusted(self, scene: str, alias: str) -> bool:
        """Whether the key was given a scene by its name, or by the alias that it asks for; the alias is empty where it uses none."""
        return self.key is not None and (scene in self.key.scenes or alias in self.key.models)


def key_of(keys: Keys, authorization: str) -> Key | None:
    """Return the key in the header ``Authorization``; None without a working one."""
    scheme, _, token = authorization.partition(" ")
    return keys.find(token.strip()) if scheme.lower() == "bearer" else None


async def _service(request: Request) -> Service:
    return request.app.state.service


async def _known(request: Request, service: Annotated[Service, Depends(_service)]) -> Caller:
    """Return the caller of a request, whatever the key may do. Raises HTTPException 401 without a valid key."""
    if service.keys is None:
        return Caller(NOBODY, None)
    key = key_of(service.keys, request.headers.get("authorization", ""))
    if key is None:
        raise HTTPException(401, NO_KEY, {"WWW-Authenticate": "Bearer"})
    return Caller(key.id, key)


async def _caller(who: Annotated[Caller, Depends(_known)]) -> Caller:
    """Return a caller who may ask the models. Raises HTTPException 403 for a key with other scopes alone."""
    if who.key and not who.key.can("chat"):
        raise HTTPException(403, "this needs a key with the scope chat")
    return who


def asks_for_strict(request: Request, service: Service) -> bool:
    """Return whether fields that nobody reads are refused: the server's setting, or the request's header ``X-Accord-Strict``."""
    said = request.headers.get("x-accord-strict", "")
    return service.strict or said.strip().lower() in ("1", "true", "yes")


Known = Annotated[Caller, Depends(_known)]
Who = Annotated[Caller, Depends(_caller)]
With = Annotated[Service, Depends(_service)]
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text}
    for status, text in {
        400: "The request is not understood, or does not fit the context.",
        401: "No working key.",
        403: "The key has another scope.",
        404: "No such model.",
        408: "The request came too slowly.",
        413: "The request is too large.",
        429: "Too much at once; Retry-After says when.",
        503: "The model is not there; Retry-After says when.",
        504: "The answer took too long.",
    }.items()
}
