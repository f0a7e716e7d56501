"""The data page: a file is uploaded, looked at in a dry run, imported, and taken back. Viewers see what was imported.

What reads or changes the project is `accord import` and `accord undo` as a job of its own; the page shows its words.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.data.registry import FORMATS
from accord.errors import AccordError
from accord.feedback.audit import audit
from accord.feedback.imports import every
from accord.feedback.refusals import Refused
from accord.feedback.web.access import ForeignForm, Visit, act, enter
from accord.feedback.web.security import same_origin, upload_fits, upload_token
from accord.runtime import jobs
from accord.runtime.jobs import Job
from accord.runtime.project import Project
from accord.site import project_site, uploads, waits
from accord.site.import_options import ENCODINGS, SPLITS, Options
from accord.site.uploads import Upload

router = APIRouter()
UPLOAD = "/data/upload"
"""The one address whose body is not read before the page decides (``Guard``)."""
LISTED = 200
"""Imports on the page, the newest ones."""
MOMENT = 4.0
"""Seconds that a page waits for a job before it says that it is still running."""


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


COUNTED = {
    "format": _("Format"),
    "read": _("rows read"),
    "kept": _("rows kept"),
    "dropped": _("rows left out"),
    "left_out": _("parts of rows left out"),
    "documents": _("texts"),
    "labelers": _("labelers"),
    "prompts": _("prompts"),
    "demonstrations": _("demonstrations"),
    "responses": _("responses"),
    "rankings": _("rankings"),
    "thumbs": _("thumbs"),
    "held_out": _("prompts moved out of training: an evaluation set has them"),
    "user_in_two_splits": _("prompts of a user who is in another split"),
    "contaminated": _("conversations in more than one split"),
    "withdrawn": _("records taken back"),
    "handed_over": _("records that another import brought too"),
    "changed_back": _("prompts changed back"),
}
"""Names of the counts of a result; one without a name is shown by its key."""
RATES = ("seconds", "rows_per_second", "import")
"""Numbers of a result that are no counts."""


def streamed(megabytes: int) -> dict[str, int]:
    """Return the exception from the limit on bodies: the file, and the form around it."""
    return {UPLOAD: megabytes * 1_000_000 + 100_000} if megabytes else {}


@router.get("/data")
def data_page(request: Request) -> Response:
    """Show the files that wait, what is being imported, and every import."""
    found, _ = enter(request, "lead", "viewer")
    return _data(found, "")


@router.post(UPLOAD)
async def upload(request: Request, token: str = "", name: str = "") -> Response:
    """Take a lead's file, and look at it in a dry run. Whoever may not send one is answered before a byte of it is read."""
    found, account = await to_thread.run_sync(enter, request, "lead")
    house = project_site.of(found)
    if not same_origin(request.headers, request.headers.get("host", "")) or not upload_fits(found.session, house.secret, token):
        raise ForeignForm
    if not house.upload_mb:
        raise Refused("role", 403, "uploads are switched off")
    try:
        made = await uploads.receive(house.project, request, name=name)
    except Refused:
        raise
    except AccordError as error:
        return await to_thread.run_sync(_data, found, str(error))
    job = await to_thread.run_sync(_look, found, account.id, made, Options(), secrets.token_hex(8))
    return found.go(f"/data/uploads/{made.id}?job={job.number}")


@router.get("/data/uploads/{id}")
def upload_page(request: Request, id: str, job: str = "") -> Response:
    """Show a file's dry run: how it will be read, row by row, and the options to read it otherwise."""
    found, _ = enter(request, "lead")
    house = project_site.of(found)
    made = uploads.opened(house.project, id)
    looked = _job_on(house.project, made, job)
    return _upload(found, made, looked, "")


@router.post("/data/uploads/{id}")
def use_upload(request: Request, id: str) -> Response:
    """Look at a file again with other options, import it, or remove it."""
    found, account, form = act(request, "lead")
    house = project_site.of(found)
    if form.get("action") == "discard":
        uploads.discard(house.project, id)
        return found.go("/data")
    made, options, once = uploads.opened(house.project, id), Options.of_form(form), form.get("once")[:40]
    try:
        if form.get("action") != "import":
            return found.go(f"/data/uploads/{id}?job={_look(found, account.id, made, options, once).number}")
        started = jobs.start(house.project, ["import", str(made.path), *options.words()], by=account.id, once=once)
    except Refused:
        raise
    except AccordError as error:
        return _upload(found, made, None, str(error))
    audit(found.site.store, who=account.id, what="import", on=f"{made.name} (job {started.number})"[:320], at=found.now)
    return found.go(f"/data/jobs/{started.number}")


