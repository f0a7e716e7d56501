"""Consensus: what simulated labelers were made to be must come back out of their answers."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from accord.errors import InputError
from accord.feedback.consensus import Answer, adjudication, dawid_skene, noisy_bradley_terry, pair_answers, undecided
from accord.records import Guideline, Ranking

CONFUSIONS = {
    "careful": np.array([[0.90, 0.07, 0.03], [0.05, 0.90, 0.05], [0.03, 0.07, 0.90]]),
    "hasty": np.array([[0.70, 0.15, 0.15], [0.20, 0.60, 0.20], [0.10, 0.20, 0.70]]),
    "lenient": np.array([[0.50, 0.40, 0.10], [0.05, 0.60, 0.35], [0.02, 0.08, 0.90]]),
    "usual": np.array([[0.80, 0.15, 0.05], [0.10, 0.80, 0.10], [0.05, 0.15, 0.80]]),
    "coin": np.full((3, 3), 1 / 3),
}
PRIOR = (0.5, 0.2, 0.3)


def judged(items: int, people: list[str], seed: int = 0) -> tuple[list[int], list[Answer]]:
    rng = random.Random(seed)
    truth = [rng.choices(range(3), PRIOR)[0] for _ in range(items)]
    answers = [
        Answer((f"p{i:04d}", "a", "b"), person, rng.choices(range(3), CONFUSIONS[person][true].tolist())[0])
        for i, true in enumerate(truth)
        for person in people
    ]
    return truth, answers


def test_known_confusion_matrices_come_back() -> None:
    truth, answers = judged(3000, list(CONFUSIONS))
    found = dawid_skene(answers, categories=3)
    assert found.prior == pytest.approx(PRIOR, abs=0.03)
    for person, confusion in CONFUSIONS.items():
        assert np.abs(found.confusion[person] - confusion).max() < 0.06, person
    right = np.mean([found.posterior[i].argmax() == t for i, t in enumerate(truth)])
    votes = np.zeros((len(truth), 3))
    for answer in answers:
        votes[int(answer.item[0][1:]), answer.category] += 1
    assert right > np.mean([votes[i].argmax() == t for i, t in enumerate(truth)]) + 0.02


def test_each_step_explains_the_answers_better() -> None:
    likelihoods = dawid_skene(judged(200, list(CONFUSIONS), seed=3)[1], categories=3).log_likelihood
    assert len(likelihoods) > 3
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(likelihoods))


def test_posteriors_are_as_sure_as_they_are_right() -> None:
    truth, answers = judged(3000, ["careful", "hasty", "usual"], seed=1)
    found = dawid_skene(answers, categories=3)
    sure = found.posterior.max(1)
    for low, high in ((0.6, 0.9), (0.9, 1.01)):
        rows = np.flatnonzero((sure >= low) & (sure < high))
        assert np.mean([found.posterior[i].argmax() == truth[i] for i in rows]) == pytest.approx(sure[rows].mean(), abs=0.05)


def test_what_is_in_doubt_is_listed_most_doubtful_first() -> None:
    truth, answers = judged(800, ["careful", "usual"], seed=2)
    found = dawid_skene(answers, categories=3)
    doubts = adjudication(found)
    assert 0 < len(doubts) < 500
    assert [d.probability for d in doubts] == sorted(d.probability for d in doubts)
    listed = {d.item for d in doubts}
    wrong = [item in listed for i, item in enumerate(found.items) if found.posterior[i].argmax() != truth[i]]
    assert np.mean(wrong) > 0.7
    assert adjudication(found, sure=0.0) == []


def ranking(prompt: str, labeler: str, ids: tuple[str, ...], *ranks: int) -> Ranking:
    return Ranking(f"{prompt}-{labeler}", prompt, labeler, ids, ranks, Guideline("training", "v"), "")


def test_pairs_of_rankings_and_a_last_word() -> None:
    rows = [ranking("p", "ann", ("b", "a", "c"), 1, 2, 2), ranking("p", "ann", ("a", "b"), 1, 2)]
    assert set(pair_answers(rows)) == {
        Answer(("p", "a", "b"), "ann", 0),
        Answer(("p", "a", "c"), "ann", 1),
        Answer(("p", "b", "c"), "ann", 0),
    }


def test_turning_an_item_round_turns_its_consensus_round() -> None:
    _, answers = judged(60, ["careful", "usual", "lenient"], seed=4)
    turned = [Answer(a.item, a.labeler, 2 - a.category) for a in answers]
    one, other = (dawid_skene(rows, categories=3, mirrored=True) for rows in (answers, turned))
    assert one.posterior == pytest.approx(other.posterior[:, ::-1])


def crowd(prompts: int, seed: int = 0) -> tuple[dict[str, float], list[Ranking]]:
    """Three labelers who compare two of four responses at a time, as the model says: (reliability, bias to the top)."""
    people = {"keen": (2.0, 0.0), "dull": (0.3, 0.0), "lazy": (1.0, 1.5)}
    rng, strength, rows = random.Random(seed), dict[str, float](), list[Ranking]()
    for number in range(prompts):
        ids = [f"{number}-{i}" for i in range(4)]
        strength |= {id: rng.gauss(0, 1.5) for id in ids}
        for person, (slope, bias) in people.items():
            for turn in range(3):
                top, end = rng.sample(ids, 2)
                first = rng.random() < 1 / (1 + math.exp(-(slope * (strength[top] - strength[end]) + bias)))
                ranks = (1, 2) if first else (2, 1)
                rows.append(Ranking(f"{number}-{person}-{turn}", f"p{number}", person, (top, end), ranks, Guideline("training", "v"), ""))
    return strength, rows


def test_strengths_reliabilities_and_the_pull_of_the_top_come_back() -> None:
    truth, rows = crowd(700)
    found = noisy_bradley_terry(rows)
    assert found.reliability["keen"] > 1.3 > found.reliability["lazy"] > 0.75 > 0.4 > found.reliability["dull"] > 0.2
    assert found.first_bias["lazy"] == pytest.approx(1.5, abs=0.3)
    assert abs(found.first_bias["keen"]) < 0.3
    assert abs(found.first_bias["dull"]) < 0.3
    gaps = [(truth[x] - truth[y], found.strength[x] - found.strength[y]) for _, x, y in found.beats]
    assert np.corrcoef(*zip(*gaps, strict=True))[0, 1] > 0.75


def test_the_keen_count_more_than_the_many() -> None:
    _, rows = crowd(500)
    clash = [ranking("q", name, ("x", "y"), *order) for name, order in (("keen", (1, 2)), ("dull", (2, 1)))]
    assert noisy_bradley_terry([*rows, *clash]).beats["q", "x", "y"] > 0.6


def test_doubt_is_as_large_as_error() -> None:
    """Of the pairs called with probability p, about p are right."""
    truth, rows = crowd(700, seed=1)
    found = noisy_bradley_terry(rows)
    said = np.array([max(b, 1 - b) for b in found.beats.values()])
    right = np.array([(b >= 0.5) == (truth[x] > truth[y]) for (_, x, y), b in found.beats.items()])
    for low, high in ((0.5, 0.75), (0.75, 0.9), (0.9, 1.01)):
        rows_in = (said >= low) & (said < high)
        assert right[rows_in].mean() == pytest.approx(said[rows_in].mean(), abs=0.06)
    doubts = undecided(found)
    assert len(doubts) == int((said < 0.9).sum())
    assert doubts[0].probability == pytest.approx(said.min())


def test_without_noise_to_learn_from_it_is_bradley_terry() -> None:
    """One comparison each way leaves equals; a tie does too."""
    both = noisy_bradley_terry(
        [
            ranking("p", "ann", ("x", "y"), 1, 2),
            ranking("p", "bob", ("y", "x"), 2, 1),
            ranking("p", "eve", ("x", "y"), 2, 1),
            ranking("p", "dan", ("y", "x"), 1, 2),
        ]
    )
    tie = noisy_bradley_terry([ranking("p", "ann", ("x", "y"), 1, 1), ranking("p", "bob", ("y", "x"), 1, 1)])
    assert both.beats["p", "x", "y"] == pytest.approx(0.5)
    assert tie.strength["x"] == pytest.approx(tie.strength["y"])


def test_nothing_to_agree_on() -> None:
    with pytest.raises(InputError, match="answers"):
        dawid_skene([], categories=3)
    with pytest.raises(InputError, match="categories 0 to 2"):
        dawid_skene([Answer(("p", "a", "b"), "ann", 3)], categories=3)
    with pytest.raises(InputError, match="rankings"):
        noisy_bradley_terry([])
