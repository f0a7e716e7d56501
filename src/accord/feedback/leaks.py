"""Contamination between splits: the same conversation in training and in what is held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select

from accord.feedback import schema
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn


@dataclass(frozen=True, slots=True)
class Leak:
    """A conversation that stands in several splits."""

    key: str
    splits: tuple[str, ...]
    prompts: tuple[str, ...]
    """Ids of the prompts, a split's together, in the order of ``splits``."""


def leaks(store: Store) -> list[Leak]:
    """Return every conversation that stands in several splits, of all prompts in use, ordered by key."""
    p = schema.prompts
    used = (p.c.key != "", ~is_withdrawn("prompt", p.c.id))
    several = select(p.c.key).where(*used).group_by(p.c.key).having(func.count(p.c.split.distinct()) > 1)
    query: Select[Any] = select(*[p.c.key, p.c.split, p.c.id]).where(p.c.key.in_(several), *used).order_by(p.c.key, p.c.split, p.c.id)
    found: dict[str, list[tuple[str, str]]] = {}
    for row in store.database.rows(query):
        found.setdefault(row["key"], []).append((row["split"], row["id"]))
    return [Leak(key, tuple(dict.fromkeys(split for split, _ in rows)), tuple(id for _, id in rows)) for key, rows in found.items()]
