"""Instruction mixtures: how often demonstrations of each task are seen, and which tasks are held out (FLAN: Wei et al. 2022)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from accord.errors import UsageError
from accord.records import Demonstration

NAMED = {"group_weights": "group or use case"}
"""What the settings that weigh something else than use cases name."""


def parse_weights(text: str, where: str = "tasks") -> dict[str, float]:
    """Parse ``use case=weight, ...``.

    Args:
        where: the setting that an error names.

    Raises:
        UsageError: a weight is not a number or below 0.
    """
    weights: dict[str, float] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, number = (word.strip() for word in part.partition("="))
        try:
            weights[name] = float(number)
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] < float("inf"):
            raise UsageError(
                f"{part!r} is no {NAMED.get(where, 'use case')} with a weight", where=where, hint="for example closed_qa=2, chat=0.5"
            )
    return weights


def mixed(rows: Sequence[Demonstration], weights: Mapping[str, float], seed: int) -> list[Demonstration]:
    """Repeat each row by its task's weight; a fractional repetition is drawn at random from the seed and the row's id.

    Raises:
        UsageError: no row has one of the weighted tasks.
    """
    _known(rows, weights, "tasks")
    made: list[Demonstration] = []
    for row in rows:
        whole, rest = divmod(weights.get(row.prompt.use_case, 1.0), 1)
        made += [row] * (int(whole) + (random.Random(f"{seed} {row.id}").random() < rest))
    return made


def without(rows: Sequence[Demonstration], held_out: str) -> tuple[list[Demonstration], list[Demonstration]]:
    """Return the training rows, and those of the held-out tasks (names separated by commas).

    Raises:
        UsageError: no row has one of the held-out tasks.
    """
    names = {name.strip(): 0.0 for name in held_out.split(",") if name.strip()}
    _known(rows, names, "held_out_tasks")
    return [row for row in rows if row.prompt.use_case not in names], [row for row in rows if row.prompt.use_case in names]


def _known(rows: Sequence[Demonstration], named: Mapping[str, float], setting: str) -> None:
    there = {row.prompt.use_case for row in rows}
    if unknown := sorted(set(named) - there):
        hint = f"the use cases are {', '.join(sorted(there))}"
        raise UsageError(f"no demonstration has the use case {unknown[0]!r}", where=setting, hint=hint)
