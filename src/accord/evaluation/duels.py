"""Every system against every other on the same prompts: a table of preferences, and the statistics derived from it.

``values[p, i, j]`` is the score of system i against system j on prompt p: 1 preferred, 0 not, 1/2 a tie,
between when several judged; NaN where nobody did. ``values[p, j, i]`` is one minus it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType

import numpy as np

from accord.errors import InputError
from accord.evaluation.length_control import LengthControlled, length_controlled
from accord.evaluation.power import more_prompts
from accord.evaluation.slices import by_language, by_scene, sliced
from accord.evaluation.statistics import Floats, Interval, rate
from accord.records import Prompt
from accord.settings.scenes import NONE


@dataclass(frozen=True, slots=True)
class Duel:
    """The first of two systems against the second."""

    first: str
    second: str
    win_rate: Interval
    ties: float
    prompts: int
    """Number of prompts on which the two were compared."""
    more_prompts: int | None
    """Number of further prompts that would settle it; 0 when it is settled, None when the two are too close for
    any number."""
    length_controlled: LengthControlled
    by_use_case: Mapping[str, Interval]
    by_language: Mapping[str, Interval]
    by_scene: Mapping[str, Interval] = field(default_factory=lambda: MappingProxyType({}))
    """Empty where no prompt carries a scene."""
    by_criterion: Mapping[str, Interval] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def name(self) -> str:
        return f"{self.first}_vs_{self.second}"


def from_scores(scores: Floats, margin: float = 0.0) -> Floats:
    """Return the table for responses with a score each: [prompts, systems] to [prompts, systems, systems].

    Args:
        margin: scores this close are a tie.
    """
    gap = scores[:, :, None] - scores[:, None, :]
    tied = np.abs(gap) <= max(margin, 1e-9)
    values = np.where(tied, 0.5, (gap > 0).astype(np.float64))
    values[np.isnan(gap)] = np.nan
    return values


def from_pairs(prompts: int, systems: int, judged: Mapping[tuple[int, int], Sequence[float]]) -> Floats:
    """Return the table for judged pairs: ``judged[i, j]`` has i's score on each prompt, NaN where it was not asked."""
    values = np.full((prompts, systems, systems), np.nan)
    for (i, j), worth in judged.items():
        values[:, i, j] = worth
        values[:, j, i] = 1 - values[:, i, j]
    return values


def duels(
    names: Sequence[str],
    prompts: Sequence[Prompt],
    texts: Sequence[Sequence[str]],
    values: Floats,
    *,
    criteria: Mapping[str, Floats] = MappingProxyType({}),
    resamples: int = 2000,
    seed: int = 0,
) -> list[Duel]:
    """Return all pairs of systems, each system against those named before it; pairs without any judgement are left out.

    Args:
        texts: [systems][prompts].
        values: [prompts, systems, systems].
        criteria: such a table by criterion.
    Raises:
        InputError: there is no prompt, or no pair was judged at all.
    """
    if not prompts or np.isnan(values).all():
        raise InputError("no comparison was judged", where="compare")
    return [
        _duel(names, prompts, texts, values, criteria, i, j, resamples, seed)
        for j, i in combinations(range(len(names)), 2)
        if not np.isnan(values[:, i, j]).all()
    ]


def _duel(
    names: Sequence[str],
    prompts: Sequence[Prompt],
    texts: Sequence[Sequence[str]],
    values: Floats,
    criteria: Mapping[str, Floats],
    i: int,
    j: int,
    resamples: int,
    seed: int,
) -> Duel:
    worth = values[:, i, j]
    known: list[int] = np.flatnonzero(~np.isnan(worth)).tolist()
    won = rate(worth[known], resamples=resamples, seed=seed)
    first_lengths = np.array([len(texts[i][p]) for p in known], dtype=np.float64)
    second_lengths = np.array([len(texts[j][p]) for p in known], dtype=np.float64)
    controlled = length_controlled(worth[known], first_lengths, second_lengths, resamples=min(resamples, 500), seed=seed)
    draw = {"resamples": resamples, "seed": seed}
    scenes = by_scene(prompts)
    by_criterion = dict[str, Interval]()
    for name, table in criteria.items():
        scores = table[known, i, j]
        if not np.isnan(scores).any():
            by_criterion[name] = rate(scores, **draw)
    return Duel(
        names[i],
        names[j],
        won,
        float((worth[known] == 0.5).mean()),
        len(known),
        more_prompts(worth[known], won),
        controlled,
        sliced([prompt.use_case for prompt in prompts], worth, **draw),
        sliced(by_language(prompts), worth, **draw),
        sliced(scenes, worth, **draw) if {*scenes} != {NONE} else {},
        by_criterion,
    )


def distinct_texts(texts: Sequence[Sequence[str]], prompt: int) -> Iterator[tuple[str, list[int]]]:
    """Return the different answers to one prompt, each with its systems. Equal texts are shown once and tie."""
    found: dict[str, list[int]] = {}
    for system, answers in enumerate(texts):
        found.setdefault(answers[prompt].strip(), []).append(system)
    yield from found.items()
