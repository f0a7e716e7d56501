"""Labeler quality: the qualification run, gold items, repeats, pace, biases. Pure functions over records.

Shares of a few trials have Wilson's interval. Metrics over many pairs of a few prompts have an interval that resamples prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from accord.errors import InputError
from accord.feedback.agreement import by_prompt, one_person, pairwise_agreement, preferences
from accord.feedback.intervals import UNDEFINED, Floats, Interval, resampled, share, wilson
from accord.records import Ranking
from accord.settings import ScreeningConfig


class Checked(NamedTuple):
    """An answer beside the expected one."""

    given: Ranking
    expected: Ranking


@dataclass(frozen=True)
class Qualification:
    """The result of a qualification run, and the parts that failed."""

    sensitivity: Interval
    """Share of contents whose sensitivity was judged as the researchers judged it."""
    ranking: Interval
    """Share of the researchers' untied pairs that were ordered as they did; a tie counts half."""
    demonstrations: float
    """Mean score, out of 7, of the demonstrations written on sensitive prompts."""
    failed: tuple[str, ...]
    """Those of ``sensitivity``, ``ranking`` and ``demonstrations`` below their cut-off."""

    @property
    def passed(self) -> bool:
        return not self.failed


@dataclass(frozen=True)
class Pace:
    """Time per item, in seconds."""

    items: int
    median: float
    quickest: float
    """The 5% quantile."""
    slowest: float
    """The 95% quantile."""
    hurried: float
    """Share of the items answered faster than they can be read."""


@dataclass(frozen=True)
class LengthBias:
    """How often one labeler prefers the longer of two responses, and how often all others do on the same pairs.

    Longer may be better, so the share alone proves nothing; ``excess``, the difference, does. NaN where nobody else judged the pairs.
    """

    longer: Interval
    others: float
    excess: Interval
    pairs: int
    """Pairs of unequal length that others judged too: those behind ``excess``."""


@dataclass(frozen=True)
class LabelerQuality:
    """One labeler's row on the lead's page."""

    labeler: str
    rankings: int
    agreement: Interval
    """Agreement with the other labelers, ties dropped."""
    gold: Interval
    """Agreement on gold items."""
    consistency: Interval
    """Self-consistency on repeated items; a tie against a preference counts half."""
    shared_pairs: int
    """Pairs behind ``agreement``: judged by another labeler too, and tied by neither."""
    first_preferred: Interval
    """Share of untied pairs in which the response higher on the page won; 0.5 means no bias, since the page is shuffled. NaN for imported
    rankings: the order in their file is not the order on a page."""
    shown_pairs: int
    """Pairs behind ``first_preferred``."""
    length: LengthBias
    pace: Pace | None


def qualify(
    *, sensitivity: Sequence[tuple[bool, bool]], rankings: Sequence[Checked], demonstrations: Sequence[float], cutoffs: ScreeningConfig
) -> Qualification:
    """Check a qualification run against the cut-offs (Ouyang et al. 2022, appendix B.1, has the same three and the values reached).

    Args:
        sensitivity: (judged sensitive, sensitive by the researchers) of each content.
        rankings: beside the researchers' own.
        demonstrations: readers' scores, 1 to 7, of texts written on sensitive prompts.

    Raises:
        InputError: one of the three parts is missing.
    """
    for what, part in (("sensitivity", sensitivity), ("ranking", rankings), ("demonstrations", demonstrations)):
        if not part:
            raise InputError(f"the qualification run has no answers on {what}", where="screening", hint="let the labeler finish it")
    judged = wilson(sum(given == expected for given, expected in sensitivity), len(sensitivity))
    ordered, written = gold_agreement(rankings), fmean(demonstrations)
    reached = {"sensitivity": judged.mean, "ranking": ordered.mean, "demonstrations": written}
    needed = {"sensitivity": cutoffs.sensitivity, "ranking": cutoffs.ranking, "demonstrations": cutoffs.demonstrations}
    failed = tuple(what for what, value in reached.items() if not value >= needed[what])
    return Qualification(judged, ordered, written, failed)


