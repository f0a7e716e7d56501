"""The runs page: runs and jobs, a run as it goes on, stopping and resuming, two runs beside each other, and what answers in the chat."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from accord.errors import AccordError
from accord.feedback import deployments
from accord.feedback.web.access import Visit, act, enter
from accord.runtime import jobs, owners
from accord.runtime.jobs import Job
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.site import curves, new_run, project_site, run_views, waits, why_pages

router = APIRouter()
QUIET = ("plan-memory", "config")
"""Commands that pages ask for themselves; the list leaves them out."""
JOBS = 30
SHORTEST_WAIT = 2.5
"""Seconds between two looks of the page that is open; a run that takes long to read is looked at less often."""
SWITCH_SECONDS = 30.0
NO_POLICY = ("reward", "process", "sample", "label", "evaluate", "compare", "frontier", "examine", "probe", "solve", "algorithms")
"""Stages whose run leaves no model that can chat."""


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


STATES = {
    "queued": _("queued"),
    "running": _("running"),
    "stopping": _("stopping"),
    "done": _("done"),
    "failed": _("failed"),
    "stopped": _("stopped"),
    "lost": _("lost"),
}
SAID = {
    "stopping": _("Stopping: the run finishes its step, saves and ends."),
    "resumed": _("Resumed from its last checkpoint."),
    "answers": _("Deployed: this model answers from the next turn on."),
    "back": _("Rolled back: the previous model answers from the next turn on."),
    "waits": _("The command is still running. It is in the list of runs and commands."),
}
"""Notices after a form, by the word in the address."""
SEVERITIES = {"high": _("serious"), "medium": _("look at it"), "low": _("good to know")}


@router.get("/runs")
def run_list(request: Request) -> Response:
    """List runs and jobs, whoever started them."""
    found, account = enter(request, "lead", "viewer")
    project = project_site.of(found).project
    jobs.advance(project)  # also after a crash, the next waiting job begins
    known = jobs.newest(project, 200)
    rows = run_views.rows(project, known)
    shown_as_runs = {row.job.number for row in rows if row.job}
    others = [job for job in known if job.command not in QUIET and job.number not in shown_as_runs][:JOBS]
    return found.page(
        "runs.html",
        rows=rows,
        others=others,
        states=_states(found),
        figure=partial(_figure, found.language),
        answering=_answering(found),
        may_go_back=account.role == "lead" and len(deployments.history(found.site.store)) > 1,
        may_change=account.role == "lead",
        notice=_notice(found),
    )


@router.get("/run/{name}")
def run_page(request: Request, name: str) -> Response:
    """Show a run: state, curves, findings, samples and log. Scripts keep it up to date."""
    found, account = enter(request, "lead", "viewer")
    return _run_page(found, name, may_change=account.role == "lead")


@router.get("/run/{name}/live")
def run_live(request: Request, name: str) -> Response:
    """Return the part of a run's page that changes, or 204 while nothing has changed since the version that the page shows."""
    found, account = enter(request, "lead", "viewer")
    project, job = _run(found, name)
    if request.query_params.get("seen") == run_views.version_of(project.run(name), job):
        return Response(status_code=204)
    return found.page("run_live.html", **_live(found, project, name, job, may_change=account.role == "lead"))


@router.post("/run/{name}/stop")
def stop_run(request: Request, name: str) -> Response:
    """Ask a run to finish its step, save and end: by its job, or the process in a terminal that trains it."""
    found, account, _form = act(request, "lead")
    project, job = _run(found, name)
    if job is not None and job.unfinished:
        jobs.stop(project, job.number, by=account.id)
    elif (owner := owners.living(project.run(name) / owners.OWNER)) and owners.is_here(owner):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(owner.pid, signal.SIGTERM)
    return found.go(f"/run/{name}?said=stopping")


@router.post("/run/{name}/resume")
def resume_run(request: Request, name: str) -> Response:
    """Continue a run that a job began and that has not ended well."""
    found, account, _form = act(request, "lead")
    project, job = _run(found, name)
    if job is None:
        raise HTTPException(404)
    try:
        jobs.resume(project, job.number, by=account.id)
    except AccordError as error:
        return _run_page(found, name, may_change=True, problem=str(error), status=409)
    return found.go(f"/run/{name}?said=resumed")


@router.post("/run/{name}/promote")
def promote(request: Request, name: str) -> Response:
    """Let a run's model answer in the chat: `accord switch --to`."""
    found, account, form = act(request, "lead")
    project, _job = _run(found, name)
    words = ["switch", f"--to={name}", f"--why={_why(form.get('why'))}", *(["--anyway"] if form.has("anyway") else [])]
    job, problem = _done(project, words, account.id, form.get("once"))
    if problem:
        return _run_page(found, name, may_change=True, problem=problem, status=409)
    return found.go(f"/run/{name}?said={'waits' if job is None else 'answers'}")


@router.post("/runs/back")
def roll_back(request: Request) -> Response:
    """Let the model that answered before answer again: `accord switch --back`."""
    found, account, form = act(request, "lead")
    job, problem = _done(project_site.of(found).project, ["switch", "--back"], account.id, form.get("once"))
    if problem:
        return _unchanged(found, problem)
    return found.go(f"/runs?said={'waits' if job is None else 'back'}")


