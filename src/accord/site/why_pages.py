"""Why an answer scores as it does: `accord explain` as a job, and what it found. A lead starts it; a viewer reads it."""

from __future__ import annotations

import secrets
from typing import Any, cast
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.errors import AccordError
from accord.feedback import browse, review
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.web.access import Visit, act, enter
from accord.runtime import jobs
from accord.runtime.jobs import Job
from accord.site import project_site, waits

router = APIRouter()
WHY = "/records/why"
MOMENT = 6.0
"""Seconds that the page waits for a job before it says that it is still running."""
STRONG = 3
"""Shades of a token's gain, each way."""


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


KINDS = {"demonstrations": _("demonstration"), "rankings": _("ranking"), "thumbs": _("thumb")}
BY = {
    "states": _("similarity of the model's hidden states"),
    "gradients": _("similarity of gradients: above 0 it raised this answer, below 0 it lowered it"),
    "words": _("share of the answer's words that it has"),
}


@router.get(WHY)
def why_page(request: Request, id: str = "") -> Response:
    """Show what the newest explanation of an answer found, or the button that asks for one."""
    found, _ = enter(request, "lead", "viewer")
    return _page(found, _checked(found.site.store, id), "")


@router.post(WHY)
def explain(request: Request) -> Response:
    """Start `accord explain` for an answer."""
    found, account, form = act(request, "lead")
    id = _checked(found.site.store, form.get("id"))
    try:
        jobs.start(project_site.of(found).project, _words(id), by=account.id, once=form.get("once")[:40])
    except AccordError as error:
        return _page(found, id, str(error))
    return found.go(f"{WHY}?{urlencode({'id': id})}")


def address_of(job: Job) -> str:
    """Return the page of what a job explained, which alone looks whether it may still be seen; empty for another job."""
    command, *words = job.arguments or ("",)
    if command != "explain":
        return ""
    id = next((word.removeprefix("--answer=") for word in words if word.startswith("--answer=")), "")
    return f"{WHY}?{urlencode({'id': id})}"


def _words(id: str) -> list[str]:
    return ["explain", f"--answer={id}"]


def _checked(store: Store, id: str) -> str:
    """Return the id of an answer that a lead may look into: a response, or a turn whose user agreed to its review.

    Raises:
        Refused: there is none (404).
    """
    plain = 0 < len(id) <= browse.LONGEST and id.isprintable()
    if plain and (next(iter(store.responses(ids=[id])), None) or review.may_look(store, id)):
        return id
    raise Refused("no_such_record", 404, id[:200])


def _job(found: Visit, id: str) -> Job | None:
    words = tuple(_words(id))
    newest = next((job for job in jobs.newest(project_site.of(found).project) if job.arguments == words), None)
    return waits.ended(newest, MOMENT) if newest else None


def _page(found: Visit, id: str, problem: str) -> Response:
    job, account = _job(found, id), found.account
    result = cast("dict[str, Any]", job.result() or {}) if job and job.state == "done" else {}
    return found.page(
        "why.html",
        200 if not problem else 400,
        id=id,
        job=job,
        result=result,
        shades=_shades(result),
        names=KINDS,
        by=BY,
        may_change=account is not None and account.role == "lead",
        problem=problem,
        once=secrets.token_hex(8),
        line=jobs.command_line(project_site.of(found).project.path, _words(id)),
    )


def _shades(result: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Return each token with its gain and a class for its shade: up1 to up3, down1 to down3, or none near 0."""
    tokens = result.get("reward", {}).get("tokens", [])
    most = max((abs(token["gain"] or 0.0) for token in tokens), default=0.0) or 1.0
    shaded = list[tuple[str, float, str]]()
    for token in tokens:
        gain = token["gain"] or 0.0
        strength = round(STRONG * abs(gain) / most)
        shaded.append((token["text"], gain, f"{'up' if gain > 0 else 'down'}{strength}" if strength else ""))
    return shaded
