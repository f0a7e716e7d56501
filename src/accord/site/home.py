"""The first page: the loop with this project's numbers for leads and viewers; labelers come to their tasks, users to the chat."""

from __future__ import annotations

import secrets
import shlex

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.errors import AccordError
from accord.feedback.refusals import Refused
from accord.feedback.web.access import act, enter
from accord.runtime import jobs
from accord.runtime.project import Project
from accord.site import loop, navigation, project_site
from accord.site.figures import Made, figures
from accord.site.methods import BY_NAME

router = APIRouter()
PAGES = frozenset(entry.address for entry in navigation.AREAS)
"""The areas of the site, to which the steps lead."""
SHOWN = 5
"""Jobs on the page."""


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


JOB_STATES = {
    "queued": _("waits"),
    "running": _("running"),
    "done": _("done"),
    "failed": _("failed"),
    "stopped": _("stopped"),
    "lost": _("lost"),
}


@router.get("/")
def first_page(request: Request) -> Response:
    """Show the loop, or send a labeler or user to where they work."""
    found, account = enter(request)
    landing = navigation.LANDING[account.role]
    if landing != "/":
        return found.go(landing)
    site = project_site.of(found)
    steps = loop.steps(figures(site.store, site.project), PAGES)
    return found.page(
        "loop.html",
        steps=steps,
        next_step=loop.next_step(steps),
        states=loop.STATES,
        job_states=JOB_STATES,
        commands={step.key: _written(site.project, step.command) for step in steps},
        forms={step.key: f"/runs/new/{step.command[0]}" for step in steps if step.command[0] in BY_NAME},
        jobs=jobs.newest(site.project, SHOWN),
        may_change=account.role == "lead",
        form_key=secrets.token_urlsafe(12),
        accuracy=accuracy,
        preferred=preferred,
    )


@router.post("/do/{step}")
def do_now(request: Request, step: str) -> Response:
    """Start the command of a step as the page shows it, as a process of its own."""
    found, account, form = act(request, "lead")
    site = project_site.of(found)
    steps = loop.steps(figures(site.store, site.project), PAGES)
    chosen = next((each for each in steps if each.key == step and each.startable), None)
    if chosen is None:
        raise Refused("malformed", 404, f"step {step[:40]}")
    if not chosen.lacks:
        try:
            jobs.start(site.project, list(chosen.command), by=account.id, once=form.get("key"))
        except AccordError as error:
            title, home = found.say(_("Nothing was changed")), (f"{found.root}/", found.say(_("Home")))
            return found.page("error.html", 409, title=title, text=str(error), next=home)
    return found.go("/runs" if "/runs" in PAGES else "/")


def accuracy(made: Made) -> str:
    """Format how often a model orders pairs as people do."""
    return "" if made.accuracy is None else f"{made.accuracy:.0%}"


def preferred(made: Made) -> str:
    """Format how often a model was preferred, with its interval."""
    return "" if made.won is None else f"{made.won.mean:.0%} ({made.won.low:.0%}–{made.won.high:.0%})"


def _written(project: Project, command: tuple[str, ...]) -> str:
    """Return a command as it is typed into a terminal."""
    name, *words = command
    return shlex.join(["accord", name, str(project.path), *words])