@router.get("/runs/compare")
def compare(request: Request) -> Response:
    """Show two runs beside each other: settings that differ, curves above each other, figures."""
    found, _account = enter(request, "lead", "viewer")
    project = project_site.of(found).project
    names = [name for name in (request.query_params.get("a", ""), request.query_params.get("b", "")) if name]
    if len(names) != 2 or not all(name in project.runs() for name in names):
        raise HTTPException(404)
    known = run_views.newest_of(jobs.newest(project))
    pages = [run_views.page(project, name, known.get(name)) for name in names]
    metrics = {page.row.name: page.metrics for page in pages}
    settings = run_views.differences(*({"stage": page.row.stage, **page.settings} for page in pages))
    return found.page(
        "run_compare.html",
        pages=pages,
        settings=settings,
        figures=[(curves.name_of(key, found.language), values) for key, values in run_views.figures([page.summary for page in pages])],
        charts=curves.charts(metrics, found.language) if names[0] != names[1] else [],
        shown=run_views.shown,
        states=_states(found),
    )


@router.get("/jobs/{number}")
def job_page(request: Request, number: str) -> Response:
    """Show a job: its command, state, result and log. What an answer was explained by is shown on its own page, to whom it may be."""
    found, account = enter(request, "lead", "viewer")
    job = new_run.job_of(project_site.of(found).project, number)
    why = why_pages.address_of(job)
    result = None if why else job.result()
    may_change = account.role == "lead"
    return found.page("job.html", job=job, result=result, why=why, states=_states(found), may_change=may_change, flat=flat)


@router.post("/jobs/{number}/{what}")
def change_job(request: Request, number: str, what: str) -> Response:
    """Stop, kill or resume a job."""
    found, account, _form = act(request, "lead")
    project = project_site.of(found).project
    job = new_run.job_of(project, number)
    try:
        match what:
            case "stop" | "kill":
                jobs.stop(project, job.number, by=account.id, at_once=what == "kill")
            case "resume" if job.resumable:
                job = jobs.resume(project, job.number, by=account.id)
            case _:
                raise HTTPException(404)
    except AccordError as error:
        return _unchanged(found, str(error))
    return found.go(f"/jobs/{job.number}")


def _unchanged(found: Visit, problem: str) -> Response:
    title, runs = found.say(_("Nothing was changed")), (f"{found.root}/runs", found.say(_("Runs")))
    return found.page("error.html", 409, title=title, text=problem, next=runs)


def _run_page(found: Visit, name: str, *, may_change: bool, problem: str = "", status: int = 200) -> Response:
    project, job = _run(found, name)
    return found.page(
        "run.html",
        status,
        **_live(found, project, name, job, may_change=may_change),
        problem=problem,
        notice=_notice(found),
        others=[other for other in project.runs() if other != name],
    )


def _live(found: Visit, project: Project, name: str, job: Job | None, *, may_change: bool) -> dict[str, Any]:
    page = run_views.page(project, name, job)
    language = "zh" if found.language == "zh_CN" else "en"
    log = job.log(run_views.LOG) if job else ""
    promotable = may_change and page.row.stage not in NO_POLICY and (project.model(name) / "config.json").is_file()
    return {
        "page": page,
        "may_change": may_change,
        "promotable": promotable,
        "answering": _answering(found) if promotable else "",
        "trial": deployments.trial(found.site.store) if promotable else None,
        "here": owners.living(project.run(name) / owners.OWNER),
        "once": os.urandom(12).hex(),
        "job": job,
        "charts": curves.charts({name: page.metrics}, found.language),
        "states": _states(found),
        "severities": {key: found.say(text) for key, text in SEVERITIES.items()},
        "findings": [(each, each.title(language), each.what(language), each.change(language)) for each in page.findings],
        "progress": _progress(log) if page.row.live else "",
        "log": log,
        "shown": run_views.shown,
        "wait": round(max(SHORTEST_WAIT, 20 * page.took), 1) if page.row.live else 0,
        "figures": [(curves.name_of(key, found.language), values[0]) for key, values in run_views.figures([page.summary])],
    }


def _run(found: Visit, name: str) -> tuple[Project, Job | None]:
    """Return the project and the newest job of a run. Raises HTTPException (404) where there is neither run nor job."""
    project = project_site.of(found).project
    job = run_views.newest_of(jobs.newest(project, 200)).get(name)
    if not new_run.NAME.fullmatch(name) or not (job or Run.started(project.run(name)) or project.run(name).is_dir()):
        raise HTTPException(404)
    return project, job


def _done(project: Project, words: Sequence[str], by: str, once: str) -> tuple[Job | None, str]:
    """Run a short command, and return its job if it has ended, and what is wrong."""
    try:
        job = waits.ended(jobs.start(project, words, by=by, once=once[:40]), SWITCH_SECONDS)
    except AccordError as error:
        return None, str(error)
    if job.unfinished:
        return None, ""
    return job, "" if job.state == "done" else job.error() or f"exit {job.exit_code}"


def _answering(found: Visit) -> str:
    return project_site.of(found).answering()


def _figure(language: str, one: tuple[str, float]) -> str:
    return f"{curves.name_of(one[0], language)} {curves.short(float(f'{one[1]:.4g}'))}"


def _why(text: str) -> str:
    return " ".join(text.split())[:400] or "runs page"


def _progress(log: str) -> str:
    """Return the last line of a log: how far the command is."""
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _notice(found: Visit) -> str:
    said = SAID.get(found.request.query_params.get("said", ""), "")
    return found.say(said) if said else ""


def _states(found: Visit) -> dict[str, str]:
    return {state: found.say(text) for state, text in STATES.items()}


def flat(result: Any, before: str = "") -> list[tuple[str, str]]:
    """Return a result as lines; lists are counted, and no more than 200 lines are shown."""
    if not isinstance(result, Mapping):
        counted = str(len(cast("list[object]", result))) if isinstance(result, list) else run_views.shown(result)
        return [(before.rstrip(": ") or "result", counted)]
    lines: list[tuple[str, str]] = []
    for key, value in cast("Mapping[str, Any]", result).items():
        lines += flat(value, f"{before}{key}: ")
    return lines[:200]
