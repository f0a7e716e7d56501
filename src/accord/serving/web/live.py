"""The state of an answer while it is being written."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from accord.feedback.chats import Turn
from accord.records import Sampling

Say = Callable[[str], str]
"""Function that translates a text."""


@dataclass
class Slot:
    """One answer in progress."""

    model: str
    id: str = field(default_factory=lambda: f"a-{secrets.token_hex(10)}")
    text: str = ""
    version: str = ""
    finish: str = ""
    problem: str = ""
    """The problem, in English; translated where it is shown."""
    detail: str = ""
    """The problem's numbers."""
    sampling: Sampling | None = None
    """How it was sampled, where a scene changed that."""


@dataclass
class Live:
    """The answer, or the two answers, that a turn is getting."""

    asked: Turn
    slots: list[Slot]
    trial: str = ""
    stopping: bool = False
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def problem(self, say: Say) -> str:
        """Return the problem in the reader's language; empty if there is none."""
        return next((f"{say(slot.problem)} {slot.detail}".strip() for slot in self.slots if slot.problem), "")

    def tell(self) -> None:
        """Wake everyone who follows."""
        self.changed.set()
        self.changed = asyncio.Event()
