"""Scenes at run time: each request is answered by the rules, the model, the documents and the sampling of its scene.

``data.scenes`` says which scene that is. Raw text that is continued, and embeddings, are of no scene.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from accord.data.retrieval import Document
from accord.data.scenes import Choice, Router
from accord.errors import UsageError
from accord.records import Message, Sampling
from accord.serving.guards import Guarded, Rules, no_weaker
from accord.serving.host import Ask, Embedded, Host, NotUnderstood, Piece, UnknownModel
from accord.settings.scenes import NONE

HEADER = "X-Accord-Scene"
"""The header with which a request names its scene, and with which a response tells it."""
log = logging.getLogger("accord.serve")


@dataclass(frozen=True)
class Stage:
    """What is different in a scene."""

    rules: Rules
    model: str = ""
    """The model that answers; empty leaves it to the request."""
    documents: tuple[Document, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Sampling settings where a request names none."""


@dataclass(frozen=True)
class Stages:
    """The scenes of a server: what chooses one, and what is different in each."""

    router: Router
    stages: Mapping[str, Stage]


def guarded(host: Host, rules: Rules, stages: Stages | None, note: Callable[[str, str], None] = lambda side, kind: None) -> Any:
    """Return a host with rules around it, and with those of its scenes where there are any.

    Args:
        note: called for each finding of a filter, with its side and its kind.
    """
    return Scened(host, rules, stages, note) if stages else Guarded(host, rules, note)


