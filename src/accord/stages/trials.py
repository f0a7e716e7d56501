"""Which model the chat's users meet: trials of a new one against the old, the switch, and the way back. No torch."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from accord.errors import InputError, ModelError, UsageError
from accord.evaluation.sequential import Standing, standing
from accord.feedback import deployments
from accord.feedback.deployments import Trial
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings import RoundConfig
from accord.stages.chatting import Shelf

OPERATOR = "operator"
"""Who acts in the audit when it is the command line."""


def answering(project: Project, store: Store) -> str:
    """The model that the chat's users meet.

    Raises:
        ModelError: the project has none that can be talked to.
    """
    names = list(Shelf(project).names())
    deployed = deployments.deployed(store)
    wanted = (deployed.model if deployed else "", str(project.settings.get("chat", {}).get("model", "")), *names)
    found = next((name for name in wanted if name in names), "")
    if not found:
        raise ModelError("the project has no model that can be talked to", where=str(project.path), hint="accord sft makes one")
    return found


def begin(project: Project, new: str, config: RoundConfig) -> dict[str, Any]:
    """Starts a trial of a model against the one that answers.

    Raises:
        ModelError: there is no such model.
        UsageError: it is the one that answers.
        StoreError: a trial is running.
    """
    shelf = Shelf(project)
    with Store.open(project.store_url) as store:
        old = answering(project, store)
        if new == old:
            raise UsageError("answers already", where=f"--trial {new}", hint="try another model against it")
        digests = {name: _digest(shelf, name) for name in (old, new)}
        trial = deployments.begin_trial(
            store,
            old=old,
            old_digest=digests[old],
            new=new,
            new_digest=digests[new],
            share=config.share,
            by=OPERATOR,
            now=datetime.now(UTC),
        )
        return shown(store, trial, config)


def end(project: Project, config: RoundConfig) -> dict[str, Any]:
    """Ends the trial that runs. Raises InputError when there is none."""
    with Store.open(project.store_url) as store:
        trial = deployments.trial(store)
        if trial is None:
            raise InputError("no trial is running", where=str(project.path), hint="accord round PROJECT --trial MODEL")
        deployments.end_trial(store, trial.id, by=OPERATOR, why="ended by hand", now=datetime.now(UTC))
        return shown(store, trial, config)


def shown(store: Store, trial: Trial, config: RoundConfig) -> dict[str, Any]:
    """How a trial stands."""
    now = stands(store, trial, config)
    return {
        "old": trial.old,
        "new": trial.new,
        "since": trial.at[:19],
        "votes": now.wins + now.losses,
        "ties": now.ties,
        "share": [round(value, 4) for value in (now.share, now.low, now.high)],
        "p": float(f"{now.p:.3g}"),
        "verdict": now.verdict,
    }


def stands(store: Store, trial: Trial, config: RoundConfig) -> Standing:
    """The standing of a trial's votes."""
    return standing([vote.outcome for vote in deployments.votes(store, trial)], alpha=config.alpha, least=config.least)


def switch(project: Project, to: str, *, anyway: bool, why: str, config: RoundConfig) -> dict[str, Any]:
    """Has a model answer from the next turn on, and ends the trial that runs.

    Raises:
        ModelError: there is no such model.
        UsageError: a trial of it runs and has not found it better, and ``anyway`` is off.
    """
    digest = _digest(Shelf(project), to)
    with Store.open(project.store_url) as store:
        before, trial = answering(project, store), deployments.trial(store)
        if trial:
            verdict = stands(store, trial, config).verdict
            if trial.new == to and verdict != "better" and not anyway:
                count = len(deployments.votes(store, trial))
                hint = "look again with more votes, or give --anyway"
                raise UsageError(f"its trial says {verdict} after {count} votes", where=f"--to {to}", hint=hint)
            deployments.end_trial(store, trial.id, by=OPERATOR, why=f"switched to {to}; the trial said {verdict}", now=datetime.now(UTC))
        if deployments.deployed(store) is None and before != to:  # so that there is something to go back to
            _deploy(project, store, before, "answered first")
        deployments.deploy(store, to, digest, by=OPERATOR, why=why, now=datetime.now(UTC))
        return {"before": before, "answering": to, "digest": digest}


def back(project: Project, *, why: str) -> dict[str, Any]:
    """Has the model answer again that answered before.

    Raises:
        InputError: there was none.
        ModelError: it is gone.
    """
    with Store.open(project.store_url) as store:
        before, previous = answering(project, store), deployments.previous(store)
        if previous is None:
            raise InputError("there is nothing to go back to", where=str(project.path), hint="accord switch PROJECT --to MODEL")
        _deploy(project, store, previous.model, why or "back")
        return {"before": before, "answering": previous.model, "digest": _digest(Shelf(project), previous.model)}


def history(project: Project) -> dict[str, Any]:
    """The model that answers, and every switch, oldest first."""
    with Store.open(project.store_url) as store:
        return {"answering": answering(project, store), "switches": [dataclasses.asdict(one) for one in deployments.history(store)]}


def _deploy(project: Project, store: Store, model: str, why: str) -> None:
    deployments.deploy(store, model, _digest(Shelf(project), model), by=OPERATOR, why=why, now=datetime.now(UTC))


def _digest(shelf: Shelf, name: str) -> str:
    digest = shelf.digest(name)
    if not digest:
        raise ModelError("the project has no such model to talk to", where=name, hint=f"it has: {', '.join(shelf.names())}")
    return digest
