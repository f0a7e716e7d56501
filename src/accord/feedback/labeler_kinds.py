"""Selection of labeler kinds: labels of people, simulated labelers, AI models and chat users are never mixed unless you ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, get_args

from accord.errors import UsageError
from accord.feedback.store import Store
from accord.records import LabelerKind


class _OfLabeler(Protocol):
    @property
    def labeler(self) -> str: ...


Labeled = TypeVar("Labeled", bound=_OfLabeler)


def kinds_of(text: str) -> set[str]:
    """Parse kinds separated by spaces or commas.

    Raises:
        UsageError: there is no such kind, or none is named.
    """
    named, known = set(text.replace(",", " ").split()), set(get_args(LabelerKind))
    if not named or not named <= known:
        what = f"kinds is {text!r}; known are {', '.join(sorted(known))}"
        raise UsageError(what, where="kinds", hint="for example --kinds 'person simulated'")
    return named


def said_by(store: Store, rows: Iterable[Labeled], kinds: str) -> Iterator[Labeled]:
    """Yield the rows whose labeler is of one of these kinds.

    Raises:
        UsageError: there is no such kind.
    """
    named = kinds_of(kinds)
    heard = {person.id for person in store.labelers() if person.kind in named}
    return (row for row in rows if row.labeler in heard)
