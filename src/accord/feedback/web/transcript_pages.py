"""The transcript of a recording: people who hear it correct its words, and the lead sees every version and takes one back."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import accounts, media, transcripts
from accord.feedback.accounts import Account
from accord.feedback.refusals import Refused
from accord.feedback.transcripts import Corrected, Version
from accord.feedback.web import translations
from accord.feedback.web.access import Visit, act, enter
from accord.feedback.word_changes import Change, changes

router = APIRouter()
SEES_ALL = ("lead", "viewer")
BACK = ("/tasks/", "/next", "/recordings/")
"""Beginnings of the pages that a form leads back to."""


@router.get("/recordings/{digest}")
def recording(request: Request, digest: str) -> Response:
    """Show a recording with its transcript. Lead and viewer see every version of it."""
    found, account = enter(request)
    return _page(found, account, digest)


@router.post("/recordings/{digest}/transcript")
def correct(request: Request, digest: str) -> Response:
    """Store a corrected transcript. Whoever overwrote another's correction is told."""
    found, account, form = act(request, "lead", "labeler")
    _heard(found, account, digest)
    back = form.get("back") if form.get("back").startswith(BACK) else ""
    try:
        done = transcripts.correct(found.site.store, digest, form.get("text"), seen=form.get("seen"), by=account.id, now=found.now)
    except Refused as refused:
        if found.wants_json or refused.status != 422:
            raise
        problem = found.say(translations.REFUSALS[refused.key])
        return _page(found, account, digest, typed=form.get("text"), problem=problem, back=back, status=422)
    if done.meanwhile is None and back and not found.wants_json:
        return found.go(back)
    if found.wants_json:
        return found.go(f"/recordings/{digest}", transcript=done.text, meanwhile=done.meanwhile)
    return _page(found, account, digest, done=done, back=back)


@router.post("/recordings/{digest}/undo")
def undo(request: Request, digest: str) -> Response:
    """Take a version back."""
    found, account, form = act(request, "lead")
    number = form.whole("number") or 0
    if number not in {version.number for version in transcripts.versions(found.site.store, _sound(digest))}:
        raise Refused("no_such_record", 404, f"version {number}")
    transcripts.undo(found.site.store, number, by=account.id, now=found.now)
    return found.go(f"/recordings/{digest}")


def _page(
    found: Visit,
    account: Account,
    digest: str,
    *,
    done: Corrected | None = None,
    typed: str | None = None,
    problem: str = "",
    back: str = "",
    status: int = 200,
) -> Response:
    stands, store = _heard(found, account, digest), found.site.store
    told = list(reversed(transcripts.versions(store, digest))) if account.role in SEES_ALL else []
    return found.page(
        "recording.html",
        status,
        digest=digest,
        transcript=stands,
        typed=stands if typed is None else typed,
        problem=problem,
        done=done,
        back=back,
        versions=[(version, _changed(version)) for version in told],
        people={person.id: person.name for person in accounts.people(store)} if told else {},
        origins={kind: found.say(text) for kind, text in translations.TRANSCRIBERS.items()},
    )


def _changed(version: Version) -> list[Change]:
    return changes(version.before, version.text)


def _heard(found: Visit, account: Account, digest: str) -> str:
    """Return the transcript of a recording that somebody may hear. Others are told that there is none.

    Raises:
        Refused: there is no such recording (404), or what held it was withdrawn (410).
    """
    store = found.site.store
    if not (account.role in SEES_ALL or media.is_shown_to(store, account.id, _sound(digest))):
        raise Refused("no_such_record", 404, "a recording")
    with store.read() as connection:
        stands = transcripts.current(connection, _sound(digest))
    if stands is None and not transcripts.versions(store, digest):
        raise Refused("no_such_record", 404, "a recording")
    if stands is None:
        raise Refused("retracted", 410, digest)
    return stands


def _sound(digest: str) -> str:
    """Return a digest that is one. Raises Refused (404) for anything else."""
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise Refused("no_such_record", 404, "a recording")
    return digest
