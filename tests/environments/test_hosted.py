"""Environments run at once: one that is late disturbs no other, and each is closed within its time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from accord.environments import hosted
from accord.environments.hosted import NOTHING, Environments
from accord.errors import RunError
from accord.records import Message, Role

ROW: dict[str, Any] = {"id": "p", "messages": [{"role": "user", "content": "Speak."}], "extra": {}, "seed": 1}
SAID = [Message("user", "Speak."), Message("assistant", "Yes.")]


class Plain:
    """Answers with its own number, as its reward too."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def reset(self, row: Any) -> Any:
        return row["messages"]

    def step(self, messages: Any) -> Any:
        return [{"role": "user", "content": f"I am {self.number}."}], float(self.number), False, {}


def asked(environments: Environments, what: str, given: Any) -> Any:
    getattr(environments, what)(0, given)
    ((_, reply),) = environments.arrived(wait=True)
    return reply


def test_an_environment_made_too_late_takes_no_other_ones_place() -> None:
    """Keys are row numbers, which the next draw uses again."""
    may_go, closed, made = threading.Event(), threading.Event(), list[int]()

    class Slow(Plain):
        def __init__(self) -> None:
            made.append(len(made) + 1)
            super().__init__(made[-1])
            if self.number == 1:
                may_go.wait(10)

        def close(self) -> None:
            if self.number == 1:
                closed.set()

    environments = Environments(Slow, seconds=0.2)
    assert asked(environments, "reset", ROW).failed == "seconds"
    assert not asked(environments, "reset", ROW).failed
    may_go.set()
    assert closed.wait(5), "what came too late is closed"
    assert asked(environments, "step", SAID).reward == 2.0


def hangs() -> None:
    time.sleep(2)


async def hangs_in_the_loop() -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize("closes", [hangs, hangs_in_the_loop])
def test_an_environment_that_does_not_close_holds_nobody_up(closes: Callable[[], Any]) -> None:
    class Clinging(Plain):
        def close(self) -> Any:
            return closes()

    environments, began = Environments(Clinging, seconds=0.2, at_once=1), time.monotonic()
    for _ in range(2):
        asked(environments, "reset", ROW)
        environments.end(0)
    assert not asked(environments, "reset", ROW).failed, "the next episode has a thread, though closing keeps the only one"
    environments.end(0)
    environments.settle()
    assert time.monotonic() - began < 1.9


def test_environments_that_never_close_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "MOST_HANGING", 1)

    class Clinging(Plain):
        close = staticmethod(hangs)

    environments = Environments(Clinging, seconds=0.1)
    for _ in range(2):
        asked(environments, "reset", ROW)
        environments.end(0)
    with pytest.raises(RunError, match="did not come back within"):
        environments.settle()


def test_an_overdue_environment_is_cancelled_and_closed() -> None:
    closed, cancelled = threading.Event(), threading.Event()

    class Late(Plain):
        async def step(self, messages: Any) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async def close(self) -> None:
            closed.set()

    environments = Environments(Late, seconds=0.2)
    asked(environments, "reset", ROW)
    assert asked(environments, "step", SAID).failed == "seconds"
    assert cancelled.wait(5)
    assert closed.wait(5)


def test_a_tool_that_returns_nothing_is_read_as_saying_so() -> None:
    class Silent(Plain):
        def step(self, messages: Any) -> Any:
            return [{"role": "tool", "content": ""}], 0.0, False, {}

    environments = Environments(Silent)
    asked(environments, "reset", ROW)
    assert asked(environments, "step", SAID).messages == (Message(cast("Role", "tool"), NOTHING),)
