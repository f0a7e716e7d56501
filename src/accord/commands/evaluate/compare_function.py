"""A function as the judge of a comparison: a caller's own, or a plugin's by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from accord.commands.evaluate.answers import Answered
from accord.commands.evaluate.compare_judges import Judged
from accord.commands.evaluate.held_out import shown_prompt
from accord.errors import RunError, UsageError
from accord.evaluation.duels import from_pairs
from accord.runtime import plugins

JudgeFunction = Callable[[list[str], list[str], list[str]], Sequence[float]]
"""``judge(prompts, first, second)``: a number per prompt, from 0 (the second answer is better) to 1 (the first is)."""
if TYPE_CHECKING:
    By = str | JudgeFunction
else:
    By = str  # a function is for Python callers; the command line takes a name
BUILT_IN = ("auto", "gold", "reward", "llm", "people")
"""Judges that no plugin may be named like."""


def function_of(by: By) -> JudgeFunction | None:
    """Return the function that judges, a caller's own or a plugin's; None for a built-in judge.

    Raises:
        UsageError: there is no such judge, or its plugin cannot be imported.
    """
    if callable(by):
        return by
    if not plugins.has("judges", by, BUILT_IN):
        if by not in BUILT_IN:
            raise UsageError(f"there is no judge {by!r}", where="--by", hint=plugins.known(BUILT_IN, "judges"))
        return None
    return plugins.load_function("judges", by)


def name_of(by: By) -> str:
    """Return the name of a judge in the metrics."""
    return getattr(by, "__name__", type(by).__name__) if callable(by) else by


def by_function(answered: Answered, judge: JudgeFunction, name: str) -> Judged:
    """Judge by a function of texts, asked in both orders and averaged, so that it cannot prefer a place. Equal answers tie unasked.

    Raises:
        RunError: the function raises, or does not return a number from 0 to 1 for each prompt.
    """
    worth: dict[tuple[int, int], list[float]] = {}
    for i, j in combinations(range(len(answered.systems)), 2):
        one, other = answered.texts[i], answered.texts[j]
        different = [row for row, (a, b) in enumerate(zip(one, other, strict=True)) if a.strip() != b.strip()]
        worth[i, j] = [0.5] * len(one)
        if not different:
            continue
        prompts = [shown_prompt(answered.prompts[row]) for row in different]
        first, second = [one[row] for row in different], [other[row] for row in different]
        forward, backward = _asked(judge, name, prompts, first, second), _asked(judge, name, prompts, second, first)
        for row, won, lost in zip(different, forward, backward, strict=True):
            worth[i, j][row] = (won + 1 - lost) / 2
    return Judged(from_pairs(len(answered.prompts), len(answered.systems), worth))


def _asked(judge: JudgeFunction, name: str, prompts: list[str], first: list[str], second: list[str]) -> list[float]:
    where = f"the judge {name}"
    try:
        worth = [float(value) for value in judge(prompts, first, second)]
    except Exception as error:
        raise RunError(f"raised {type(error).__name__}: {error}", where=where) from error
    hint = "it returns what the first answer to each prompt is worth, from 0 (worse) to 1 (better)"
    if len(worth) != len(prompts):
        raise RunError(f"returned {len(worth)} numbers for {len(prompts)} prompts", where=where, hint=hint)
    unfit = [value for value in worth if not 0 <= value <= 1]
    if unfit:
        raise RunError(f"returned {unfit[0]}", where=where, hint=hint)
    return worth
