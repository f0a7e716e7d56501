"""A client of the feedback API (docs/feedback-api.md): your app sends what its users say of answers to `accord serve`.

    from accord.client import Client

    with Client("http://127.0.0.1:8000", key="accord-...") as accord:
        accord.feedback(answer.id, user="ann", consent=True, thumb="down", correction="Rye.")

Every request has an idempotency key, so that it is repeated safely when the connection breaks or the server is busy. It needs httpx:
pip install accord-rlhf. In asynchronous code `AsyncClient` has the same methods to be awaited; a FastAPI route with `def` needs none of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar
from urllib.parse import quote

import httpx

from accord.errors import RunError

__all__ = ["AsyncClient", "Choice", "Client", "Item", "Rejected", "Stored", "verified"]

AGAIN = (408, 429, 502, 503, 504)
"""Statuses after which the same request may succeed."""
LONGEST_WAIT = 30.0
Given = ParamSpec("Given")
Found = TypeVar("Found")
Thumb = Literal["up", "down"]
Message = Mapping[str, str]
"""A turn: ``{"role": "user", "content": "..."}``."""


class Rejected(RunError):
    """A request that the server refused, or that did not reach it.

    Args:
        status: the HTTP status; 0 when there was no reply.
        code: names the reason, e.g. ``no_such_response``.
    """

    def __init__(self, what: str, *, status: int, code: str, where: str) -> None:
        super().__init__(what, where=where)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice between an answer and another one to the same conversation."""

    response_id: str
    better: Literal["this", "other", "tie", "both_bad"]
    index: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One stored reaction."""

    id: str
    kind: str
    state: str
    """One of waiting_for_consent, waiting_for_review, accepted, refused, lapsed and withdrawn."""
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """What the server stored."""

    response_id: str
    user: str
    """The end user's pseudonym."""
    items: tuple[Item, ...]


class Client:
    """A connection to the feedback API. Use it as a context manager, or close it.

    Args:
        url: the server's address, with or without ``/v1``.
        key: an API key with the scope ``feedback``.
        timeout: seconds for one attempt.
        retries: further attempts when the server is busy or out of reach.
        transport: replaces the network, e.g. in your tests.
    """

    def __init__(
        self, url: str, key: str, *, timeout: float = 30.0, retries: int = 3, transport: httpx.BaseTransport | None = None
    ) -> None:
        base = url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=base, headers=headers, timeout=timeout, transport=transport)
        self.retries = retries

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def feedback(
        self,
        response_id: str = "",
        *,
        index: int = 0,
        messages: Sequence[Message] = (),
        response: str = "",
        model: str = "",
        user: str = "",
        consent: bool | None = None,
        thumb: Thumb | None = None,
        score: float | None = None,
        correction: str | None = None,
        choice: Choice | None = None,
        comment: str = "",
        tags: Sequence[str] = (),
        at: datetime | None = None,
        idempotency_key: str = "",
    ) -> Stored:
        """Store what a user said of an answer; it is on the server's disk when this returns.

        Args:
            response_id: the id of an answer of this server; or give ``messages`` and ``response`` for an answer from elsewhere.
            score: from 0 to 1.
            idempotency_key: repeats of one event have the same; a new one is drawn if it is empty.

        Raises:
            Rejected: the server refused it, or could not be reached.
        """
        body: dict[str, Any] = {"thumb": thumb, "score": score, "correction": correction, "at": at.isoformat() if at else None}
        if response:
            body |= {"messages": list(map(dict, messages)), "response": {"content": response, "model": model}}
        else:
            body |= {"response_id": response_id, "index": index}
        if choice:
            body["choice"] = {"response_id": choice.response_id, "index": choice.index, "better": choice.better}
        return self._store("feedback", body, user, consent, comment, tags, idempotency_key)

    def compare(
        self,
        messages: Sequence[Message],
        first: str,
        second: str,
        choice: Literal["first", "second", "tie", "both_bad"],
        *,
        models: tuple[str, str] = ("", ""),
        user: str = "",
        consent: bool | None = None,
        comment: str = "",
        tags: Sequence[str] = (),
        idempotency_key: str = "",
    ) -> Stored:
        """Store which of two answers of your own is better. Raises Rejected."""
        responses = [{"content": text, "model": model} for text, model in zip((first, second), models, strict=True)]
        body = {"messages": list(map(dict, messages)), "responses": responses, "choice": choice}
        return self._store("comparisons", body, user, consent, comment, tags, idempotency_key)

    def demonstrate(
        self,
        messages: Sequence[Message],
        response: str,
        *,
        user: str = "",
        consent: bool | None = None,
        comment: str = "",
        tags: Sequence[str] = (),
        idempotency_key: str = "",
    ) -> Stored:
        """Store an answer that a person wrote. Raises Rejected."""
        body = {"messages": list(map(dict, messages)), "response": response}
        return self._store("demonstrations", body, user, consent, comment, tags, idempotency_key)

    def prompt(
        self,
        messages: Sequence[Message],
        *,
        user: str = "",
        consent: bool | None = None,
        comment: str = "",
        tags: Sequence[str] = (),
        idempotency_key: str = "",
    ) -> Stored:
        """Store a conversation without an answer. Raises Rejected."""
        return self._store("prompts", {"messages": list(map(dict, messages))}, user, consent, comment, tags, idempotency_key)

    def consent(self, user: str, given: bool) -> str:
        """Store whether a user agrees to be learned from, and return the pseudonym. Raises Rejected."""
        return str(self._call("POST", "/v1/consents", {"user": _named(user), "given": given})["user"])

    def state(self, id: str) -> Stored:
        """Return what became of a stored item. Raises Rejected."""
        return _stored(self._call("GET", _item(id)))

    def withdraw(self, id: str) -> Stored:
        """Withdraw a stored item. Raises Rejected."""
        return _stored(self._call("DELETE", _item(id)))

    def user(self, user: str) -> dict[str, Any]:
        """Return everything that is stored about a user. Raises Rejected."""
        return self._call("GET", "/v1/users", params={"user": user})

    def erase(self, user: str) -> dict[str, int]:
        """Erase a user, and return the number of emptied rows by kind. Raises Rejected."""
        return dict(self._call("DELETE", "/v1/users", params={"user": _named(user)})["rows"])

    def _store(
        self, what: str, body: Mapping[str, Any], user: str, consent: bool | None, comment: str, tags: Sequence[str], key: str
    ) -> Stored:
        whole = {**body, "user": user, "consent": consent, "comment": comment, "tags": list(tags)}
        given = {name: value for name, value in whole.items() if value is not None}
        return _stored(self._call("POST", f"/v1/{what}", given, key=key))

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str = "", params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": key or uuid.uuid4().hex} if method == "POST" else {}
        for attempt in range(self.retries + 1):
            last, wait = attempt == self.retries, min(0.5 * 2**attempt, LONGEST_WAIT)
            try:
                reply = self._http.request(method, path, json=body, headers=headers, params=params)
            except httpx.TransportError as error:
                if last:
                    raise Rejected(f"no reply: {error}", status=0, code="no_reply", where=path) from error
            else:
                if reply.is_success:
                    return reply.json()
                if last or reply.status_code not in AGAIN:
                    raise _rejected(reply, path)
                wait = _wait(reply, wait)
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")


