"""Win rates and criteria by a judge: which of two models is preferred, on the same held-out prompts.

Follows Ouyang et al. 2022, section 3.6 (preference to a baseline model's responses), except that the judge is
an argument: the built-in world's gold judge, or any other. A judge scores a response alone, so there is no
order for it to be biased by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from accord.errors import InputError
from accord.evaluation.statistics import Floats, Interval, interval, outcomes, rate
from accord.protocols import Judge
from accord.records import Judgement, Prompt

CRITERIA = ("helpful", "truthful", "harmless", "concise", "utility")


@dataclass(frozen=True, slots=True)
class WinRate:
    """The share of prompts on which model A's response is preferred to model B's."""

    mean: float
    low: float
    high: float
    ties: float
    """Share of prompts on which neither is preferred; each counts half in ``mean``."""
    prompts: int
    by_use_case: Mapping[str, Interval] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def interval(self) -> Interval:
        return Interval(self.mean, self.low, self.high)


def judge_all(judge: Judge, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[Judgement]:
    """Return the judgement of ``responses[i]`` to ``prompts[i]``.

    Raises:
        InputError: not as many responses as prompts.
    """
    if len(prompts) != len(responses):
        raise InputError(
            f"{len(prompts)} prompts but {len(responses)} responses",
            where="evaluation",
            hint="give one response per prompt, in the same order",
        )
    return [judge.judge(prompt, text) for prompt, text in zip(prompts, responses, strict=True)]


def win_rate(
    judge: Judge,
    prompts: Sequence[Prompt],
    responses_a: Sequence[str],
    responses_b: Sequence[str],
    *,
    margin: float = 1e-9,
    resamples: int = 2000,
    seed: int = 0,
) -> WinRate:
    """Return how often A's response has the higher utility by the judge, with prompts resampled.

    Args:
        responses_a, responses_b: one text per prompt, in the order of ``prompts``.
        margin: utilities this close are a tie.
    Raises:
        InputError: no prompts, or not one response per prompt.
    """
    a, b = judge_all(judge, prompts, responses_a), judge_all(judge, prompts, responses_b)
    return compare(prompts, a, b, margin=margin, resamples=resamples, seed=seed)


def compare(
    prompts: Sequence[Prompt],
    a: Sequence[Judgement],
    b: Sequence[Judgement],
    *,
    margin: float = 1e-9,
    resamples: int = 2000,
    seed: int = 0,
) -> WinRate:
    """Return ``win_rate`` from existing judgements, so that each response is judged once however often it is compared."""
    if not len(prompts) == len(a) == len(b):
        raise InputError(
            f"{len(prompts)} prompts, {len(a)} and {len(b)} judgements", where="evaluation", hint="give one per prompt, in the same order"
        )
    won = outcomes([word.utility for word in a], [word.utility for word in b], margin=margin)
    mean, low, high = rate(won, resamples=resamples, seed=seed)
    return WinRate(mean, low, high, float((won == 0.5).mean()), len(prompts), by_use_case(prompts, won, resamples=resamples, seed=seed))


def by_use_case(prompts: Sequence[Prompt], values: Floats, *, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Return one interval per use case over [prompts] values, use cases in alphabetical order."""
    cases = np.array([prompt.use_case for prompt in prompts])
    return {str(case): rate(values[cases == case], resamples=resamples, seed=seed) for case in np.unique(cases)}


def criteria(judgements: Sequence[Judgement], *, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Return one model's mean helpful, truthful, harmless, concise and utility, each in [0, 1] with its interval over prompts."""
    found: dict[str, Interval] = {}
    for name in CRITERIA:
        found[name] = interval([getattr(judgement, name) for judgement in judgements], resamples=resamples, seed=seed)
    return found
