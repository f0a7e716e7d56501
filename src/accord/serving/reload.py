"""Reload a running server's models when their folders are rewritten. Loads no torch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container
from typing import Protocol

from accord.errors import AccordError

INTERVAL = 5.0
"""Seconds between two checks of the models on disk."""
log = logging.getLogger("accord.serve")


class Swapping(Protocol):
    """A host whose models can be swapped while they answer."""

    def models(self) -> list[str]: ...

    def version(self, model: str) -> str: ...

    async def swap(self, name: str, model: str) -> None: ...


class Library(Protocol):
    """The models on disk."""

    def digest(self, name: str) -> str:
        """Return the first digits of a model's digest; empty when there is no such model."""
        ...


async def reload_rewritten(library: Library, host: Swapping, *, seconds: float = INTERVAL, fixed: Container[str] = ()) -> None:
    """Swap every model whose folder was rewritten, until cancelled. Answers under way finish with the old weights.

    A folder that cannot be opened is left alone until it changes again.

    Args:
        fixed: names under which something else answers than the project's model of this name, such as adapters; they are left alone.
    """
    failed = dict[str, str]()
    while True:
        await asyncio.sleep(seconds)
        for name in host.models():
            if name in fixed:
                continue
            try:
                digest = await asyncio.to_thread(library.digest, name)
            except (AccordError, OSError, ValueError) as error:
                log.info("%s is being rewritten: %s", name, error)  # looked at again after the interval
                continue
            if not digest or digest in (host.version(name).rpartition("@")[2], failed.get(name)):
                continue
            try:
                await host.swap(name, name)
                log.warning("%s answers from now on", host.version(name))
            except (AccordError, OSError, ValueError) as error:
                failed[name] = digest
                log.warning("%s was rewritten and cannot be opened; the old one goes on: %s", name, error)