class Scened:
    """A host whose requests are each answered in a scene."""

    def __init__(self, host: Host, rules: Rules, stages: Stages, note: Callable[[str, str], None] = lambda side, kind: None) -> None:
        self.host, self.stages, self.note = host, stages, note
        self._plain = Guarded(host, rules, note)
        self._inside = {name: Guarded(host, stage.rules, note) for name, stage in stages.stages.items()}
        self._opening = asyncio.Lock()

    def models(self) -> list[str]:
        """Return the names of the served models, and those under which scenes are asked for."""
        return list(dict.fromkeys([*self.host.models(), *self.stages.router.aliases]))

    def version(self, model: str) -> str:
        """Return name and digest of the model behind a name; of an alias that of its scene's model."""
        return self.host.version(self._behind(model))

    def sees(self, model: str) -> bool:
        """Return whether the model behind a name reads pictures."""
        return self.host.sees(self._behind(model))

    def state(self) -> dict[str, dict[str, float]]:
        return self.host.state()

    async def embed(self, model: str, text: str | tuple[int, ...]) -> Embedded:
        """Return the embedding of a text. No scene applies: nothing is said."""
        return await self.host.embed(self._behind(model), text)

    async def start(self) -> None:
        await self.host.start()

    async def close(self) -> None:
        await self.host.close()

    async def swap(self, name: str, model: str) -> None:
        """Swap a model, if the host supports it."""
        host: Any = self.host
        await host.swap(name, model)

    async def stream(
        self, model: str, conversation: Sequence[Message], *, sampling: Sampling, seed: int | None = None, stop: Sequence[str] = ()
    ) -> AsyncGenerator[Piece]:
        """Return pieces of an answer to a conversation; see ``host.Host``."""
        async with aclosing(self.ask(model, Ask(sampling, tuple(conversation), seed=seed, stop=tuple(stop)))) as pieces:
            async for piece in pieces:
                yield piece

    async def choose(
        self,
        model: str,
        ask: Ask,
        name: str = "",
        may: Callable[[str], bool] = lambda model: True,
        trusted: Callable[[str, str], bool] = lambda scene, alias: False,
    ) -> Choice | None:
        """Return the scene of a request; None for raw text, which has none.

        A scene that the request names itself, or by an alias, weakens no filter: where those are stronger that it would have had without
        the name, they hold.

        Args:
            name: the scene that the request names itself.
            may: tells whether whoever asks may use a model: a scene that is named is no way around that.
            trusted: tells whether whoever asks was given a scene, or the alias by which they ask for it, with its own filters.

        Raises:
            NotUnderstood: there is no such scene, or it is named for raw text.
            UnknownModel: the scene is named, and who asks may use neither its model nor one of its aliases.
        """
        if not ask.conversation:
            if name:
                raise NotUnderstood("raw text is of no scene", where=HEADER, hint="leave the header out, or send a conversation")
            return None
        try:
            choice = await asyncio.to_thread(self.stages.router.of_request, ask.conversation, model=model, name=name)
            if choice.by in ("named", "alias") and not trusted(choice.scene, model if choice.by == "alias" else ""):
                choice = self._held(choice, await asyncio.to_thread(self.stages.router.of_request, ask.conversation))
        except UsageError as error:
            if not name:
                raise
            raise NotUnderstood(error.what, where=HEADER, hint=error.hint) from error
        if name and not self._open_to(name, may):
            raise UnknownModel(f"the key may not use the model of the scene {name!r}", where=HEADER, hint="leave the header out")
        log.info("scene %s", choice.told)
        return choice

    async def ask(self, model: str, ask: Ask) -> AsyncGenerator[Piece]:
        """Return pieces of one answer, in the scene that was chosen for it or is chosen now."""
        choice = ask.scene or await self.choose(model, ask)
        stage = self.stages.stages.get(choice.scene) if choice else None
        wanted = self._behind(model)
        if stage is None:
            async with aclosing(self._plain.ask(wanted, ask)) as pieces:
                async for piece in pieces:
                    yield replace(piece, scene=choice)
            return
        assert choice
        if stage.model and not ask.pinned:
            wanted = stage.model
            if wanted not in self.host.models():
                async with self._opening:  # of many requests at once one opens it
                    if wanted not in self.host.models():
                        await self.swap(wanted, wanted)
        if ask.media and not self.host.sees(wanted):
            what = f"the request has a picture, and the model of the scene {choice.scene} reads text alone"
            raise NotUnderstood(what, hint="leave the picture out, or name another scene", param="messages")
        told = in_stage(ask, stage)
        changed = told.sampling if told.sampling != ask.sampling else None
        async with aclosing(self._guards(choice).ask(wanted, told)) as pieces:
            async for piece in pieces:
                yield replace(piece, scene=choice, sampling=changed)

    def _held(self, choice: Choice, without: Choice) -> Choice:
        """Return a choice that says whose filters hold, where those of another one are stronger."""
        return replace(choice, filters=without.scene or NONE) if self._held_rules(choice.scene, without.scene) else choice

    def _held_rules(self, scene: str, other: str) -> Rules | None:
        """Return a scene's rules with the filters of another; None if its own are no weaker."""
        own, rules = self.stages.stages[scene].rules, (self._inside.get(other) or self._plain).rules
        held = no_weaker(own, rules)
        return None if held is own else held

    def _guards(self, choice: Choice) -> Guarded:
        held = self._held_rules(choice.scene, choice.filters) if choice.filters else None
        return Guarded(self.host, held, self.note) if held else self._inside[choice.scene]

    def _open_to(self, scene: str, may: Callable[[str], bool]) -> bool:
        model = self.stages.stages[scene].model
        names = [model, *(alias for alias, behind in self.stages.router.aliases.items() if behind == scene)]
        return not model or any(map(may, names))

    def _behind(self, model: str) -> str:
        scene = self.stages.router.aliases.get(model, "")
        return self.stages.stages[scene].model if scene else model


def in_stage(ask: Ask, stage: Stage) -> Ask:
    """Return a request with a scene's documents and sampling, where it has none of its own.

    A request for calls of functions, for an answer of a form, or about a picture cannot be answered by quotations: its scene's documents
    are left out.
    """
    documents = ask.documents
    if not documents and not ask.tools and ask.schema is None and not ask.media:
        documents = stage.documents
    own = {name: value for name, value in stage.sampling.items() if name not in ask.named}
    return replace(ask, sampling=replace(ask.sampling, **own), documents=documents)
