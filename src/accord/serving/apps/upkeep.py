"""Upkeep of a running server: at its start and then every hour it empties stored requests and deletes replies whose time is over."""

from __future__ import annotations

import asyncio
import logging

from anyio import to_thread

from accord.errors import AccordError
from accord.feedback import replays
from accord.feedback.app_requests import purge
from accord.serving.apps.desk import Desk, now
from accord.serving.keys import Keys

EVERY_SECONDS = 3600.0
log = logging.getLogger("accord.serve")


async def upkeep(desk: Desk, keys: Keys) -> None:
    """Empty what is due, again and again. A database that is out of reach is tried again an hour later."""
    while True:
        try:
            await to_thread.run_sync(empty_due, desk, keys)
        except AccordError as error:
            log.warning("stored requests could not be emptied: %s", error)
        await asyncio.sleep(EVERY_SECONDS)


def empty_due(desk: Desk, keys: Keys) -> dict[str, int]:
    """Empty the requests and delete the replies whose time is over; nothing, and no database, where no key ever stored any."""
    known = keys.all()
    if not any(key.store or key.can("feedback") or key.can("tasks") for key in known):
        return {}
    with desk.store().write() as connection:
        replies = replays.purge(connection, now=now())
    return {"replies": replies} | (purge(desk.store(), now=now()) if any(key.store for key in known) else {})
