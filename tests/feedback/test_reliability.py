"""The coefficients of rankings: what must hold of any, what simulated labelers must show, who disagrees with whom."""

from __future__ import annotations

import random

import pytest

from accord.errors import InputError
from accord.feedback.coefficients import cohen_kappa, kendall_tau_b, krippendorff_alpha
from accord.feedback.reliability import between_groups, contested, labeler_kappas, reliability, split
from accord.records import Guideline, GuidelineSet, Ranking, Rating

PAIRWISE = {"pairwise_dropped", "pairwise_disagreement", "pairwise_half", "rank_tau_b"}
BY_CHANCE = {"comparison_alpha", "comparison_alpha_ordinal", "comparison_cohen", "comparison_fleiss"}
BY_RATING = {"rating_alpha_ordinal", "rating_alpha_interval", "rating_cohen", "rating_fleiss"}
BY_FLAG = {"flag_alpha", "flag_cohen", "flag_fleiss"}


def ranking(prompt: str, labeler: str, *ranks: int, rate: bool = False, under: GuidelineSet = "training", ids: str = "uvwxyz") -> Ranking:
    shown = tuple(f"{prompt}{id}" for id in ids[: len(ranks)])
    ratings = tuple(Rating(id, 8 - rank, ("opinion",) * (rank > 2)) for id, rank in zip(shown, ranks, strict=True)) if rate else ()
    return Ranking(f"{prompt}-{labeler}", prompt, labeler, shown, ranks, Guideline(under, "v"), "", ratings)


def crowd(prompts: int, *, noise: float, people: int = 4, seed: int = 0) -> list[Ranking]:
    """Labelers who see the same three values of a prompt's responses, with their own noise."""
    rng, rows = random.Random(seed), list[Ranking]()
    for number in range(prompts):
        values = [rng.gauss(0, 1) for _ in range(3)]
        for person in rng.sample(range(people), 2):
            seen = [v + rng.gauss(0, noise) for v in values]
            order = [1 + sum(other > mine for other in seen) for mine in seen]
            rows.append(ranking(f"p{number}", f"labeler {person}", *order, rate=True))
    return rows


def test_labelers_of_one_mind_reach_one_everywhere() -> None:
    found = reliability(crowd(60, noise=0.0), resamples=50)
    assert set(found.metrics) == {
        *PAIRWISE,
        *BY_CHANCE,
        *BY_RATING,
        *BY_FLAG,
    }
    for name, figure in found.metrics.items():
        assert tuple(figure) == pytest.approx((1, 1, 1)), name
    assert (found.rankings, found.prompts, found.labelers, found.pairs) == (120, 60, 4, 180)


def test_pure_noise_is_chance() -> None:
    found = reliability(crowd(1500, noise=1e6), resamples=200)
    for name in (*BY_CHANCE, *BY_RATING, "rank_tau_b"):
        assert found.metrics[name].low < 0.03, name
        assert found.metrics[name].high > -0.03, name
    assert found.metrics["pairwise_dropped"].mean == pytest.approx(0.5, abs=0.03)


def test_more_noise_agrees_less() -> None:
    some, more = (reliability(crowd(300, noise=noise), resamples=20).metrics for noise in (0.5, 2.0))
    assert all(more[name].mean < some[name].mean - 0.1 for name in some)


def test_which_response_is_called_the_first_does_not_matter() -> None:
    rows = crowd(80, noise=1.0)
    turned = [Ranking(r.id, r.prompt_id, r.labeler, tuple(id[::-1] for id in r.response_ids), r.ranks, r.guideline, "") for r in rows]
    one, other = reliability(rows, resamples=20).metrics, reliability(turned, resamples=20).metrics
    for name in (*BY_CHANCE, "rank_tau_b"):
        assert one[name] == pytest.approx(other[name]), name


