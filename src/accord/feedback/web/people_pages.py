"""The people page: who works here and how far the work is; invitations, pauses and exclusions; tables to download.

Viewers see it and change nothing. An invitation's link is on the page that made it and nowhere else: the store has only its hash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast, get_args
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import NoMatchFound

from accord.feedback import accounts, doubts, workload
from accord.feedback.accounts import Account, Role, Ways
from accord.feedback.audit import entries
from accord.feedback.intervals import Interval
from accord.feedback.profile import fields_of
from accord.feedback.quality import LabelerQuality
from accord.feedback.refusals import Refused
from accord.feedback.site_address import is_loopback, public_address
from accord.feedback.web import translations
from accord.feedback.web.access import Visit, act, enter, inside
from accord.feedback.web.downloads import csv_file
from accord.feedback.web.languages import guideline_language
from accord.feedback.web.lead_pages import percent, picture_of, renew
from accord.feedback.workload import Work
from accord.settings.questions import Language, Question, said

router = APIRouter()
CHANGES: dict[str, Callable[..., None]] = {
    "pause": accounts.pause,
    "resume": accounts.resume,
    "revoke": accounts.revoke,
    "exclude": accounts.exclude,
    "include": accounts.include,
}
OF_ACCOUNTS = frozenset({"pause", "resume", "revoke"})
"""Changes to an account; the others also concern simulated and imported labelers."""
LONGEST_NAME = 200
MOST_DAYS = 365
NOBODY = Work()
NO_WAY = Ways()
HISTORY = 30
"""Rows of a person's audit log on the page."""


@dataclass(frozen=True, slots=True)
class Member:
    """A row of the table."""

    account: Account
    work: Work
    ways: Ways
    state: str
    """A key of ``translations.STATES``."""
    waiting: int
    """Notes that wait for a lead's answer."""
    quality: LabelerQuality | None


@router.get("/lead/people")
def people_page(request: Request, find: str = "", role: str = "") -> Response:
    """Show the team with its work, the progress of the tasks, and a form to invite somebody.

    Args:
        find: part of a name, a group or an id.
        role: one role alone; without it everybody but the users of the chat.
    """
    found, account = enter(request, "lead", "viewer")
    members = _members(found)
    return found.page(
        "people.html",
        members=[member for member in members if _wanted(member.account, find, role)],
        team=_totals(members),
        progress=workload.progress(found.site.store, now=found.now),
        find=find[:LONGEST_NAME],
        chosen_role=role if role in get_args(Role) else "",
        may_change=account.role == "lead",
        can_queue=_has_page(request, "queue_page"),
        **_said(found),
    )


def _has_page(request: Request, name: str) -> bool:
    """Return whether this site has a page, by the name of its function: `accord label` has fewer than the project's site."""
    try:
        request.app.url_path_for(name)
    except NoMatchFound:
        return False
    return True


def _told(field: Question, value: str, language: Language) -> str:
    """Return what somebody told in a field, in words."""
    return next((said(option.text, language) for option in field.options if option.value == value), value)


@router.get("/lead/people/{id}")
def person_page(request: Request, id: str) -> Response:
    """Show one person: work by day and kind, quality, notes, ways to come in, and the audit log about them."""
    found, account = enter(request, "lead", "viewer")
    person = _person(found, id)
    member = next(one for one in _members(found) if one.account.id == person.id)
    names = {one.id: one.name for one in accounts.people(found.site.store)}
    history = list(entries(found.site.store, person.id))[-HISTORY:]
    days = workload.daily(found.site.store, person.id, now=found.now)
    own = fields_of(found.site.folder)
    language = guideline_language(found.language)
    told = [(said(field.text, language), _told(field, person.profile.get(name, ""), language)) for name, field in own.items()]
    return found.page(
        "person.html",
        told=[(text, value) for text, value in told if value],
        member=member,
        days=days,
        most=max(1, *(count for _, count, _ in days)),
        threads=doubts.threads(found.site.store, labeler=person.id),
        history=[(entry, names.get(entry.who, entry.who)) for entry in reversed(history)],
        myself=account.id == person.id,
        may_change=account.role == "lead",
        percent=percent,
        **_said(found),
    )


