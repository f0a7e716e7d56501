"""Models small enough to be served in a test: a real Llama with a tokenizer and chat template of ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tiny import chat, llama

from accord.data.templates import ChatFormat
from accord.records import Message, Sampling
from accord.serving.host import Piece
from accord.serving.model_host import Capacity, ModelHost

CONTEXT = 120


@dataclass(frozen=True)
class Opened:
    lm: Any
    format: ChatFormat
    digest: str


FORMAT = chat()


def open_model(name: str) -> Opened:
    """A model whose weights depend on the last digit of its name."""
    spoken = ChatFormat(FORMAT.tokenizer, FORMAT.stop, context=CONTEXT)
    seed = int(name[-1]) if name[-1].isdigit() else 0
    return Opened(llama(seed, vocab=len(FORMAT.tokenizer), std=0.1), spoken, f"{name}-0123456789abcdef")


def host(*names: str, **capacity: Any) -> ModelHost:
    return ModelHost(open_model, names or ("tiny-1",), capacity=Capacity(**capacity))


def hello(text: str = "Who keeps the mill?") -> list[Message]:
    return [Message("user", text)]


def sampling(max_tokens: int = 12, **how: Any) -> Sampling:
    return Sampling(max_tokens=max_tokens, **how)


async def whole(pieces: AsyncIterator[Piece]) -> tuple[str, list[Piece]]:
    came = [piece async for piece in pieces]
    return "".join(piece.text for piece in came), came


def served(host: ModelHost, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Runs work against an open host, closes it, and holds that no thread of it is left, but for those of the guards."""

    async def run() -> Any:
        await host.start()
        try:
            async with asyncio.timeout(60):
                return await work()
        finally:
            await host.close()

    before = set(threading.enumerate())
    done = asyncio.run(run())
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if not thread.name.startswith("guard")]  # these few are the process's own
    return done
