"""The plan of an erasure, in ``forgetting/`` while `accord forget` is at work: who, what learned from them, and where their words stood.

Each step of an erasure takes away what the next run would find the person by: their rows in a snapshot tell which models learned from
it, and their prompts tell what the copies quote. So all of it is written down first. A run that was killed leaves the plan, and the next
one for the same person goes on from it. The plan holds the person's own texts, so it goes with the last step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from accord.errors import RunError, StoreError
from accord.feedback import copies, erasure
from accord.feedback.audit import audit
from accord.feedback.erasure import Person
from accord.feedback.media import leave_named
from accord.feedback.store import Store
from accord.runtime.files import OWNER_ONLY, clean, sync, write_atomic
from accord.runtime.lineage import models_that_learned
from accord.runtime.project import Project

FOLDER = "forgetting"
"""Where the plans stand, in a project."""
LEARNED = "models that learned from a forgotten user"
"""Of what the audit log tells the names beside the reason."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an erasure needs to know once it has begun."""

    person: Person
    models: dict[str, str]
    """The models that learned from the person, each with how."""
    files: dict[str, int]
    """Files of runs with the person's rows, as RUN/FILE, and how many rows each had."""
    copies: list[str]
    """Other files and folders with copies."""
    resumed: bool = False
    """Whether an earlier run of the same erasure was interrupted."""


def write_plan(project: Project, store: Store, user: str) -> Plan:
    """Write down what an erasure will take away, with what an interrupted one had found.

    Raises:
        StoreError: the database holds nothing of that user, and no erasure of them was interrupted.
        RunError: the plan of an interrupted erasure is damaged.
    """
    path = _path(project, user)
    clean(path.parent)
    begun = _read(path)
    try:
        who = erasure.person(store, user)
    except StoreError:
        if begun is None:
            raise
        who = begun.person
    else:
        who = _together(begun.person, who) if begun else who
    traces = erasure.traces(project.path / "runs", who)
    learned = [trace for trace in traces if trace.path.name != "samples.jsonl"]
    models = models_that_learned(project, {trace.digest for trace in learned}, {trace.path.parent.name for trace in learned})
    files = {f"{trace.path.parent.name}/{trace.path.name}": trace.rows for trace in traces}
    if begun:
        models, files = begun.models | models, begun.files | files
    others = {str(found.relative_to(project.path)) for found in copies.copies(project.path, who, _runs(files))}
    whole = Plan(who, models, files, sorted(others | set(begun.copies if begun else ())), begun is not None)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(path, json.dumps(asdict(whole), default=sorted, ensure_ascii=False) + "\n", mode=OWNER_ONLY)
    return whole


def remove_files(project: Project, found: Plan, *, now: datetime) -> None:
    """Take the person's rows and copies out of the files of a project; what an interrupted run took out is gone already."""
    there = copies.copies(project.path, found.person, _runs(found.files))
    copies.remove_copies(there, found.person)
    erasure.remove(erasure.traces(project.path / "runs", found.person), found.person, now=now)
    for name in sorted(_runs(found.files)):
        leave_named(project.path / "runs" / name)


def finish(project: Project, store: Store, found: Plan, *, by: str, why: str, now: datetime) -> list[str]:
    """Remove the plan of an erasure that is done. Return the users whose erasure was interrupted and is not done.

    The models stay in the audit log, which outlives a kill between this and the answer to whoever asked.
    """
    path = _path(project, found.person.user)
    if found.models:
        named = ", ".join(found.models)
        audit(store, who=by, what="erase", on=LEARNED, why=f"{why}: {named}" if why else named, at=now)
    path.unlink(missing_ok=True)
    sync(path.parent)
    clean(path.parent)
    left = sorted(plan.person.user for other in path.parent.glob("*.json") if (plan := _read(other)) is not None)
    if not left:
        _remove_empty(path.parent)
    return left


def _runs(files: Iterable[str]) -> set[str]:
    return {name.partition("/")[0] for name in files}


def _path(project: Project, user: str) -> Path:
    return project.path / FOLDER / f"{hashlib.sha256(user.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}.json"


def _read(path: Path) -> Plan | None:
    """Return a plan that an interrupted run has left; None where there is none.

    Raises:
        RunError: it is damaged.
    """
    try:
        read: dict[str, Any] = json.loads(path.read_bytes())
        told = read["person"]
        sets = {name: frozenset(told[name]) for name in ("names", "prompts", "texts", "turns")}
        who = Person(user=told["user"], labelers=tuple(told["labelers"]), **sets)
        return Plan(who, read["models"], read["files"], read["copies"])
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        hint = "it names the models that learned from the person: read them there, remove the file, and run the same command again"
        raise RunError(f"the plan of an interrupted erasure is damaged: {error}", where=str(path), hint=hint) from error


def _together(one: Person, other: Person) -> Person:
    """Return what two runs of an erasure know of a person."""
    return Person(
        one.user,
        one.names | other.names,
        one.prompts | other.prompts,
        one.texts | other.texts,
        tuple(sorted({*one.labelers, *other.labelers})),
        one.turns | other.turns,
    )


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # another erasure has begun meanwhile
