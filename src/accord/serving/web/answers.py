"""Answers in progress: drawn in the background, followed by all readers, and stored before they become part of a
conversation.

An answer continues when the connection breaks; a returning reader finds it. Two answers to one turn are a pair,
in an order that does not reveal which model gave which.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from anyio import to_thread

from accord.data.retrieval import Document
from accord.errors import AccordError
from accord.feedback import chats, deployments
from accord.feedback.chats import Conversation, Turn
from accord.feedback.media import files_of
from accord.feedback.web.markdown import snapshot
from accord.records import Sampling
from accord.runtime.seeds import derive
from accord.serving.host import Ask, Busy, NotUnderstood, Piece, RefusedRequest, TooLong, TooSlow
from accord.serving.web import translations
from accord.serving.web.live import Live, Say, Slot
from accord.serving.web.site import ChatSite

PACE = 0.08
"""Seconds between two snapshots of an answer that is being written."""
SHORT = 1_000
"""Characters of an answer that is drawn at once; a longer one is drawn beside the other requests."""
ALIVE = 15.0
"""Seconds after which a silent stream sends a sign of life."""
log = logging.getLogger("accord.chat")


def choose(site: ChatSite, user: str, asked: Turn, model: str = "", against: str = "", seen: bool = False) -> tuple[list[str], str]:
    """Choose the models that answer a turn, in the order of the page, and the trial that they belong to.

    Args:
        user: who asks. A new user's first question gets one answer, so that nobody meets a choice before an answer.
        model: the user's choice. Empty leaves it to the site: a share of the turns goes to the running trial,
            a share gets two answers of one model.
        against: a second model to compare it with.
        seen: whether the conversation has pictures; a trial with a model that reads text alone is left out then.
    """
    rng = random.Random(derive(site.chat.seed, "who answers", asked.id))
    names = list(site.library.names())
    first = model if model in names else site.answering()
    if against in names:
        return rng.sample([first, against], 2), ""
    if model in names or not chats.has_answers(site.store, user):
        return [first], ""
    running = deployments.trial(site.store)
    fits = running and not (seen and not all(site.library.sees(name) for name in (running.old, running.new)))
    if running and fits and {running.old, running.new} <= set(names) and rng.random() < running.share:
        return rng.sample([running.old, running.new], 2), running.id
    return [first] * (2 if rng.random() < site.chat.two else 1), ""


async def begin(
    site: ChatSite,
    conversation: Conversation,
    said: Sequence[Turn],
    models: Sequence[str],
    sampling: Sampling,
    trial: str,
    documents: Sequence[Document] = (),
) -> Live:
    """Start to answer the last turn, after ending any answer still in progress in the conversation.

    Args:
        documents: when there are some, the answer quotes them and says nothing else.
    """
    await stop(site, conversation.id)
    live = Live(said[-1], [Slot(model) for model in models], trial)
    site.live[conversation.id] = live
    pinned = bool(trial) or len(set(models)) > 1 or models[0] != site.answering()
    messages = chats.messages(conversation, said)
    shown = await to_thread.run_sync(lambda: tuple(files_of(site.store, messages)))
    ask = Ask(sampling, messages, documents=tuple(documents), user=conversation.user, pinned=pinned, media=shown)
    live.task = asyncio.create_task(_run(site, live, ask))
    return live


def opened(site: ChatSite, user: str, id: str) -> tuple[Conversation, list[Turn], Live | None]:
    """Return a conversation, its turns, and the answer in progress, all at one moment, so that no answer is
    missed in between.

    Raises:
        Refused: the conversation is not this user's (404).
    """
    while True:
        live = site.live.get(id)
        conversation, turns = chats.opened(site.store, user, id)
        if site.live.get(id) is live:
            return conversation, turns, live


async def stop(site: ChatSite, conversation: str) -> None:
    """End the answer in progress in a conversation. The text so far is stored."""
    live = site.live.get(conversation)
    if live:
        live.stopping = True
        await ended(live)


async def ended(live: Live) -> None:
    """Wait until an answer is stored, or has failed."""
    if live.task:
        await asyncio.wait([live.task])


async def follow(site: ChatSite, conversation: str, say: Say) -> AsyncGenerator[str]:
    """Send events: snapshots of each growing answer, then ``done``, at once if no answer is in progress."""
    live, shown = site.live.get(conversation), dict[int, str]()
    while live and not live.ended:
        changed, pace = live.changed, PACE
        for number, slot in enumerate(live.slots):
            if slot.text and shown.get(number) != slot.text:
                shown[number] = text = slot.text
                started = time.monotonic()
                html = await to_thread.run_sync(snapshot, text) if len(text) > SHORT else snapshot(text)
                pace = max(pace, 4 * (time.monotonic() - started))  # a long answer is drawn less often
                yield _event("text", {"slot": number, "html": str(html)})
        try:
            async with asyncio.timeout(ALIVE):
                await changed.wait()
        except TimeoutError:
            yield ": still here\n\n"
        await asyncio.sleep(pace)
    yield _event("done", {"problem": live.problem(say) if live else ""})


async def _run(site: ChatSite, live: Live, ask: Ask) -> None:
    try:
        await asyncio.gather(*(_draw(site, live, slot, ask) for slot in live.slots))
        await to_thread.run_sync(_store, site, live, ask.sampling)
    except Exception as error:  # whatever it is, the person is told, and nothing counts as said
        log.error("an answer could not be kept", exc_info=error)
        live.slots[0].problem = translations.NOT_KEPT
    finally:
        live.ended = True
        if site.live.get(live.asked.conversation) is live:
            del site.live[live.asked.conversation]
        live.tell()


async def _draw(site: ChatSite, live: Live, slot: Slot, ask: Ask) -> None:
    """Draw one answer into its slot. If it fails, ``problem`` has the reason."""
    try:
        await ready(site, slot.model)
        seed = derive(site.chat.seed, "answer", slot.id)
        stream = site.models.ask(slot.model, replace(ask, seed=seed))
        try:
            async for piece in stream:
                slot.text, slot.version = slot.text + piece.text, piece.version or slot.version
                slot.finish = _finish(ask, piece) or slot.finish
                slot.sampling = piece.sampling or slot.sampling
                live.tell()
                if live.stopping:
                    slot.finish = slot.finish or "stopped"
                    break
        finally:
            await stream.aclose()
        if not slot.text.strip() and slot.finish != "stopped":
            slot.problem = translations.NOTHING_CAME
    except AccordError as error:
        log.warning("%s: %s", slot.model, error)
        slot.problem, slot.detail = problem_of(error), error.what if isinstance(error, TooLong) else ""
        if ask.media and isinstance(error, NotUnderstood):
            slot.problem, slot.detail = translations.NOT_WITH_PICTURES, error.what


def _finish(ask: Ask, piece: Piece) -> str:
    """Return how an answer ended, as it is stored; empty when it goes on."""
    if piece.quotes or (ask.documents and piece.withheld == "unsure"):  # what the documents say, or that they do not say it
        return chats.QUOTED
    return "withheld" if piece.withheld else piece.finish


async def ready(site: ChatSite, model: str) -> None:
    """Open a model that was created or rewritten since the server started. Answers under way finish with the old one."""
    wanted = await to_thread.run_sync(site.library.digest, model)
    there = site.models.version(model).rpartition("@")[2] if model in site.models.models() else ""
    if wanted and wanted != there:
        await site.models.swap(model, model)


def problem_of(error: AccordError) -> str:
    """Return the message for the user."""
    match error:
        case TooLong():
            return translations.TOO_LONG
        case Busy() | TooSlow():
            return translations.BUSY
        case RefusedRequest():
            return translations.UNAVAILABLE
        case _:
            return translations.MODEL_FAILED


def _store(site: ChatSite, live: Live, sampling: Sampling) -> None:
    said = [slot for slot in live.slots if slot.text.strip() and not slot.problem]
    pair = f"p-{secrets.token_hex(8)}" if len(said) > 1 else ""
    for slot in said:
        name, _, digest = (slot.version or site.models.version(slot.model)).rpartition("@")
        chats.answer(
            site.store,
            live.asked,
            slot.text,
            model=name or slot.model,
            digest=digest,
            sampling=slot.sampling or sampling,
            seed=derive(site.chat.seed, "answer", slot.id),
            finish=slot.finish or "stop",
            id=slot.id,
            pair=pair,
            trial=live.trial if pair else "",
            now=datetime.now(UTC),
        )


def _event(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
