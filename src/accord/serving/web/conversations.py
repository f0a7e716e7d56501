"""The conversation's pages: read, write, edit, regenerate, stop, delete.

Every form works without scripts: the server returns the whole page once the answer is stored. A script asks for
JSON instead, gets the address at once, and follows the answer as it is written.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from accord.data import attached
from accord.data.retrieval import Document
from accord.errors import UsageError
from accord.feedback import accounts, chat_pictures, chats, consents, documents, ownership, reactions, review
from accord.feedback.accounts import Account
from accord.feedback.chats import Turn
from accord.feedback.refusals import Refused
from accord.feedback.web.access import Visit, act, enter
from accord.feedback.web.forms import Form
from accord.feedback.web.security import upload_token
from accord.feedback.web.translations import REFUSALS
from accord.records import MEDIUM, Sampling
from accord.serving.web import answers, shown, sight, site, translations
from accord.serving.web.site import ChatSite
from accord.settings import ChatConfig

router = APIRouter()
SAMPLED = ("temperature", "top_p", "top_k", "repetition_penalty", "max_tokens")
"""Sampling settings that a lead may set for a turn."""
WHOLE = ("top_k", "max_tokens")
MOST_TOKENS = 4096
ON_A_PAGE, MOST_PAGES = 50, 100_000
"""Conversations on a page of the list, and the last page that can be asked for."""
MINUTE = timedelta(minutes=1)
Result = TypeVar("Result")


@router.get("/")
@router.get("/chat")
def first_page(request: Request, q: str = "", page: int = 1) -> Response:
    """Show a new conversation, beside the list of existing ones; ``q`` searches in them."""
    found, account = enter(request)
    return render(found, account, None, {"q": q, "page": str(page)})


@router.get("/c/{id}")
def conversation_page(request: Request, id: str, at: str = "", q: str = "", page: int = 1) -> Response:
    """Show a conversation; ``at`` names a turn whose branch is shown instead of the newest."""
    found, account = enter(request)
    return render(found, account, id, {"at": at, "q": q, "page": str(page)})


@router.get("/c/{id}/live")
async def live(request: Request, id: str) -> Response:
    """Send the answer in progress in a conversation as server-sent events."""
    found, account = await _thread(enter, request)
    await _thread(chats.opened, found.site.store, account.id, id)
    events = answers.follow(site.of(found), id, found.say)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.post("/say")
async def say_first(request: Request) -> Response:
    """Start a conversation."""
    found, account, form = await _thread(act, request)
    text = await _thread(_text, found, account, form)
    system = form.get("system").strip() or site.of(found).chat.system
    _hold(system, site.of(found).chat)
    said = await _thread(sight.message, found, account.id, text, form)
    much = {"system": system, "key": form.get("key"), "now": found.now, "media": said.media, "added": form.all("picture")}
    asked = await _thread(chats.begin, found.site.store, account.id, said.content, **much)
    return await _answer(found, account, form, asked)


@router.post("/c/{id}/say")
async def say_next(request: Request, id: str) -> Response:
    """Add the user's next message: after the last answer, or with another ``parent`` in place of an earlier turn."""
    found, account, form = await _thread(act, request)
    text = await _thread(_text, found, account, form)
    said = await _thread(sight.message, found, account.id, text, form, id)
    much = {"parent": form.get("parent"), "key": form.get("key"), "now": found.now, "media": said.media, "added": form.all("picture")}
    asked = await _thread(chats.say, found.site.store, account.id, id, said.content, **much)
    return await _answer(found, account, form, asked)


@router.post("/t/{id}/again")
async def again(request: Request, id: str) -> Response:
    """Regenerate the answer to one of the user's turns."""
    found, account, form = await _thread(act, request)
    asked = await _thread(chats.one, found.site.store, account.id, id)
    if asked.role != "user":
        raise Refused("no_such_turn", 404, id)
    await _thread(_slowly, found, account)
    return await _answer(found, account, form, asked, alone=True)


@router.post("/c/{id}/stop")
async def stop(request: Request, id: str) -> Response:
    """Stop the answer in progress. The text so far is stored."""
    found, account, _ = await _thread(act, request)
    await _thread(chats.opened, found.site.store, account.id, id)
    await answers.stop(site.of(found), id)
    return found.go(f"/c/{id}")