@router.get("/data/jobs/{number}")
def job_page(request: Request, number: str) -> Response:
    """Show an import or an undo while it runs, and what came of it."""
    found, account = enter(request, "lead", "viewer")
    project = project_site.of(found).project
    job = waits.ended(_read(project, number), MOMENT)
    path = Path(job.arguments[1]) if job.command == "import" else None
    if job.state == "done" and path is not None and path.parent.parent == project.path / uploads.FOLDER:
        uploads.discard(project, path.parent.name)
    return found.page(
        "data_job.html", job=job, result=job.result() or {}, counts=_counts(job), file=path, may_change=account.role == "lead"
    )


@router.post("/data/imports/{number}/undo")
def undo(request: Request, number: str) -> Response:
    """Take an import back."""
    found, account, form = act(request, "lead")
    project, why, asked = project_site.of(found).project, form.get("why").strip()[:400], _number(number)
    try:
        started = jobs.start(project, ["undo", str(asked), *([f"--why={why}"] if why else [])], by=account.id, once=form.get("once")[:40])
    except Refused:
        raise
    except AccordError as error:
        return _data(found, str(error))
    audit(found.site.store, who=account.id, what="undo import", on=f"import {asked} (job {started.number})", why=why, at=found.now)
    return found.go(f"/data/jobs/{started.number}")


def _data(found: Visit, problem: str) -> Response:
    house, account = project_site.of(found), found.account
    lead = account is not None and account.role == "lead"
    listed = [*every(found.site.store)][::-1]
    return found.page(
        "data.html",
        200 if not problem else 400,
        uploads=uploads.waiting(house.project) if lead else [],
        under_way=[job for job in jobs.newest(house.project) if job.unfinished and job.command in ("import", "undo")],
        imports=[(one, Path(one.source).name, _brought(one.counts)) for one in listed[:LISTED]],
        more=max(len(listed) - LISTED, 0),
        names=COUNTED,
        may_change=lead,
        token=upload_token(found.session, house.secret),
        megabytes=house.upload_mb,
        once=secrets.token_hex(8),
        problem=problem,
        line=jobs.command_line(house.project.path, ["import", "FILE", "--dry-run"]),
    )


def _upload(found: Visit, made: Upload, looked: Job | None, problem: str) -> Response:
    options = Options.of_words(looked.arguments[2:]) if looked else Options()
    words = ["import", str(made.path), *options.words()]
    return found.page(
        "data_upload.html",
        200 if not problem else 400,
        upload=made,
        job=looked,
        result=looked.result() or {} if looked else {},
        counts=_counts(looked) if looked else [],
        options=options,
        formats=sorted(FORMATS),
        splits=SPLITS,
        encodings=ENCODINGS,
        once=secrets.token_hex(8),
        problem=problem,
        line=jobs.command_line(project_site.of(found).project.path, words),
    )


def _look(found: Visit, by: str, made: Upload, options: Options, once: str) -> Job:
    words = ["import", str(made.path), *options.words(), "--dry-run"]
    return jobs.start(project_site.of(found).project, words, by=by, once=once)


def _job_on(project: Project, made: Upload, number: str) -> Job | None:
    """Return the dry run of a file, after a moment's wait for its end; None when the number is another job's."""
    if not number:
        return None
    job = _read(project, number)
    mine = job.command == "import" and job.arguments[1:2] == (str(made.path),) and "--dry-run" in job.arguments
    return waits.ended(job, MOMENT) if mine else None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Refused("no_such_upload", 404, text)
    return int(text)


def _read(project: Project, number: str) -> Job:
    """Return an import or an undo. Raises Refused (404) for another job's number, or none."""
    try:
        job = jobs.read(project, _number(number))
    except Refused:
        raise
    except AccordError as error:
        raise Refused("no_such_upload", 404, f"job {number}") from error
    if job.command not in ("import", "undo"):
        raise Refused("no_such_upload", 404, f"job {number}")
    return job


def _counts(job: Job) -> list[tuple[str, str, Any]]:
    """Return the counts of a result: name, what of it, and the number; a table of a result gives a line for each of its entries."""
    counts = list[tuple[str, str, Any]]()
    for key, value in cast("dict[str, Any]", job.result() or {}).items():
        name = COUNTED.get(key, key)
        if isinstance(value, dict) and key in ("dropped", "left_out", "withdrawn", "kept"):
            counts += [(name, detail, number) for detail, number in cast("dict[str, Any]", value).items()]
        elif isinstance(value, int | float | str) and key not in RATES and (value != 0 or key in ("read", "kept")):
            counts.append((name, "", value))
    return counts


def _brought(counts: Mapping[str, Any]) -> dict[str, int]:
    kinds = ("prompts", "demonstrations", "responses", "rankings", "thumbs", "documents")
    return {kind: counts[kind] for kind in kinds if counts.get(kind)}
