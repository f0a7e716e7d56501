"""A chat user's taste as the store keeps it: whether it is used, what they said of it themselves, and what was learned, in their profile.

It is off until the user switches it on, exported with their data, and erased with their account and their conversations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from accord.feedback import accounts
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
    return _kept(account.profile) if account else Kept()


def say(store: Store, user: str, said: Mapping[str, int], *, on: bool) -> None:
    """Store what a user says of their taste, and whether it is used; what was learned stays."""
    _change(store, user, lambda kept: replace(kept, on=on, said=dict(said)))


def learned(store: Store, user: str, leans: Mapping[str, tuple[float, float]], choices: int, contradictions: int) -> None:
    """Store what was learned of a user who still has their taste switched on."""
    found = {"leans": dict(leans), "choices": choices, "contradictions": contradictions}
    _change(store, user, lambda kept: replace(kept, **found) if kept.on else kept)


def forget(store: Store, user: str) -> None:
    """Switch a user's taste off and remove all that is kept of it. Their choices stay theirs, on the page of their data."""
    _change(store, user, lambda kept: Kept())


def _kept(profile: Mapping[str, Any]) -> Kept:
    told: Any = profile.get(KEY)
    if not isinstance(told, Mapping):
        return Kept()
    values = cast("Mapping[str, Any]", told)
    leans = {str(name): (float(mean), float(spread)) for name, (mean, spread) in values["leans"].items()}
    return Kept(values["on"], dict(values["said"]), leans, values["choices"], values["contradictions"])


def _change(store: Store, user: str, change: Callable[[Kept], Kept]) -> None:
    """Change a taste in one transaction: an answer that is being chosen does not bring back what its user forgot meanwhile."""

    def changed(profile: dict[str, Any]) -> dict[str, Any]:
        kept, rest = _kept(profile), {name: value for name, value in profile.items() if name != KEY}
        after = change(kept)
        return rest if after == Kept() else rest | {KEY: asdict(after)}

    accounts.change_profile(store, user, changed)