@router.post("/c/{id}/delete")
async def delete(request: Request, id: str) -> Response:
    """Empty a conversation and delete everything derived from it."""
    found, account, _ = await _thread(act, request)
    await _thread(chats.opened, found.site.store, account.id, id)
    await answers.stop(site.of(found), id)
    await _thread(ownership.delete, found.site.store, account.id, conversations=(id,), now=found.now)
    return found.go("/chat")


@router.post("/consent")
def consent(request: Request) -> Response:
    """Store a user's consent. After a no, nothing of theirs is used for training any more."""
    found, account, form = act(request)
    if form.get("given") not in ("yes", "no"):
        raise Refused("choice_missing")
    given = form.get("given") == "yes"
    consents.answer(found.site.store, account.id, given, now=found.now)
    if not given:
        review.lapse(found.site.store, account.id, now=found.now)
    return found.go("/mine" if form.get("to") == "/mine" else "/chat")


async def _thread(work: Callable[..., Result], *values: Any, **named: Any) -> Result:
    """Run a function that waits for the store in a thread."""
    return await to_thread.run_sync(lambda: work(*values, **named))


async def _answer(found: Visit, account: Account, form: Form, asked: Turn, *, alone: bool = False) -> Response:
    """Start the answer to a turn. A turn that arrives twice (a form sent again) is answered once."""
    house, id = site.of(found), asked.conversation
    to = f"/c/{id}"
    async with house.turns.setdefault(id, asyncio.Lock()):
        conversation, turns, live = await _thread(answers.opened, house, account.id, id)
        answered = any(turn.parent == asked.id for turn in turns) or (live is not None and live.asked.id == asked.id)
        if alone or not answered:
            against = "" if alone else form.get("against")
            wanted = form.get("model") if form.has("model") else conversation.model
            said = chats.path(turns, asked.id)
            seen = any(turn.media for turn in said)
            models, trial = await _thread(answers.choose, house, account.id, asked, wanted, against, seen=seen)
            if not alone and wanted != conversation.model and (not wanted or wanted in house.library.names()):
                await _thread(chats.change, house.store, account.id, id, model=wanted)
            if not models[0]:
                return await _thread(render, found, account, id, {"problem": found.say(translations.NO_MODEL)})
            quotable = await _thread(_quotable, house, account.id, id)
            if alone or (quotable and not against):  # two answers out of the same documents are alike
                models, trial = models[:1], ""
            sampling = _sampling(house, account, form)
            if seen and sight.blind(house, models):
                return await _thread(render, found, account, id, {"problem": await _thread(sight.problem, found)}, status=422)
            if quotable and seen:
                return await _thread(render, found, account, id, {"problem": found.say(REFUSALS["pictures_beside_documents"])}, status=422)
            live = await answers.begin(house, conversation, said, models, sampling, trial, quotable)
    if found.wants_json:
        return found.go(to, live=f"{found.root}{to}/live")
    if live and live.task:
        await answers.ended(live)
    if live and (problem := live.problem(found.say)):
        return await _thread(render, found, account, id, {"problem": problem})
    return found.go(to)


def _quotable(house: ChatSite, user: str, conversation: str) -> list[Document]:
    """Return the texts that the answers of a conversation quote."""
    quotable = list[Document]()
    for document in documents.texts(house.store, user, conversation):
        quotable += attached.documents(document.name, document.text)
    return quotable