def test_figures_are_those_of_the_coefficients_on_the_same_units() -> None:
    """Two labelers, each pair of responses in both orientations."""
    rows = crowd(120, noise=1.0, people=2)
    pairs, scores, taus = list[tuple[int, int]](), list[tuple[int, int]](), list[float]()
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        ann, bob = (one, two) if one.labeler < two.labeler else (two, one)
        taus.append(kendall_tau_b(ann.ranks, bob.ranks))
        scores += [(x.quality, y.quality) for x, y in zip(ann.ratings, bob.ratings, strict=True)]
        pairs += [
            ((ann.ranks[i] > ann.ranks[j]) - (ann.ranks[i] < ann.ranks[j]), (bob.ranks[i] > bob.ranks[j]) - (bob.ranks[i] < bob.ranks[j]))
            for i in range(3)
            for j in range(3)
            if i != j
        ]
    found = reliability(rows, resamples=20).metrics
    assert found["comparison_cohen"].mean == pytest.approx(cohen_kappa(*zip(*pairs, strict=True)))
    assert found["rating_cohen"].mean == pytest.approx(cohen_kappa(*zip(*scores, strict=True), weights="quadratic", categories=range(1, 8)))
    assert found["rating_alpha_ordinal"].mean == pytest.approx(krippendorff_alpha(scores, level="ordinal"))
    assert found["rating_alpha_interval"].mean == pytest.approx(krippendorff_alpha(scores, level="interval"))
    assert found["comparison_alpha"].mean == pytest.approx(krippendorff_alpha(pairs), abs=2e-3)  # n counts once there, twice here
    assert found["rank_tau_b"].mean == pytest.approx(sum(taus) / len(taus))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 95% intervals over many crowds, about 95% hold what endless labels would say."""
    truth = reliability(crowd(6000, noise=1.0, seed=99), resamples=1).metrics
    held = dict.fromkeys(("pairwise_dropped", "rank_tau_b", "comparison_alpha", "rating_alpha_ordinal"), 0)
    for seed in range(60):
        found = reliability(crowd(60, noise=1.0, seed=seed), resamples=200).metrics
        for name in held:
            held[name] += found[name].low <= truth[name].mean <= found[name].high
    assert all(count >= 51 for count in held.values()), held


def test_without_ratings_there_are_no_figures_of_them() -> None:
    found = reliability([ranking("p", "ann", 1, 2, 3), ranking("p", "bob", 2, 1, 3)], resamples=10)
    assert set(found.metrics) == {*PAIRWISE, *BY_CHANCE}


def test_guideline_sets_are_not_mixed() -> None:
    rows = [ranking("p", "ann", 1, 2), ranking("p", "bob", 1, 2), ranking("p", "eve", 2, 1, under="evaluation")]
    found = reliability(rows, resamples=10)
    assert found.pairs == 1
    assert found.metrics["pairwise_dropped"].mean == 1
    with pytest.raises(InputError, match="no two labelers"):
        reliability(rows[1:])


def test_split_keeps_every_ranking_under_its_key() -> None:
    rows = [ranking("p", "ann", 1, 2), ranking("p", "bob", 1, 2, under="evaluation")]
    assert split(rows, lambda r: r.guideline.set) == {"evaluation": rows[1:], "training": rows[:1]}


def test_groups_that_part_are_shown_and_not_averaged_away() -> None:
    groups = {"ann": "brisk", "abe": "brisk", "bob": "caring", "ben": "caring"}
    rows = [ranking(f"p{i}", name, *((1, 2, 3) if group == "brisk" else (2, 1, 3))) for i in range(9) for name, group in groups.items()]
    found = between_groups(rows, groups, resamples=10)
    assert {pair: (each.dropped.mean, each.pairs) for pair, each in found.items()} == {
        ("brisk", "brisk"): (1.0, 27),
        ("brisk", "caring"): (pytest.approx(2 / 3), 108),
        ("caring", "caring"): (1.0, 27),
    }
    shown = contested(rows, groups)
    assert len(shown) == 9
    assert (shown[0].prompt_id, shown[0].first, shown[0].second) == ("p0", "p0u", "p0v")
    assert (shown[0].prefers_first, shown[0].voices, shown[0].gap) == ({"brisk": 1.0, "caring": 0.0}, {"brisk": 2, "caring": 2}, 1.0)
    assert not contested(rows, groups, least=3)
    assert between_groups(rows[:1], groups) == {}


def test_each_two_labelers_have_a_kappa_once_they_share_enough() -> None:
    units = [[{"ann": 0, "bob": 0}, {"ann": 1, "bob": 1}, {"ann": 0, "eve": 1}]] * 20
    assert labeler_kappas(units, size=2) == {("ann", "bob"): 1.0}
