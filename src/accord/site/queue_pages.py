"""Queue tasks for labelers: choose a kind, see in a dry run how many would come, and queue them. Both are `accord queue` as a job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.errors import AccordError
from accord.feedback.audit import audit
from accord.feedback.queue import PARTS, WEIGHED
from accord.feedback.web.access import Visit, act, enter
from accord.feedback.web.forms import Form
from accord.runtime import jobs
from accord.runtime.jobs import Job
from accord.site import project_site, waits

router = APIRouter()
OFFERED = ("rank", "compare", "demonstrate", "correct", "conversation", "evaluate", "prompt", "mark")
CUT_OFF = ("refuse", "queue", "leave_out")
"""What may become of responses that break off. The page asks where a terminal would: the command refuses, and the lead chooses."""
ORDERS = ("order", "random", "information")
MOMENT = 8.0
"""Seconds that the page waits for a job before it says that it is still running."""


@router.get("/lead/queue")
def queue_page(request: Request, job: str = "") -> Response:
    """Show the form, and what became of the job that it started."""
    found, _ = enter(request, "lead")
    made = _job(found, job)
    return _page(found, made, "")


@router.post("/lead/queue")
def queue(request: Request) -> Response:
    """Count the tasks that would come, or queue them."""
    found, account, form = act(request, "lead")
    house, adds = project_site.of(found), form.get("action") == "queue"
    words = ["queue", *_words(form, adds=adds), *([] if adds else ["--dry-run"])]
    try:
        started = jobs.start(house.project, words, by=account.id, once=form.get("once")[:40])
    except AccordError as error:
        return _page(found, None, str(error))
    if adds:
        audit(found.site.store, who=account.id, what="queue", on=" ".join(words)[:320], at=found.now)
    return found.go(f"/lead/queue?job={started.number}")


def _words(form: Form, *, adds: bool = False) -> list[str]:
    """Return the flags that the form asks for; what it leaves at the default is left out.

    Tasks are added only where somebody chose what becomes of responses that break off; a dry run counts them.
    """
    kind = form.get("kind") if form.get("kind") in OFFERED else "rank"
    words = ["--kind", kind]
    for name, default in (("k", 9), ("overlap", 1), ("count", 0)):
        value = form.whole(name)
        if value is not None and value != default:
            words += [f"--{name}", str(value)]
    if form.get("by") in ORDERS[1:] and kind != "prompt":
        words += ["--by", form.get("by")]
    if kind in ("rank", "evaluate"):
        for part in PARTS:
            words += ["--without", part] if form.has(part) else []
    choice = form.get("cut_off") if form.get("cut_off") in CUT_OFF else CUT_OFF[0]
    if kind in WEIGHED and (adds or choice != CUT_OFF[0]):
        words += ["--cut-off", choice]
    return words + (["--again"] if form.has("again") else [])


def _job(found: Visit, number: str) -> Job | None:
    if not (number.isascii() and number.isdigit() and len(number) < 8):
        return None
    project = project_site.of(found).project
    try:
        job = jobs.read(project, int(number))
    except AccordError:
        return None
    return waits.ended(job, MOMENT) if job.command == "queue" else None


def _page(found: Visit, job: Job | None, problem: str) -> Response:
    result = cast("Mapping[str, Any]", job.result() or {}) if job and job.state == "done" else {}
    arguments = job.arguments if job else ()
    values = dict(pairwise(arguments))
    return found.page(
        "queue.html",
        job=job,
        dry="--dry-run" in arguments,
        result=result,
        offered=OFFERED,
        orders=ORDERS,
        refused=job is not None and job.state == "failed" and "refuse" in arguments and "--cut-off:" in job.error(),
        chosen={"kind": values.get("--kind", "rank"), "by": values.get("--by", "order"), "again": "--again" in arguments}
        | {"cut_off": values.get("--cut-off", CUT_OFF[0])}
        | {name: values.get(f"--{name}", default) for name, default in (("k", "9"), ("overlap", "1"), ("count", "0"))}
        | {part: part in arguments for part in PARTS},
        problem=problem,
        once=secrets.token_hex(8),
    )