def render(found: Visit, account: Account, id: str | None, said: dict[str, str], *, status: int = 200) -> Response:
    """Return the page of a conversation, or of a new one.

    Args:
        said: what its address asks for (``at``, ``q``, ``page``), and a ``problem`` to be told.
    """
    house = site.of(found)
    conversation, turns, running = answers.opened(house, account.id, id) if id else (None, list[Turn](), None)
    given = consents.current(house.store, account.id)
    own = reactions.own(house.store, account.id, conversation=conversation.id) if conversation else []
    thread = shown.thread(turns, own, at=said.get("at", ""), live=running)
    last = thread[-1].turn if thread else None
    parent = shown.continued(thread)
    number = min(max(int(said.get("page", "1")), 1), MOST_PAGES)
    talks = chats.searched(house.store, account.id, said.get("q", ""), limit=ON_A_PAGE + 1, offset=(number - 1) * ON_A_PAGE)
    return found.page(
        "chat.html",
        status,
        documents=documents.listed(house.store, account.id, conversation.id) if conversation else [],
        most_documents=house.chat.documents,
        pictures=chat_pictures.waiting(house.store, account.id),
        words_of=_words_of,
        answerer=(conversation.model if conversation else "") or house.answering(),
        most_pictures=house.chat.pictures,
        seeing=[name for name in house.library.names() if house.library.sees(name)] if house.chat.pictures else [],
        upload_token=upload_token(found.session, house.secret),
        talks=talks[:ON_A_PAGE],
        wanted=said.get("q", "")[: chats.LONGEST_SEARCH],
        page=number,
        more=len(talks) > ON_A_PAGE,
        longest_title=chats.LONGEST_TITLE,
        chosen=conversation.model if conversation else "",
        conversation=conversation,
        mark=next((reaction for reaction in own if reaction.kind == "survey"), None),
        surveyed=last if house.chat.survey and last and last.role == "assistant" and running is None else None,
        best=reactions.BEST,
        thread=thread,
        waiting=running,
        unanswered=bool(last and last.role == "user" and running is None),
        parent=parent.id if parent else "",
        key=secrets.token_urlsafe(18),
        models=list(house.library.names()),
        answering=house.answering(),
        longest=house.chat.longest,
        system=conversation.system if conversation else house.chat.system,
        sampling=dataclasses.asdict(house.sampling) | (dict(parent.sampling) if parent else {}),
        consent=given,
        consent_text=found.say(consents.TEXT),
        problem=said.get("problem", ""),
        reasons=translations.REASONS,
        fitting={True: reactions.GOOD, False: reactions.BAD},
        choices=translations.CHOICES,
        better=translations.BETTER,
        alone=chats.kept_alone(house.store, account.id) if own else set[str](),
        states=shown.states(given),
        finishes=translations.FINISHES,
        script_words=shown.script_words(found.say),
    )


def _words_of(turn: Turn) -> str:
    """Return the words of a user's message without the places of its pictures, as an edit begins with them."""
    return turn.text.replace(MEDIUM, "").strip() if turn.media else turn.text


def _text(found: Visit, account: Account, form: Form) -> str:
    """Return the message's text, within the limits on its length and on the user's rate."""
    text = form.get("text").strip()
    if not text:
        raise Refused("nothing_said")
    _hold(text, site.of(found).chat)
    _slowly(found, account)
    return text


def _hold(text: str, chat: ChatConfig) -> None:
    if len(text) > chat.longest:
        raise Refused("too_long", detail=f"{len(text)} characters, {chat.longest} at most")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused("malformed", detail="half of a surrogate pair")


def _slowly(found: Visit, account: Account) -> None:
    """Count a request for an answer, a new turn or a regenerated one. Raises Refused (429) after too many in a minute."""
    if most := site.of(found).chat.turns_per_minute:
        accounts.attempt(found.site.store, f"turns of {account.id}", now=found.now, limit=most, window=MINUTE, key="too_fast")


def _sampling(house: ChatSite, account: Account, form: Form) -> Sampling:
    """Return the site's sampling settings, or those a lead set for this turn.

    Raises:
        Refused: a number is out of range (422).
    """
    given = {name: form.get(name) for name in SAMPLED if form.get(name)}
    if account.role != "lead" or not given:
        return house.sampling
    try:
        values: dict[str, Any] = {name: int(text) if name in WHOLE else float(text) for name, text in given.items()}
        checked = dataclasses.replace(house.chat, **values)
    except (ValueError, UsageError) as error:
        raise Refused("malformed", detail=str(error)) from error
    if checked.max_tokens > MOST_TOKENS:
        raise Refused("malformed", detail="max_tokens")
    return dataclasses.replace(house, chat=checked).sampling
