"""The models of `accord open`: nothing is loaded, torch included, before somebody asks one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from accord.records import Message, Sampling
from accord.serving.host import Ask, Embedded, Piece, UnknownModel
from accord.serving.web.site import Models


class LateHost:
    """A host of models that is made when the first model is opened.

    Args:
        make: returns the host, with no model open; called in a thread.
    """

    def __init__(self, make: Callable[[], Models]) -> None:
        self._make = make
        self._host: Models | None = None
        self._making = asyncio.Lock()

    def models(self) -> list[str]:
        """Return the names of the open models."""
        return self._host.models() if self._host else []

    def version(self, model: str) -> str:
        """Return name and digest of an open model. Raises UnknownModel."""
        return self._open(model).version(model)

    def sees(self, model: str) -> bool:
        """Return whether an open model reads pictures. Raises UnknownModel."""
        return self._open(model).sees(model)

    def state(self) -> dict[str, dict[str, float]]:
        """Return the state of each open model."""
        return self._host.state() if self._host else {}

    async def swap(self, name: str, model: str) -> None:
        """Open a model, or let another one answer under a name. Raises ModelError."""
        async with self._making:
            if self._host is None:
                host = await asyncio.to_thread(self._make)
                await host.start()
                self._host = host
        await self._host.swap(name, model)

    def ask(self, model: str, ask: Ask) -> AsyncGenerator[Piece]:
        """Return pieces of one answer of an open model. Raises RefusedRequest."""
        return self._open(model).ask(model, ask)

    def stream(
        self, model: str, conversation: Sequence[Message], *, sampling: Sampling, seed: int | None = None, stop: Sequence[str] = ()
    ) -> AsyncGenerator[Piece]:
        """Return pieces of an answer to a conversation. Raises RefusedRequest."""
        return self._open(model).stream(model, conversation, sampling=sampling, seed=seed, stop=stop)

    async def embed(self, model: str, text: str | tuple[int, ...]) -> Embedded:
        """Return the embedding of a text by an open model. Raises RefusedRequest."""
        return await self._open(model).embed(model, text)

    async def start(self) -> None:
        """Open nothing yet."""

    async def close(self) -> None:
        """Close what was opened."""
        if self._host:
            await self._host.close()

    def _open(self, model: str) -> Models:
        if self._host is None:
            raise UnknownModel("no model is open", where=model)
        return self._host