def coverage(people: Mapping[str, Sequence[str]], wanted: Sequence[str] = ()) -> dict[str, int]:
    """Return the number of labelers who report belonging to each group; wanted groups without members have 0."""
    counts: dict[str, int] = dict.fromkeys(wanted, 0)
    for groups in people.values():
        for group in set(groups):
            counts[group] = counts.get(group, 0) + 1
    return dict(sorted(counts.items()))


def gold_agreement(checked: Iterable[Checked], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the share of the expected rankings' untied pairs that the given ones order alike; a tie counts half. Prompts are resampled."""
    sums: dict[str, list[float]] = {}
    for given, expected in checked:
        found, wanted = preferences(given), preferences(expected)
        words = [(found[pair], word) for pair, word in wanted.items() if word and pair in found]
        row = sums.setdefault(given.prompt_id, [0.0, 0.0])
        row[0] += sum((1 + said * word) / 2 for said, word in words)
        row[1] += len(words)
    return _share(sums, resamples, seed)


def self_consistency(rankings: Iterable[Ranking], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return how often labelers judge a pair as they did before; a tie against a preference counts half. NaN without repeats.

    Args:
        rankings: including those of repeated items; all rankings of a prompt must use the same response ids.
    """
    try:
        return pairwise_agreement(rankings, meet=one_person, resamples=resamples, seed=seed).half
    except InputError:
        return UNDEFINED


def pace(seconds: Sequence[float], words: Sequence[int], *, words_per_second: float) -> Pace:
    """Return the time per item.

    Args:
        seconds: [items] from the page to the answer.
        words: [items] to be read, prompt and responses together.
        words_per_second: fastest speed at which anybody reads with understanding.

    Raises:
        InputError: there are no items, or the two differ in length.
    """
    if not seconds or len(seconds) != len(words):
        raise InputError(f"{len(seconds)} times for {len(words)} items", where="pace")
    quickest, slowest = np.quantile(seconds, [0.05, 0.95])
    hurried = sum(s * words_per_second < w for s, w in zip(seconds, words, strict=True)) / len(seconds)
    return Pace(len(seconds), median(seconds), float(quickest), float(slowest), hurried)


def position_bias(rankings: Iterable[Ranking], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the share of untied pairs in which the response higher on the page won. 0.5 means no bias, since pages are shuffled."""
    sums: dict[str, list[float]] = {}
    for ranking in rankings:
        row, ranks = sums.setdefault(ranking.prompt_id, [0.0, 0.0]), ranking.ranks
        for i in range(len(ranks)):
            for rank in ranks[i + 1 :]:
                row[0] += ranks[i] < rank
                row[1] += ranks[i] != rank
    return _share(sums, resamples, seed)


def untied(rankings: Iterable[Ranking]) -> int:
    """Return the number of pairs that rankings do not tie."""
    return sum(bool(word) for ranking in rankings for word in preferences(ranking).values())


def length_bias(
    rankings: Iterable[Ranking], labeler: str, lengths: Mapping[str, int], *, resamples: int = 2000, seed: int = 0
) -> LengthBias:
    """Return how much more one labeler prefers longer responses than the others do on the same pairs.

    Args:
        rankings: everybody's; without the others' there is no excess.
        lengths: of each response, in words or characters. Pairs of equal length and ties do not count.
    """
    rows = np.array([_longer(group, labeler, lengths) for group in by_prompt(rankings).values()], dtype=np.float64).reshape(-1, 5)
    rows = rows[rows[:, 1] > 0]
    longer = resampled(rows[:, :2], share, resamples=resamples, seed=seed)

    def excess(sums: Floats) -> Floats:
        return share(sums[..., [2, 4]]) - share(sums[..., [3, 4]])

    over = resampled(rows, excess, resamples=resamples, seed=seed)
    others = float(share(rows[:, [3, 4]].sum(0)))
    return LengthBias(longer, others, over, int(rows[:, 4].sum()))


def labeler_quality(
    rankings: Sequence[Ranking],
    *,
    gold: Sequence[Checked] = (),
    repeats: Sequence[Ranking] = (),
    lengths: Mapping[str, int] | None = None,
    seconds: Mapping[str, float] | None = None,
    words: Mapping[str, int] | None = None,
    imported: Container[str] = (),
    screening: ScreeningConfig | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[LabelerQuality]:
    """Return a row for each labeler, ordered by id.

    Args:
        rankings: of work items; gold and repeated ones are passed separately.
        repeats: second answers to items among ``rankings``.
        lengths: of each response, for the length bias.
        seconds: time of each ranking by its id, for the pace.
        words: words to be read for each ranking by its id.
        imported: ids of rankings that were not given on a page of ours, so that nothing is known of the order on it.
        screening: sets the fastest reading speed.
    """
    limits, draw = screening or ScreeningConfig(), {"resamples": resamples, "seed": seed}
    lines: list[LabelerQuality] = []
    # Each list is read once and divided: reading all of it for every labeler would take people times rankings.
    groups, by, again_by = by_prompt(rankings), _by_labeler(rankings), _by_labeler(repeats)
    gold_by = dict[str, list[Checked]]()
    for each in gold:
        gold_by.setdefault(each.given.labeler, []).append(each)
    for who in sorted({*by, *again_by, *gold_by}):
        own, again = by.get(who, []), again_by.get(who, [])
        near = [r for prompt in dict.fromkeys(r.prompt_id for r in own) for r in groups[prompt]]
        timed = [r.id for r in own if r.id in (seconds or {})]
        repeated = {r.prompt_id for r in again}
        shown = [r for r in own if r.id not in imported]
        agreement, shared_pairs = _with_others(near, who, resamples, seed)
        lines.append(
            LabelerQuality(
                who,
                len(own),
                agreement,
                gold_agreement(gold_by.get(who, []), **draw),
                self_consistency([r for r in own if r.prompt_id in repeated] + again, **draw),
                shared_pairs,
                position_bias(shown, **draw),
                untied(shown),
                length_bias(near, who, lengths or {}, **draw),
                pace(
                    [(seconds or {})[id] for id in timed],
                    [(words or {}).get(id, 0) for id in timed],
                    words_per_second=limits.words_per_second,
                )
                if timed
                else None,
            )
        )
    return lines


def _by_labeler(rankings: Iterable[Ranking]) -> dict[str, list[Ranking]]:
    found = dict[str, list[Ranking]]()
    for ranking in rankings:
        found.setdefault(ranking.labeler, []).append(ranking)
    return found


def _with_others(rankings: Sequence[Ranking], who: str, resamples: int, seed: int) -> tuple[Interval, int]:
    """Return the agreement with the other labelers, and the number of untied pairs behind it."""
    try:
        found = pairwise_agreement(rankings, of=who, resamples=resamples, seed=seed)
    except InputError:
        return UNDEFINED, 0
    return found.dropped, found.untied_pairs


def _longer(group: Sequence[Ranking], labeler: str, lengths: Mapping[str, int]) -> list[float]:
    """Return for one prompt the labeler's longer wins and pairs; then, of those judged by others too, its longer wins, theirs, and the
    count."""
    sign: Callable[[int], int] = lambda n: (n > 0) - (n < 0)  # noqa: E731
    voices: dict[tuple[str, str], list[float]] = {}
    mine: dict[tuple[str, str], float] = {}
    for ranking in group:
        for (a, b), word in preferences(ranking).items():
            toward = sign(lengths.get(b, 0) - lengths.get(a, 0)) * word
            if toward and ranking.labeler == labeler:
                mine[a, b] = float(toward > 0)
            elif toward:
                voices.setdefault((a, b), []).append(float(toward > 0))
    shared = [pair for pair in mine if pair in voices]
    others = sum(fmean(voices[pair]) for pair in shared)
    return [sum(mine.values()), len(mine), sum(mine[pair] for pair in shared), others, len(shared)]


def _share(sums: Mapping[str, Sequence[float]], resamples: int, seed: int) -> Interval:
    rows = np.array([row for _, row in sorted(sums.items()) if row[1]], dtype=np.float64).reshape(-1, 2)
    return resampled(rows, share, resamples=resamples, seed=seed)