@router.post("/lead/people")
def invite(request: Request) -> Response:
    """Invite a person and show the link, once."""
    found, account, form = act(request, "lead")
    name, role, days = form.get("name").strip()[:LONGEST_NAME], form.get("role") or "labeler", form.number("days") or 7.0
    if not name:
        raise Refused("name_missing")
    _check_days(days)
    token = accounts.invite(
        found.site.store,
        cast("Role", role),
        name,
        by=account.id,
        now=found.now,
        days=days,
        group=form.get("group").strip()[:120],
        screened=role == "labeler" and form.has("screened"),
    )
    return _shown(found, name, role, token, days)


@router.post("/lead/people/{id}/invite")
def invite_again(request: Request, id: str) -> Response:
    """Make another link for a person: a lost one again, or one for a second device. What is signed in stays signed in."""
    found, account, form = act(request, "lead")
    person, days = _person(found, id), form.number("days") or 7.0
    _check_days(days)
    if person.revoked:
        raise Refused("revoked", 409, id)
    token = accounts.invite(found.site.store, person.role, person.name, by=account.id, now=found.now, days=days, labeler=person.id)
    return _shown(found, person.name, person.role, token, days)


@router.post("/lead/people/{id}/uninvite")
def cancel_links(request: Request, id: str) -> Response:
    """End the links of a person that nobody has used."""
    found, account, form = act(request, "lead")
    accounts.cancel_links(found.site.store, _person(found, id).id, by=account.id, now=found.now)
    return found.go(_back(form.get("to")))


@router.post("/lead/people/{id}/{what}")
def change_person(request: Request, id: str, what: str) -> Response:
    """Pause, resume, exclude or include a labeler, or end somebody's access, with a reason in the audit log."""
    found, account, form = act(request, "lead")
    known = id.isprintable() and accounts.account(found.site.store, id) is not None
    if what not in CHANGES or not id.isprintable() or (what in OF_ACCOUNTS and not known):
        raise Refused("unknown_labeler", 404, f"{what} {id}")
    if what == "revoke" and id == account.id:
        raise Refused("own_access", 409, id)
    CHANGES[what](found.site.store, id, by=account.id, why=form.get("why")[:400], now=found.now)
    if what in ("exclude", "include"):
        renew(found.site.store)
    return found.go(_back(form.get("to")))


@router.get("/lead/people.csv")
def people_table(request: Request) -> Response:
    """Return everybody's work and quality as a CSV file, times in seconds and shares from 0 to 1."""
    found, _ = enter(request, "lead", "viewer")
    head = ("id", "name", "role", "group", "state", "answers", "skipped", "today", "last_7_days", "hours", "hours_last_7_days")
    head += ("seconds_per_answer", "last_answer", "reserved_tasks", "rankings", "agreement", "agreement_low", "agreement_high")
    head += ("untied_pairs", "gold", "self_consistency", "prefers_first", "rushed")
    return csv_file("people.csv", head, (_row(member) for member in _members(found)))


@router.get("/lead/progress.csv")
def progress_table(request: Request) -> Response:
    """Return the progress of each kind of task as a CSV file."""
    found, _ = enter(request, "lead", "viewer")
    head = ("kind", "tasks", "answers_wanted", "answers", "in_hand", "remaining", "last_7_days")
    head += ("seconds_per_answer", "hours_left", "days_left")
    kinds = workload.progress(found.site.store, now=found.now)
    rows = ((k.kind, k.tasks, k.wanted, k.done, k.in_hand, k.remaining, k.recent, k.mean_seconds, k.hours_left, k.days_left) for k in kinds)
    return csv_file("progress.csv", head, rows)


def duration(say: Callable[..., str], days: float | None) -> str:
    """Return days in words: hours below two days, weeks above a month; a dash when nothing is known."""
    if days is None:
        return "–"
    if days == 0:
        return say(translations.DONE)
    if days < 2:
        return say(translations.IN_HOURS, count=max(1, round(days * 24)))
    return say(translations.IN_DAYS, count=round(days)) if days < 31 else say(translations.IN_WEEKS, count=round(days / 7))


def hours(seconds: float) -> str:
    """Return a time in hours, with a digit behind the point while it is short."""
    return f"{seconds / 3600:.1f}" if seconds < 360_000 else f"{seconds / 3600:,.0f}"


