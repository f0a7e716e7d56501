"""What is known of an answer while it is being written."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from accord.feedback.chats import Turn

Say = Callable[[str], str]
"""Translates."""


@dataclass
class Slot:
    """One answer on its way."""

    model: str
    id: str = field(default_factory=lambda: f"a-{secrets.token_hex(10)}")
    text: str = ""
    version: str = ""
    finish: str = ""
    problem: str = ""
    """What went wrong, in English; translated where it is shown."""
    detail: str = ""
    """Its numbers."""


@dataclass
class Live:
    """The answer, or the two, that a turn is being given."""

    asked: Turn
    slots: list[Slot]
    trial: str = ""
    stopping: bool = False
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def problem(self, say: Say) -> str:
        """What went wrong, in the reader's language; empty when nothing did."""
        return next((f"{say(slot.problem)} {slot.detail}".strip() for slot in self.slots if slot.problem), "")

    def tell(self) -> None:
        """Wakes whoever follows."""
        self.changed.set()
        self.changed = asyncio.Event()
