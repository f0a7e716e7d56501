"""Which model the chat's users meet, and the blind trials of a new one against it. Loads no torch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from accord.errors import InputError, ModelError, UsageError
from accord.evaluation.sequential import Standing, standing
from accord.feedback import deployments
from accord.feedback.audit import OPERATOR
from accord.feedback.deployments import Trial
from accord.feedback.store import Store
from accord.runtime.language_models import Shelf
from accord.runtime.project import Project
from accord.settings import RoundConfig


def answering(project: Project, store: Store) -> str:
    """Return the model that the chat's users meet: the deployed one, else the one of [chat], else the best guess.

    Raises:
        ModelError: the project has none that can be talked to.
    """
    names = Shelf(project).names()
    deployed = deployments.deployed(store)
    candidates = (deployed.model if deployed else "", str(project.settings.get("chat", {}).get("model", "")), *names)
    found = next((name for name in candidates if name in names), "")
    if not found:
        raise ModelError("the project has no model that can be talked to", where=str(project.path), hint="accord sft makes one")
    return found


def hold(project: Project, store: Store) -> None:
    """Deploy the model that answers now, unless one was deployed: what is trained next does not answer before a switch to it."""
    names = Shelf(project).names()
    if names and deployments.deployed(store) is None:
        model = answering(project, store)
        digest = digest_of_language_model(project, model)
        deployments.deploy(store, model, digest, by=OPERATOR, why="answered first", now=datetime.now(UTC))


def digest_of_language_model(project: Project, name: str) -> str:
    """Return the first digits of a language model's digest. Raises ModelError when the project has none of this name."""
    shelf = Shelf(project)
    digest = shelf.digest(name)
    if not digest:
        raise ModelError("the project has no such model to talk to", where=name, hint=f"it has: {', '.join(shelf.names())}")
    return digest


def begin_trial(project: Project, new: str, config: RoundConfig) -> dict[str, Any]:
    """Begin a trial of a model against the one that answers; return how it stands.

    Raises:
        ModelError: there is no such model.
        UsageError: it is the one that answers.
        StoreError: a trial is running.
    """
    with Store.open(project.store_url) as store:
        old = answering(project, store)
        if new == old:
            raise UsageError("answers already", where=f"--trial {new}", hint="try another model against it")
        trial = deployments.begin_trial(
            store,
            old=old,
            old_digest=digest_of_language_model(project, old),
            new=new,
            new_digest=digest_of_language_model(project, new),
            share=config.share,
            by=OPERATOR,
            now=datetime.now(UTC),
        )
        return trial_metrics(store, trial, config)


def end_trial(project: Project, config: RoundConfig) -> dict[str, Any]:
    """End the running trial; return how it stood. Raises InputError when none is running."""
    with Store.open(project.store_url) as store:
        trial = deployments.trial(store)
        if trial is None:
            raise InputError("no trial is running", where=str(project.path), hint="accord round PROJECT --trial MODEL")
        deployments.end_trial(store, trial.id, by=OPERATOR, why="ended by hand", now=datetime.now(UTC))
        return trial_metrics(store, trial, config)


def trial_metrics(store: Store, trial: Trial, config: RoundConfig) -> dict[str, Any]:
    """Return how a trial stands."""
    now = trial_standing(store, trial, config)
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


def trial_standing(store: Store, trial: Trial, config: RoundConfig) -> Standing:
    """Return the standing of a trial's votes by a sequential test, which may be looked at after every vote."""
    return standing([vote.outcome for vote in deployments.votes(store, trial)], alpha=config.alpha, least=config.least)
