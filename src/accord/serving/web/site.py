"""The base of every page of the chat: the labeling site's application, and the models that answer."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast
from weakref import WeakValueDictionary

from accord.feedback import deployments
from accord.feedback.moderation import Screen
from accord.feedback.web.access import Site, Visit
from accord.feedback.web.languages import HERE
from accord.records import Sampling
from accord.serving.host import Host
from accord.serving.screens import EVERYTHING
from accord.serving.web.live import Live
from accord.settings import ChatConfig, LabelConfig

PACKAGE = "accord.serving.web"


class Models(Host, Protocol):
    """A host of models in which one can be swapped while others answer."""

    async def swap(self, name: str, model: str) -> None: ...


class Library(Protocol):
    """The models on disk, whether open or not."""

    def names(self) -> Sequence[str]:
        """Return the models that can chat, the default speaker first."""
        ...

    def digest(self, name: str) -> str:
        """Return 12 hex digits of a model's weights; empty if there is no such model."""
        ...

    def sees(self, name: str) -> bool:
        """Return whether a model reads pictures."""
        ...


@dataclass(frozen=True, kw_only=True)
class ChatSite(Site):
    """The chat over a store and a host of models."""

    chat: ChatConfig
    models: Models
    library: Library
    screen: Screen = field(default=EVERYTHING)
    """Finds the parts that a reviewer should look at, including personal data to be removed."""
    live: dict[str, Live] = field(default_factory=dict[str, Live])
    """Answers in progress, by conversation."""
    turns: MutableMapping[str, asyncio.Lock] = field(default_factory=WeakValueDictionary[str, asyncio.Lock])
    """Locks by conversation, held while a turn is given its answer, so that a turn that arrives twice gets one."""
    sending: set[str] = field(default_factory=set[str])
    """Accounts whose files are being received and read."""
    packages: tuple[str, ...] = (PACKAGE, HERE)
    why: str = ""
    """The page that explains an answer, where the site has one."""

    @property
    def sampling(self) -> Sampling:
        """Default sampling settings for answers."""
        c = self.chat
        return Sampling(c.temperature, c.top_k, c.top_p, c.repetition_penalty, c.max_tokens)

    def answering(self) -> str:
        """Return the name of the model that answers now; empty if there is none."""
        names = list(self.library.names())
        deployed = deployments.deployed(self.store)
        wanted = (deployed.model if deployed else "", self.chat.model, *names)
        return next((name for name in wanted if name in names), "")


def labels(chat: ChatConfig) -> LabelConfig:
    """Return the settings that the labeling site knows."""
    return LabelConfig(
        host=chat.host,
        port=chat.port,
        names=chat.names,
        https=chat.https,
        workers=chat.workers,
        language=chat.language,
        session_days=chat.session_days,
        trusted_proxies=chat.trusted_proxies,
        access_log=chat.access_log,
    )


def of(found: Visit) -> ChatSite:
    """Return the chat site of a request."""
    return cast("ChatSite", found.site)