def _members(found: Visit) -> list[Member]:
    store = found.site.store
    done, ways, lines = workload.work(store, now=found.now), accounts.ways_in(store, now=found.now), picture_of(found).lines
    waiting = dict[str, int]()
    for thread in doubts.threads(store):
        waiting[thread.labeler] = waiting.get(thread.labeler, 0) + thread.waits
    return [
        Member(one, done.get(one.id, NOBODY), way := ways.get(one.id, NO_WAY), _state(one, way), waiting.get(one.id, 0), lines.get(one.id))
        for one in accounts.people(store)
    ]


def _state(account: Account, ways: Ways) -> str:
    if account.revoked:
        return "revoked"
    if account.paused:
        return "paused"
    if ways.link_until and not ways.devices:
        return "invited"
    if not account.qualified:
        return "screening"
    return "active" if ways.devices else "away"


def _wanted(account: Account, find: str, role: str) -> bool:
    of_role = account.role == role if role else account.role != "user"
    return of_role and find.casefold() in f"{account.name}\n{account.group}\n{account.id}".casefold()


def _totals(members: Sequence[Member]) -> Work:
    return Work(
        answers=sum(member.work.answers for member in members),
        today=sum(member.work.today for member in members),
        recent=sum(member.work.recent for member in members),
        seconds=sum(member.work.seconds for member in members),
        recent_seconds=sum(member.work.recent_seconds for member in members),
    )


def _row(member: Member) -> Iterable[object]:
    account, work, quality = member.account, member.work, member.quality
    nothing = Interval(math.nan, math.nan, math.nan)
    agreement = quality.agreement if quality else nothing
    measured = (quality.gold, quality.consistency, quality.first_preferred) if quality else (nothing,) * 3
    spent = (round(work.seconds / 3600, 3), round(work.recent_seconds / 3600, 3), round(work.mean_seconds, 1))
    return (
        *(account.id, account.name, account.role, account.group, member.state),
        *(work.answers, work.skipped, work.today, work.recent, *spent, work.last, work.reserved),
        *(quality.rankings if quality else 0, *agreement, quality.shared_pairs if quality else 0),
        *(interval.mean for interval in measured),
        quality.pace.hurried if quality and quality.pace else None,
    )


def _said(found: Visit) -> dict[str, Any]:
    """Return what the templates need to speak of people and times."""
    return {
        "role_names": {role: found.say(name) for role, name in translations.ROLE_NAMES.items()},
        "acts": {what: found.say(name) for what, name in translations.ACTS.items()},
        "states": {state: found.say(name) for state, name in translations.STATES.items()},
        "until": _minute,
        "duration": partial(duration, found.say),
        "hours": hours,
    }


def _shown(found: Visit, name: str, role: str, token: str, days: float) -> Response:
    """Show the only page with an invitation's link; it is not kept by browsers (Cache-Control: no-store)."""
    address = site_address(found)
    return found.page(
        "invited.html",
        name=name,
        role_name=found.say(translations.ROLE_NAMES[role]),
        link=f"{address}/join?token={token}",
        ends=_minute(found.now.timestamp() + days * 86_400),
        only_here=is_loopback(urlsplit(address).hostname or ""),
    )


def site_address(found: Visit) -> str:
    """Return the site's address for somebody else: as the lead reached it, port, name and sub-path included.

    A lead on the server itself comes by 127.0.0.1; others get the first of the site's names.
    """
    config, here = found.site.config, urlsplit(str(found.request.base_url))
    path = here.path.rstrip("/")
    if config.names and is_loopback(here.hostname or ""):
        return public_address(config, here.port or 0) + path
    return f"{'https' if config.https else here.scheme}://{here.netloc}{path}"


def _minute(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _check_days(days: float) -> None:
    if not 0 < days <= MOST_DAYS:
        raise Refused("days", detail=str(days))


def _person(found: Visit, id: str) -> Account:
    person = accounts.account(found.site.store, id) if id.isprintable() else None
    if person is None:
        raise Refused("unknown_labeler", 404, id)
    return person


def _back(to: str) -> str:
    return inside(to) if to else "/lead/people"
