"""Pages for doubts: a labeler's threads with the leads, the leads' answers, and rules that grow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import accounts, doubts, tasks
from accord.feedback.doubts import Doubt
from accord.feedback.guidelines import LANGUAGES, Language
from accord.feedback.tasks import Task
from accord.feedback.web import translations
from accord.feedback.web.access import Visit, act, enter

router = APIRouter()
SHOWN = 50
"""Threads on the page."""


@dataclass(frozen=True, slots=True)
class ShownNote:
    """A note with its author's name: a lead's is not told to labelers."""

    who: str
    mine: bool
    text: str
    at: str


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread on the page, with the task that it is about."""

    doubt: Doubt
    task: Task
    name: str
    """The labeler's, for leads."""
    notes: list[ShownNote]


@router.get("/doubts")
def doubts_page(request: Request) -> Response:
    """Show a labeler's own threads, or all of them to a lead."""
    found, account = enter(request, "lead", "labeler", "viewer")
    over = account.role in ("lead", "viewer")
    threads = doubts.threads(found.site.store, labeler="" if over else account.id)
    return found.page(
        "doubts.html",
        threads=_shown(found, threads[:SHOWN], over),
        more=max(0, len(threads) - SHOWN),
        over=over,
        may_change=account.role == "lead",
        may_rule=account.role == "lead" and found.site.folder is not None,
        set_names=translations.SETS,
    )


@router.post("/doubts/{id}/{what}")
def answer_doubt(request: Request, id: str, what: str) -> Response:
    """Store a lead's answer, settle a thread, or make a rule of it; a labeler may add to an own thread."""
    found, account, form = act(request, "lead", "labeler")
    store, now = found.site.store, found.now
    mine = next((thread for thread in doubts.threads(store, labeler=account.id) if thread.id == id), None)
    if account.role == "labeler":
        if mine is None or what != "reply":
            raise HTTPException(404)
        doubts.ask(store, account.id, mine.task_id, form.get("text"), now=now)
    elif what == "reply" and mine:
        doubts.ask(store, account.id, mine.task_id, form.get("text"), now=now)
    elif what == "reply":
        doubts.reply(store, id, form.get("text"), by=account.id, now=now)
    elif what == "settle":
        doubts.settle(store, id, by=account.id, now=now)
    elif what == "rule" and found.site.folder:
        texts: dict[Language, str] = {language: form.get(f"rule-{language}") for language in LANGUAGES}
        doubts.grow_rule(store, found.site.folder, id, texts, by=account.id, now=now, reader=found.site.pictures)
    else:
        raise HTTPException(404)
    return found.go("/doubts")


def beside(found: Visit, account: str, task_id: str) -> list[ShownNote]:
    """Return the notes of a labeler's thread beside a task."""
    threads = doubts.threads(found.site.store, labeler=account, task_id=task_id)
    return _notes(found, threads[0], {}, over=False) if threads else []


def answered(found: Visit, account: str) -> int:
    """Return the number of a labeler's open threads in which a lead has had the last word."""
    return sum(thread.answered and not thread.settled for thread in doubts.threads(found.site.store, labeler=account))


def _shown(found: Visit, threads: Sequence[Doubt], over: bool) -> list[Thread]:
    names = {person.id: person.name for person in accounts.people(found.site.store)} if over else {}
    with found.site.store.read() as connection:
        about = {task.id: task for task in tasks.load_all(connection, {thread.task_id for thread in threads})}
    return [
        Thread(thread, about[thread.task_id], names.get(thread.labeler, ""), _notes(found, thread, names, over=over)) for thread in threads
    ]


def _notes(found: Visit, thread: Doubt, names: dict[str, str], *, over: bool) -> list[ShownNote]:
    lead, you = found.say(translations.LEAD), found.say(translations.YOU)
    me = found.account.id if found.account else ""
    shown = list[ShownNote]()
    for note in thread.notes:
        who = you if note.by == me else names.get(note.by, lead) if over else lead
        shown.append(ShownNote(who, note.by == me, note.text, note.at[:16].replace("T", " ")))
    return shown