def _awaited(method: Callable[Concatenate[Client, Given], Found]) -> Callable[Concatenate[AsyncClient, Given], Coroutine[Any, Any, Found]]:
    """Return a method of ``Client`` as one to be awaited: it runs in a thread, so that the event loop goes on."""

    @wraps(method)
    async def call(self: AsyncClient, *args: Given.args, **named: Given.kwargs) -> Found:
        return await asyncio.to_thread(method, self.client, *args, **named)

    return call


class AsyncClient:
    """The same connection in asynchronous code: every method of ``Client``, to be awaited. Use it with ``async with``.

    A call that is cancelled while it waits may have been stored; its idempotency key sees to it that a repeat is stored once.

    Args:
        url: as for ``Client``, and so are the others.
    """

    def __init__(
        self, url: str, key: str, *, timeout: float = 30.0, retries: int = 3, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.client = Client(url, key, timeout=timeout, retries=retries, transport=transport)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    close = _awaited(Client.close)
    feedback = _awaited(Client.feedback)
    compare = _awaited(Client.compare)
    demonstrate = _awaited(Client.demonstrate)
    prompt = _awaited(Client.prompt)
    consent = _awaited(Client.consent)
    state = _awaited(Client.state)
    withdraw = _awaited(Client.withdraw)
    user = _awaited(Client.user)
    erase = _awaited(Client.erase)


def verified(body: bytes | str, signature: str, secret: str, *, tolerance: float = 300.0) -> dict[str, Any]:
    """Return the event in the body of a webhook's request.

    Args:
        body: as it came, not parsed and written again.
        signature: the header ``X-Accord-Signature``.
        tolerance: seconds by which the time in it may differ from now.

    Raises:
        Rejected: it was signed with another secret, changed on the way, or sent too long ago.
    """
    text = body if isinstance(body, str) else body.decode()
    fields: dict[str, str] = {}
    for part in signature.split(","):
        name, _, value = part.partition("=")
        fields[name.strip()] = value
    at = fields.get("t", "")
    expected = hmac.new(secret.encode(), f"{at}.{text}".encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), fields.get("v1", "").encode()):
        raise Rejected("the signature is another's", status=0, code="bad_signature", where="X-Accord-Signature")
    if not at.isdecimal() or abs(time.time() - int(at)) > tolerance:
        raise Rejected("the event was sent too long ago", status=0, code="stale_signature", where="X-Accord-Signature")
    return json.loads(text)


def _item(id: str) -> str:
    """Return the path of a stored item. An id of dots would be resolved to another path on the way."""
    if not id.strip("."):
        raise Rejected("this is no id of stored feedback", status=0, code="no_such_feedback", where="/v1/feedback")
    return f"/v1/feedback/{quote(id, safe='')}"


def _named(user: str) -> str:
    if not user:
        what = "name the user: without a name this would hold for everybody whom your app does not name"
        raise Rejected(what, status=0, code="no_user", where="user")
    return user


def _wait(reply: httpx.Response, otherwise: float) -> float:
    """Return the seconds that the server asks to wait."""
    told = reply.headers.get("retry-after", "")
    return min(float(told), LONGEST_WAIT) if told.isdecimal() else otherwise


def _rejected(reply: httpx.Response, path: str) -> Rejected:
    try:
        error: Any = reply.json()["error"]
        what, code = str(error["message"]), str(error["code"] or "")
    except (ValueError, KeyError, TypeError):  # a proxy's page
        what, code = reply.text[:200], ""
    return Rejected(f"{reply.status_code}: {what}", status=reply.status_code, code=code, where=path)


def _stored(body: Mapping[str, Any]) -> Stored:
    items = (Item(item["id"], item["kind"], item["state"], tuple(item["replaced"])) for item in body["items"])
    return Stored(body["response_id"], body["user"], tuple(items))
