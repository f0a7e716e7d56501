"""A chat user's taste as the store keeps it: whether it is used, what they said of it themselves, and what was learned, in their profile.

It is off until the user switches it on, exported with their data, and erased with their account and their conversations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from accord.feedback import accounts
from accord.feedback.refusals import Refused
from accord.feedback.store import Store

KEY = "taste"
"""The profile's entry."""


@dataclass(frozen=True)
class Kept:
    """A user's taste."""

    on: bool = False
    said: Mapping[str, int] = field(default_factory=dict[str, int])
    """By trait: 1 for more of it, -1 for less, 0 where it does not matter. It overrules what was learned."""
    leans: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """What was learned, by trait: what one standard deviation of it is worth, and how sure that is; what was said is not in it."""
    choices: int = 0
    contradictions: int = 0


def of(store: Store, user: str) -> Kept:
    """Return a user's taste; off and empty for whoever never opened the page."""
    account = accounts.account(store, user)
    told: Any = account.profile.get(KEY) if account else None
    if not isinstance(told, Mapping):
        return Kept()
    values = cast("Mapping[str, Any]", told)
    leans = {str(name): (float(mean), float(spread)) for name, (mean, spread) in values["leans"].items()}
    return Kept(values["on"], dict(values["said"]), leans, values["choices"], values["contradictions"])


def keep(store: Store, user: str, taste: Kept) -> None:
    """Store a user's taste beside the rest of their profile.

    Raises:
        Refused: there is no such account.
    """
    account = accounts.account(store, user)
    if account is None:
        raise Refused("unknown_labeler", 403, user)
    if of(store, user) != taste:
        accounts.set_profile(store, user, {**account.profile, KEY: asdict(taste)})


def learned(store: Store, user: str, leans: Mapping[str, tuple[float, float]], choices: int, contradictions: int) -> None:
    """Store what was learned of a user who still has their taste switched on."""
    kept = of(store, user)
    if kept.on:
        keep(store, user, replace(kept, leans=dict(leans), choices=choices, contradictions=contradictions))


def forget(store: Store, user: str) -> None:
    """Switch a user's taste off and remove all that is kept of it. Their choices stay theirs, on the page of their data."""
    account = accounts.account(store, user)
    if account is not None and KEY in account.profile:
        accounts.set_profile(store, user, {name: value for name, value in account.profile.items() if name != KEY})
