"""The form of a new run: method, models, data and settings, with the command that it stands for and the memory that this takes."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from accord.errors import AccordError
from accord.feedback.web.access import Visit, act, enter
from accord.feedback.web.forms import Form
from accord.runtime import jobs
from accord.runtime.jobs import Job
from accord.runtime.project import Project
from accord.settings.fields import Field, Misread, made
from accord.site import methods, project_site, waits
from accord.site.methods import Method, Preset

router = APIRouter()
NAME = re.compile(r"[\w][\w.-]{0,99}")
PLANNED = ("sft", "reward", "process", "dpo", "kto", "ppo", "grpo", "rloo", "reinforce", "raft", "online-dpo")
"""Methods whose memory `accord plan-memory` knows."""
PLAN_FLAGS = ("lora_rank", "lora_bits", "recompute", "micro_tokens", "max_tokens", "batch_size")
PLAN_SECONDS = 6.0
"""Longest wait for a plan of the memory; it goes on, and the next press finds it, or a script."""

KEPT = 600
"""Seconds for which a plan is shown again without another look at the model."""


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


TAKEN = _("There is a run of this name already. Choose another one.")
NO_NAME = _("Letters, digits, dots, dashes and underscores; it begins with a letter or digit.")
NO_MODEL = _("Name a model: one of this project, or one of the hub (owner/name).")
FOLDER = _(
    "A page opens no folder by its path: name it in accord.toml or link it into models/. Or name a model of this project or of the hub."
)
IN_FILE = _("Code and servers are named in accord.toml, not here.")


@dataclass
class Draft:
    """What the form holds: texts as they were typed, and what is wrong with each."""

    method: Method
    name: str
    models: dict[str, str]
    texts: dict[str, str]
    problems: dict[str, str] = field(default_factory=dict[str, str])
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    """The settings, read; empty while something is wrong."""

    def arguments(self, project: Project) -> list[str]:
        """Return the command: what differs from the settings that it has without flags."""
        words = [self.method.name, f"--name={self.name}"]
        words += [f"--{flag.flag}={self.models[flag.flag]}" for flag in self.method.models if self.models[flag.flag] != flag.default]
        before = self.method.in_force(project)
        fields = self.method.fields()
        return words + [field.given(self.values[field.name]) for field in fields if self.values.get(field.name) != before[field.name]]


@router.get("/runs/new")
def choose(request: Request) -> Response:
    """Show the methods."""
    found, account = enter(request, "lead", "viewer")
    counts = found.site.store.counts()
    return found.page("run_methods.html", offered=methods.OFFERED, counts=counts, may_change=account.role == "lead")


@router.get("/runs/new/{method}")
def form(request: Request, method: str) -> Response:
    """Show a method's form, filled in by a preset."""
    found, _account = enter(request, "lead")
    asked = request.query_params.get("preset", "project")
    preset = cast("Preset", asked) if asked in get_args(Preset) else "project"
    chosen = _method(method)
    project = project_site.of(found).project
    texts = {name: _text(value) for name, value in chosen.preset(project, preset).items()}
    models = {flag.flag: request.query_params.get(flag.flag) or _model(project, flag) for flag in chosen.models}
    draft = Draft(chosen, _free_name(project, chosen.name), models, texts)
    return _shown(found, draft, preset)


@router.post("/runs/new/{method}")
def send(request: Request, method: str) -> Response:
    """Show the command and its memory, or start it."""
    found, account, posted = act(request, "lead")
    project = project_site.of(found).project
    draft = _draft(found, _method(method), posted)
    if draft.problems:
        return _shown(found, draft, status=422)
    if posted.get("do") != "start":
        return _shown(found, draft, checked=True, plan=_plan(project, draft, account.id))
    try:
        jobs.start(project, draft.arguments(project), by=account.id, once=posted.get("once")[:40])
    except AccordError as error:
        draft.problems[""] = str(error)
        return _shown(found, draft, status=422)
    return found.go(f"/run/{draft.name}")


@router.get("/runs/plan/{number}")
def plan(request: Request, number: str) -> Response:
    """Return the memory that a plan found, or 204 while it is being made."""
    found, _account = enter(request, "lead")
    job = job_of(project_site.of(found).project, number)
    if job.command != "plan-memory":
        raise HTTPException(404)
    return Response(status_code=204) if job.unfinished else found.page("run_plan.html", plan=_planned(job))


def job_of(project: Project, number: str) -> Job:
    """Return the job of a number in an address. Raises HTTPException (404) where there is none."""
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise HTTPException(404)
    try:
        return jobs.read(project, int(number))
    except AccordError as error:
        raise HTTPException(404) from error


