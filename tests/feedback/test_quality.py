"""Screening and quality: cut-offs that cut, biases that were put in and come back out."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from counted import Read, calls

from accord.errors import InputError, UsageError
from accord.feedback.quality import (
    Checked,
    coverage,
    gold_agreement,
    labeler_quality,
    length_bias,
    pace,
    position_bias,
    qualify,
    self_consistency,
)
from accord.records import Guideline, Ranking
from accord.settings import ScreeningConfig


def ranking(prompt: str, labeler: str, *ranks: int, ids: str = "abcdef", turn: int = 0) -> Ranking:
    shown = tuple(f"{prompt}{id}" for id in ids[: len(ranks)])
    return Ranking(f"{prompt}-{labeler}-{turn}", prompt, labeler, shown, ranks, Guideline("training", "v"), "")


def checked(right: int, wrong: int) -> list[Checked]:
    """Rankings of two, so many as the researchers ordered them."""
    orders = [(1, 2)] * right + [(2, 1)] * wrong
    return [Checked(ranking(f"p{i}", "ann", *order), ranking(f"p{i}", "us", 1, 2)) for i, order in enumerate(orders)]


def run(sensitive: int = 8, ordered: int = 8, score: float = 6.0, cutoffs: ScreeningConfig | None = None) -> tuple[str, ...]:
    judged = [(True, i < sensitive) for i in range(10)]
    cutoffs = cutoffs or ScreeningConfig()
    return qualify(sensitivity=judged, rankings=checked(ordered, 10 - ordered), demonstrations=[score], cutoffs=cutoffs).failed


def test_the_cut_offs_are_instructgpts() -> None:
    assert run() == ()
    assert run(sensitive=7) == ("sensitivity",)
    assert run(ordered=7) == ("ranking",)
    assert run(score=5.9) == ("demonstrations",)
    assert run(7, 7, 1.0) == ("sensitivity", "ranking", "demonstrations")


def test_the_cut_offs_are_settings() -> None:
    assert run(sensitive=7, ordered=7, score=5, cutoffs=ScreeningConfig(sensitivity=0.7, ranking=0.7, demonstrations=5)) == ()
    assert run(cutoffs=ScreeningConfig(ranking=0.85)) == ("ranking",)
    with pytest.raises(UsageError, match="scores end at 7"):
        ScreeningConfig(demonstrations=8)
    with pytest.raises(UsageError, match="at most 1"):
        ScreeningConfig(ranking=75)


def test_exactly_at_the_cut_off_is_enough() -> None:
    judged = [(True, i < 3) for i in range(4)]
    assert qualify(sensitivity=judged, rankings=checked(3, 1), demonstrations=[5, 7], cutoffs=ScreeningConfig()).passed


@pytest.mark.parametrize("part", ["sensitivity", "ranking", "demonstrations"])
def test_an_unfinished_run_is_no_pass(part: str) -> None:
    with pytest.raises(InputError, match=f"no answers on {part}"):
        qualify(
            sensitivity=[] if part == "sensitivity" else [(True, True)],
            rankings=[] if part == "ranking" else checked(1, 0),
            demonstrations=[] if part == "demonstrations" else [7],
            cutoffs=ScreeningConfig(),
        )


def test_rankings_in_which_researchers_tied_everything_pass_nobody() -> None:
    tied = [Checked(ranking("p", "ann", 1, 2), ranking("p", "us", 1, 1))]
    assert qualify(sensitivity=[(True, True)], rankings=tied, demonstrations=[7], cutoffs=ScreeningConfig()).failed == ("ranking",)


def test_gold_counts_the_researchers_untied_pairs() -> None:
    """a<b<c expected with b = c: of ab and ac one is right and one tied."""
    given = ranking("p", "ann", 1, 2, 1)
    assert gold_agreement([Checked(given, ranking("p", "us", 1, 2, 2))]).mean == pytest.approx(0.75)


def test_coverage_shows_who_is_missing() -> None:
    people = {"ann": ["women", "over 50"], "bob": ["men"], "eve": ["women", "women"]}
    assert coverage(people, wanted=["men", "women", "under 25"]) == {"men": 1, "over 50": 1, "under 25": 0, "women": 2}


def test_self_consistency_is_with_oneself_alone() -> None:
    rows = [
        ranking("p", "ann", 1, 2, 3),
        ranking("p", "ann", 1, 3, 2, turn=1),
        ranking("p", "bob", 3, 2, 1),
        ranking("q", "bob", 1, 2),
        ranking("q", "bob", 1, 1, turn=1),
    ]
    assert self_consistency(rows).mean == pytest.approx((2 + 0.5) / 4)
    assert math.isnan(self_consistency(rows[:1]).mean)


def test_pace_counts_who_cannot_have_read() -> None:
    found = pace([60, 70, 80, 2], [100, 100, 100, 100], words_per_second=10)
    assert (found.items, found.median, found.hurried) == (4, 65, 0.25)
    assert 2 < found.quickest < 60 < 70 < found.slowest < 80
    with pytest.raises(InputError, match="2 times for 1 items"):
        pace([1, 2], [3], words_per_second=10)


def biased(labeler: str, prompts: int, *, place: float = 0.0, length: float = 0.0, seed: int = 0) -> list[Ranking]:
    """Someone who ranks four responses by a value, plus so much for the top of the page, plus so much for length."""
    rows, rng, truth = list[Ranking](), random.Random(f"{labeler} {seed}"), random.Random(seed)
    for number in range(prompts):
        value = {id: truth.gauss(0, 1) + 0.3 * LENGTHS[id] for id in "abcd"}
        shown = rng.sample("abcd", 4)
        seen = [value[id] + rng.gauss(0, 1) - place * i / 3 + length * LENGTHS[id] for i, id in enumerate(shown)]
        ranks = tuple(1 + sum(other > mine for other in seen) for mine in seen)
        rows.append(ranking(f"p{number}", labeler, *ranks, ids="".join(shown)))
    return rows


LENGTHS = {"a": 0, "b": 1, "c": 2, "d": 3}


def test_a_pull_to_the_top_of_the_page_shows() -> None:
    fair, pulled = position_bias(biased("ann", 400)), position_bias(biased("bob", 400, place=1.0))
    assert fair.low < 0.5 < fair.high
    assert pulled.low > 0.55


def test_a_taste_for_length_shows_beside_the_others_and_merit_is_no_bias() -> None:
    """Longer responses are better here, so everybody prefers them; only who does so more than the others is biased."""
    people = [biased("ann", 300), biased("bob", 300), biased("eve", 300, length=1.0)]
    rows = [row for part in people for row in part]
    lengths = {f"p{n}{id}": words for n in range(300) for id, words in LENGTHS.items()}
    ann, eve = (length_bias(rows, who, lengths) for who in ("ann", "eve"))
    assert ann.longer.low > 0.55
    assert ann.excess.low < 0.02
    assert eve.excess.low > 0.1
    assert eve.longer.mean - eve.others == pytest.approx(eve.excess.mean)
    alone = length_bias(people[0], "ann", lengths)
    assert alone.longer.mean > 0.55
    assert math.isnan(alone.excess.mean)


def test_a_line_for_each_labeler() -> None:
    rows = [*biased("ann", 60), *biased("bob", 60, place=2.0)]
    again = [dataclasses.replace(row, id=f"{row.id} again") for row in rows if row.labeler == "ann"][:10]
    gold = [Checked(ranking("g", "bob", 2, 1), ranking("g", "us", 1, 2))]
    lengths = {f"p{n}{id}": words for n in range(60) for id, words in LENGTHS.items()}
    seconds = {row.id: 30.0 for row in rows if row.labeler == "ann"}
    words = {row.id: 100 for row in rows}
    found = labeler_quality(rows, gold=gold, repeats=again, lengths=lengths, seconds=seconds, words=words, resamples=100)
    ann, bob = found
    assert [line.labeler for line in found] == ["ann", "bob"]
    assert (ann.rankings, bob.rankings) == (60, 60)
    assert ann.agreement == bob.agreement
    assert ann.consistency.mean == 1.0
    assert math.isnan(bob.consistency.mean)
    assert bob.gold.mean == 0.0
    assert math.isnan(ann.gold.mean)
    assert bob.first_preferred.mean > ann.first_preferred.mean
    assert ann.pace is not None
    assert ann.pace.hurried == 0.0
    assert bob.pace is None


def teamwork(people: int, *, prompts: int, each: int) -> Read[Ranking]:
    """Rankings of ``prompts`` prompts by ``each`` of the labelers, in turns."""
    said = [ranking(f"p{n}", f"l{(n + turn) % people}", *((1, 2) if n % 3 else (2, 1))) for n in range(prompts) for turn in range(each)]
    return Read(said)


def test_twice_as_many_people_are_twice_the_work() -> None:
    """Every labeler's row reads what the labeler ranked, not what everybody did."""

    def cost(people: int) -> tuple[int, int]:
        rankings, lengths = teamwork(people, prompts=5 * people, each=2), {"p0a": 3, "p1b": 4}
        made = calls(lambda: labeler_quality(rankings, repeats=rankings[:people], lengths=lengths, resamples=2))
        return rankings.rows, made

    (read, made), (read_of_more, made_of_more) = cost(40), cost(80)
    assert read_of_more < 2.1 * read
    assert made_of_more < 2.1 * made


def test_labelers_of_the_same_prompts_are_compared_with_each_other_once() -> None:
    """When everybody ranks the same prompts, there are as many comparisons as pairs of labelers, and no more for each of them."""

    def cost(people: int) -> int:
        rankings = teamwork(people, prompts=2, each=people)
        return calls(lambda: labeler_quality(rankings, resamples=2))

    assert cost(60) < 4.4 * cost(30)


def test_a_labelers_agreement_is_with_others_alone() -> None:
    rows = [ranking("p", "ann", 1, 2), ranking("p", "ann", 2, 1, turn=1), ranking("p", "ben", 1, 2), ranking("p", "cat", 1, 2)]
    found = {line.labeler: line for line in labeler_quality(rows, resamples=2)}
    assert (found["ann"].agreement.mean, found["ann"].shared_pairs) == (0.5, 4)
    assert found["ben"].agreement.mean == pytest.approx(2 / 3)
    assert found["ben"].shared_pairs == 3
