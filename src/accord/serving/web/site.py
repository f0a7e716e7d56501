"""What every page of the chat stands on: the labeling site's house, and the models that answer."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast
from weakref import WeakValueDictionary

from accord.data import personal
from accord.feedback import deployments
from accord.feedback.moderation import Finding, Screen, screen, together
from accord.feedback.web.access import Site, Visit
from accord.feedback.web.languages import HERE
from accord.records import Sampling
from accord.serving.host import Host
from accord.serving.web.live import Live
from accord.settings import ChatConfig, LabelConfig

PACKAGE = "accord.serving.web"


def personal_data(text: str) -> list[Finding]:
    """Personal data as findings of a review."""
    return [Finding("personal", found.kind.lower(), found.start, found.end) for found in personal.find(text)]


class Models(Host, Protocol):
    """A host of models in which one can be exchanged while others answer."""

    async def swap(self, name: str, model: str) -> None: ...


class Library(Protocol):
    """Which models there are on disk, whatever is open."""

    def names(self) -> Sequence[str]:
        """Models that can be talked to, the best guess for who answers first."""
        ...

    def digest(self, name: str) -> str:
        """12 hex digits of a model's weights; empty when there is no such model."""
        ...


@dataclass(frozen=True, kw_only=True)
class ChatSite(Site):
    """The chat over a store and a host of models."""

    chat: ChatConfig
    models: Models
    library: Library
    screen: Screen = field(default=together(personal_data, screen))
    """Finds what a reviewer should look at, personal data to be taken out among it."""
    live: dict[str, Live] = field(default_factory=dict[str, Live])
    """Answers that are being written, by conversation."""
    turns: MutableMapping[str, asyncio.Lock] = field(default_factory=WeakValueDictionary[str, asyncio.Lock])
    """Held, by conversation, while it is decided whether a turn gets an answer: one that came twice gets one."""
    packages: tuple[str, ...] = (PACKAGE, HERE)

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn when nobody says otherwise."""
        c = self.chat
        return Sampling(c.temperature, c.top_k, c.top_p, c.repetition_penalty, c.max_tokens)

    def answering(self) -> str:
        """The name of the model that answers now; empty when there is none."""
        names = list(self.library.names())
        deployed = deployments.deployed(self.store)
        wanted = (deployed.model if deployed else "", self.chat.model, *names)
        return next((name for name in wanted if name in names), "")


def labels(chat: ChatConfig) -> LabelConfig:
    """The part of the settings that the house knows."""
    return LabelConfig(
        host=chat.host, port=chat.port, names=chat.names, https=chat.https, language=chat.language, session_days=chat.session_days
    )


def of(found: Visit) -> ChatSite:
    """The site of a visit to the chat."""
    return cast("ChatSite", found.site)
