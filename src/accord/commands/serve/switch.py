"""`accord switch`: choose which model answers in the chat, go back to the one before, or list the switches.

Needs a language model in the project. Leaves a row in feedback.db and in its audit log; a running page follows at its next turn, and
a trial that is running ends. Loads no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath, Why, flat, shows
from accord.commands.serve.trials import answering, digest_of_language_model, trial_standing
from accord.errors import InputError, UsageError
from accord.feedback import deployments
from accord.feedback.audit import OPERATOR
from accord.feedback.store import Store
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.settings import RoundConfig


def show_switch(metrics: Mapping[str, Any]) -> None:
    """Print which model answers, and every switch as a line."""
    lines = flat({key: value for key, value in metrics.items() if key != "switches"})
    for row in metrics.get("switches", ()):
        lines.append((f"{row['number']}. {row['at'][:16]}", f"{row['model']}@{row['digest']}  {row['why']}"))
    table("switch", ["metric", "value"], lines)


@shows(show_switch)
def switch(
    project: ProjectPath,
    *,
    to: Annotated[str, Parameter(help="The model that answers from the next turn on.")] = "",
    back: Annotated[bool, Parameter(help="Return to the model that answered before.", negative="")] = False,
    anyway: Annotated[bool, Parameter(help="Switch although its trial has not found it better.", negative="")] = False,
    why: Why = "",
) -> dict[str, Any]:
    """Choose which model answers in the chat, or list the switches. A running page follows at its next turn.

    Example: accord switch my-town --to ppo-2

    Raises:
        UsageError: both ``to`` and ``back`` were given; a trial of the model has not found it better, and ``anyway`` is off.
        ModelError: there is no such model, or none at all.
        InputError: there is nothing to go back to.
    """
    if to and back:
        raise UsageError("--to or --back, not both", where="accord switch")
    opened = Project.open(project)
    with Store.open(opened.store_url) as store:
        before = answering(opened, store)
        if back:
            return _switch_back(opened, store, before, why)
        if to:
            return _switch_to(opened, store, before, to, anyway=anyway, why=why)
        return {"answering": before, "switches": [dataclasses.asdict(one) for one in deployments.history(store)]}


def _switch_to(project: Project, store: Store, before: str, to: str, *, anyway: bool, why: str) -> dict[str, Any]:
    digest = digest_of_language_model(project, to)
    if trial := deployments.trial(store):
        verdict = trial_standing(store, trial, RoundConfig(**project.settings.get("round", {}))).verdict
        if trial.new == to and verdict != "better" and not anyway:
            count = len(deployments.votes(store, trial))
            hint = "look again with more votes, or give --anyway"
            raise UsageError(f"its trial says {verdict} after {count} votes", where=f"--to {to}", hint=hint)
        deployments.end_trial(store, trial.id, by=OPERATOR, why=f"switched to {to}; the trial said {verdict}", now=datetime.now(UTC))
    if deployments.deployed(store) is None and before != to:  # so that there is something to go back to
        _deploy(project, store, before, "answered first")
    _deploy(project, store, to, why)
    return {"before": before, "answering": to, "digest": digest}


def _switch_back(project: Project, store: Store, before: str, why: str) -> dict[str, Any]:
    previous = deployments.previous(store)
    if previous is None:
        raise InputError("there is nothing to go back to", where=str(project.path), hint="accord switch PROJECT --to MODEL")
    digest = _deploy(project, store, previous.model, why or "back")
    return {"before": before, "answering": previous.model, "digest": digest}


def _deploy(project: Project, store: Store, model: str, why: str) -> str:
    """Have a model answer from now on; return its digest. Raises ModelError when there is no such model."""
    digest = digest_of_language_model(project, model)
    deployments.deploy(store, model, digest, by=OPERATOR, why=why, now=datetime.now(UTC))
    return digest