def _draft(found: Visit, method: Method, posted: Form) -> Draft:
    """Read a form, and hold it against the command's own rules."""
    project = project_site.of(found).project
    name = posted.get("name").strip()
    models = {flag.flag: posted.get(f"model.{flag.flag}").strip() for flag in method.models}
    before = method.in_force(project)
    texts = {each.name: _posted(each, posted, before[each.name]) for each in method.fields()}
    draft = Draft(method, name, models, texts)
    if not NAME.fullmatch(name):
        draft.problems["name"] = found.say(NO_NAME)
    elif project.run(name).exists() or (method.name != "sample" and project.model(name).exists()) or _waits(project, name):
        draft.problems["name"] = found.say(TAKEN)
    for flag, model in models.items():
        if not model or model.startswith("-") or len(model) > 500:
            draft.problems[f"model.{flag}"] = found.say(NO_MODEL)
        elif _is_folder(project, model):
            draft.problems[f"model.{flag}"] = found.say(FOLDER)
    values: dict[str, Any] = {}
    for each in method.fields():
        try:
            values[each.name] = before[each.name] if each.name in methods.FIXED else each.read(texts[each.name])
        except Misread as error:
            draft.problems[each.name] = str(error)
    for named in methods.REWARDS:
        if values.get(named) != before.get(named) and not methods.SAFE_REWARDS.fullmatch(str(values.get(named))):
            draft.problems[named] = found.say(IN_FILE)
    if (judge := str(values.get("judge_model", ""))) and judge != before.get("judge_model") and _is_folder(project, judge):
        draft.problems["judge_model"] = found.say(FOLDER)
    if not draft.problems:
        _config, draft.problems = made(method.config, values)
    draft.values = {} if draft.problems else values
    return draft


def _posted(each: Field, posted: Form, before: object) -> str:
    """Return a field's text. An unticked box is sent as nothing, beside a mark that the form had it."""
    if each.kind == "yes-no":
        there = posted.has(f"there.{each.name}")
        return ("true" if posted.has(f"set.{each.name}") else "false") if there else _text(before)
    return posted.get(f"set.{each.name}") if posted.has(f"set.{each.name}") else _text(before)


def _plan(project: Project, draft: Draft, by: str) -> Mapping[str, Any]:
    """Return what the training takes in memory, as `accord plan-memory` says; its job is found again by the same settings."""
    method = draft.method
    if method.name not in PLANNED or not method.models:
        return {}
    known = {each.name: each for each in method.fields()}
    words = ["plan-memory", method.name, f"--model={draft.models[method.models[0].flag]}"]
    words += [known[name].given(draft.values[name]) for name in PLAN_FLAGS if name in known]
    same = hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
    try:
        job: Job = waits.ended(jobs.start(project, words, by=by, once=f"plan-{same}-{int(time.time() // KEPT)}"), PLAN_SECONDS)
    except AccordError as error:
        return {"problem": str(error)}
    return _planned(job)


def _planned(job: Job) -> Mapping[str, Any]:
    if job.unfinished:
        return {"waits": job.number}
    result = job.result()
    return cast("dict[str, Any]", result) if isinstance(result, dict) else {"problem": job.error()}


def _shown(
    found: Visit,
    draft: Draft,
    preset: Preset = "project",
    *,
    status: int = 200,
    checked: bool = False,
    plan: Mapping[str, Any] | None = None,
) -> Response:
    project = project_site.of(found).project
    fields = draft.method.fields()
    first, data = methods.placed(fields, methods.FIRST), methods.placed(fields, methods.DATA)
    fixed = [each for each in fields if each.name in methods.FIXED]
    rest = methods.grouped(fields)
    return found.page(
        "run_form.html",
        status,
        draft=draft,
        method=draft.method,
        preset=preset,
        presets=methods.PRESETS,
        first=[each for each in first if each not in fixed],
        data=data,
        rest=rest,
        fixed=fixed,
        before={name: _text(value) for name, value in draft.method.in_force(project).items()},
        open={heading for heading, some in rest.items() if any(each.name in draft.problems for each in some)},
        models=project.models(),
        line=jobs.command_line(project.path, draft.arguments(project)) if checked else "",
        plan=plan or {},
        once=secrets.token_hex(12),
    )


def _method(name: str) -> Method:
    if name not in methods.BY_NAME:
        raise HTTPException(404)
    return methods.BY_NAME[name]


def _model(project: Project, flag: methods.ModelFlag) -> str:
    """Return the model that a form begins with: the default if the project has it, else the project's only one of that use."""
    known = project.models()
    if flag.default in known or not known:
        return flag.default
    return next((name for name in known if name.startswith(flag.default)), flag.default)


def _is_folder(project: Project, model: str) -> bool:
    """Return whether a model is a folder that is neither the project's nor named in its accord.toml: a page opens no other."""
    if model in project.models() or model in _texts(project.settings):
        return False
    path = Path(model)
    odd = path.is_absolute() or model.startswith((".", "~")) or ".." in path.parts or "\\" in model or "\0" in model
    return odd or os.path.exists(path) or os.path.exists(project.path / path)


def _texts(settings: Mapping[str, Any]) -> set[str]:
    """Return every text that a project's accord.toml holds."""
    found = set[str]()
    for value in settings.values():
        if isinstance(value, Mapping):
            found |= _texts(cast("Mapping[str, Any]", value))
        elif isinstance(value, str):
            found.add(value)
    return found


def _free_name(project: Project, wanted: str) -> str:
    """Return a name that no run and no model has."""
    taken = {*project.runs(), *project.models(), *(job.run for job in jobs.newest(project) if job.unfinished)}
    numbered = (f"{wanted}-{number}" for number in range(2, 10_000))
    return wanted if wanted not in taken else next(name for name in numbered if name not in taken)


def _waits(project: Project, name: str) -> bool:
    return any(job.run == name and job.unfinished for job in jobs.newest(project))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
