"""Deployment of models in the chat, and blind trials of another model. Every switch is a row, and a rollback is one more."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import insert, select, update

from accord.errors import StoreError
from accord.feedback import schema
from accord.feedback.audit import note
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn

Outcome = Literal["new", "old", "tie"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """The model that responds since ``at``."""

    number: int
    model: str
    digest: str
    by: str
    why: str
    at: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A blind comparison of two models on a share of the turns."""

    id: str
    old: str
    old_digest: str
    new: str
    new_digest: str
    share: float
    by: str
    at: str
    ended: str
    """Time of its end; empty while it runs."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One user's choice between the two unnamed models."""

    user: str
    outcome: Outcome
    at: str


def deploy(store: Store, model: str, digest: str, *, by: str, why: str = "", now: datetime) -> None:
    """Deploy a model from now on; a running server follows at its next turn."""
    values = {"model": model, "digest": digest, "by": by, "why": why, "at": now.isoformat()}
    with store.write() as connection:
        connection.execute(insert(schema.deployments).values(values))
        note(connection, who=by, what="switch", on=model[:320], why=why, at=now)


def history(store: Store) -> list[Deployment]:
    """Return every deployment, oldest first."""
    with store.read() as connection:
        rows = connection.execute(select(schema.deployments).order_by(schema.deployments.c.number)).mappings()
        return [Deployment(**row) for row in rows]


def deployed(store: Store) -> Deployment | None:
    """Return the deployed model; None when none was ever deployed."""
    d = schema.deployments
    with store.read() as connection:
        row = connection.execute(select(d).order_by(d.c.number.desc()).limit(1)).mappings().first()
    return Deployment(**row) if row else None


def previous(store: Store) -> Deployment | None:
    """Return the model deployed before the current one; None when there was none."""
    *before, now = history(store) or [None]
    return next((one for one in reversed(before) if one and now and one.model != now.model), None)


def begin_trial(store: Store, *, old: str, old_digest: str, new: str, new_digest: str, share: float, by: str, now: datetime) -> Trial:
    """Start a trial.

    Raises:
        StoreError: a trial is already running.
    """
    if running := trial(store):
        hint = "end it first with `accord round PROJECT --end-trial`"
        raise StoreError(f"a trial of {running.new} against {running.old} is running since {running.at[:16]}", hint=hint)
    made = Trial(f"x-{secrets.token_hex(6)}", old, old_digest, new, new_digest, share, by, now.isoformat(), "")
    values = {field: getattr(made, field) for field in Trial.__dataclass_fields__}
    with store.write() as connection:
        connection.execute(insert(schema.trials).values(values))
        note(connection, who=by, what="begin trial", on=made.id, why=f"{new} against {old}"[:400], at=now)
    return made


def end_trial(store: Store, id: str, *, by: str, why: str, now: datetime) -> None:
    """End a trial: no more pairs are shown, and the votes stay."""
    with store.write() as connection:
        connection.execute(update(schema.trials).where(schema.trials.c.id == id).values(ended=now.isoformat()))
        note(connection, who=by, what="end trial", on=id, why=why, at=now)


def trial(store: Store) -> Trial | None:
    """Return the running trial."""
    return next((one for one in trials(store) if not one.ended), None)


def trials(store: Store) -> list[Trial]:
    """Return every trial, newest first."""
    t = schema.trials
    with store.read() as connection:
        return [Trial(**row) for row in connection.execute(select(t).order_by(t.c.at.desc(), t.c.id)).mappings()]


def votes(store: Store, given: Trial) -> list[Vote]:
    """Return the valid votes between a trial's models, in order of time; "both bad" counts as a tie."""
    r, t = schema.reactions, schema.turns
    query = select(r, t.c.model.label("first_model"), t.c.digest.label("first_digest")).join(t, t.c.id == r.c.turn)
    query = query.where(t.c.trial == given.id, r.c.kind == "choice", ~is_withdrawn("reaction", r.c.id)).order_by(r.c.at, r.c.id)
    with store.read() as connection:
        rows = list(connection.execute(query).mappings())
    return [Vote(row["user"], _outcome(row["payload"], row["first_digest"] == given.new_digest), row["at"]) for row in rows]


def _outcome(payload: str, first_is_new: bool) -> Outcome:
    choice = json.loads(payload).get("choice")
    if choice not in ("first", "second"):
        return "tie"
    return "new" if (choice == "first") == first_is_new else "old"
