"""Forms with files: who may send one, how many at once, and their bytes. Whoever may not is answered before a byte is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from anyio import to_thread
from starlette.requests import Request

from accord.feedback import accounts
from accord.feedback.accounts import Account
from accord.feedback.refusals import Refused
from accord.feedback.web import multipart
from accord.feedback.web.access import ForeignForm, Visit, enter
from accord.feedback.web.multipart import File
from accord.feedback.web.security import same_origin, upload_fits
from accord.serving.web import site
from accord.serving.web.site import ChatSite

MOST_AT_ONCE = 4
"""Forms with files that are received and read at a time, one per person: each is held in memory."""
DEADLINE = 120.0
"""Seconds in which a form must have arrived."""
PER_MINUTE = 20
"""Forms with files that one person may send in a minute."""
Result = TypeVar("Result")


async def sender(request: Request, token: str) -> tuple[Visit, Account]:
    """Return who sends a form with files from one of our own pages. Raises ForeignForm, and as ``enter`` does."""
    found, account = await thread(enter, request)
    if not same_origin(request.headers, request.headers.get("host", "")) or not upload_fits(found.session, site.of(found).secret, token):
        raise ForeignForm
    return found, account


@asynccontextmanager
async def sending(found: Visit, account: Account) -> AsyncGenerator[None]:
    """Count somebody's form while it is received and read.

    Raises:
        Refused: they are sending one already, too many others are, or they sent too many in a minute (429).
    """
    house: ChatSite = site.of(found)
    much: dict[str, Any] = {"limit": PER_MINUTE, "window": timedelta(minutes=1), "key": "too_fast"}
    await thread(accounts.attempt, house.store, f"files of {account.id}", now=found.now, **much)
    if account.id in house.sending or len(house.sending) >= MOST_AT_ONCE:
        raise Refused("uploading", 429)
    house.sending.add(account.id)
    try:
        yield
    finally:
        house.sending.discard(account.id)


async def received(request: Request) -> list[File]:
    """Return the files of the form. Raises Refused: it holds none (422), or did not arrive whole or in time (400)."""
    mark = multipart.boundary(request)
    try:
        async with asyncio.timeout(DEADLINE):
            body = b"".join([block async for block in multipart.blocks(request)])
    except TimeoutError as error:
        raise Refused("upload_broken", 400, "too slow") from error
    files = await thread(multipart.files_of, body, mark)
    if not files:
        raise Refused("no_file")
    return files


async def thread(work: Callable[..., Result], *values: Any, **named: Any) -> Result:
    """Run a function that waits for the store, or computes for a while, in a thread."""
    return await to_thread.run_sync(lambda: work(*values, **named))
