"""Consensus of labelers: the likely true label of each item, each labeler's reliability, and the items still in doubt.

Two models. *Dawid-Skene* (1979) is for categories: each labeler has a confusion matrix, each item one true category; both are estimated
by expectation-maximisation. *Noisy Bradley-Terry* is for comparisons: each response has a strength, and each labeler a reliability (how
strongly differences of strength affect their preferences) and a bias towards the response at the top of the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import erf, pi, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.errors import InputError
from accord.feedback.agreement import preferences
from accord.feedback.intervals import Floats
from accord.records import Ranking

Ints = NDArray[np.int64]
Item = tuple[str, str, str]
"""A prompt and two of its responses, ordered by id."""
NODES = 9
"""Nodes of the Gauss-Hermite quadrature over strengths."""
PREFERENCES = ("first", "tie", "second")


class Answer(NamedTuple):
    """One labeler's category for one item."""

    item: Item
    labeler: str
    category: int


@dataclass(frozen=True)
class Consensus:
    """The result of Dawid-Skene."""

    items: tuple[Item, ...]
    posterior: Floats
    """[items, C]: the probability that each category is the true one."""
    prior: Floats
    """[C]: the frequency of each category."""
    confusion: dict[str, Floats]
    """[C, C] of each labeler: probability of the chosen category (column) given the true one (row). Rows sum to 1."""
    log_likelihood: tuple[float, ...]
    """Log-likelihood with the smoothing's penalty after each step; it never falls."""


class Doubt(NamedTuple):
    """An item that the answers do not settle."""

    item: Item
    likeliest: int
    probability: float


@dataclass(frozen=True)
class Strengths:
    """The result of noisy Bradley-Terry."""

    strength: dict[str, float]
    """Strength of each response, in log-odds at reliability 1; comparable only within a prompt, with a mean of about 0."""
    spread: dict[str, float]
    """Standard deviation of each strength."""
    reliability: dict[str, float]
    """Reliability of each labeler: 1 is usual, 0 a coin toss."""
    first_bias: dict[str, float]
    """Position bias of each labeler: log-odds of the response at the top of the page against an equal one at the end."""
    beats: dict[Item, float]
    """Probability that the first response of a pair is truly the stronger."""


def pair_answers(rankings: Iterable[Ranking]) -> list[Answer]:
    """Return each ranking's preference on each pair as an index into PREFERENCES; a labeler's last ranking of a pair counts."""
    last: dict[tuple[Item, str], int] = {}
    for ranking in rankings:
        for (a, b), preference in preferences(ranking).items():
            last[(ranking.prompt_id, a, b), ranking.labeler] = preference + 1
    return [Answer(item, labeler, category) for (item, labeler), category in last.items()]


def dawid_skene(
    answers: Sequence[Answer], *, categories: int, mirrored: bool = False, smoothing: float = 1.0, steps: int = 200, enough: float = 1e-6
) -> Consensus:
    """Estimate the true category of every item and the confusion matrix of every labeler (Dawid and Skene 1979).

    Starts from the vote shares. Each step computes matrices and prior from the posterior, then the posterior from them.

    Args:
        answers: any number per item.
        categories: the number of categories.
        mirrored: whether category i of an item is category C - 1 - i of the same item reversed, as for PREFERENCES. Matrices and prior
            are then symmetric, so that the order of the responses does not matter.
        smoothing: pseudo-answers per labeler, 3/4 of them right; they limit the influence of few answers.
        steps: maximum number of steps.
        enough: stop when the log-likelihood rises by less than this share of itself.

    Raises:
        InputError: there are no answers, or a category is out of range.
    """
    if not answers or not all(0 <= answer.category < categories for answer in answers):
        raise InputError(f"there must be answers, in categories 0 to {categories - 1}", where="consensus")
    items, people = sorted({a.item for a in answers}), sorted({a.labeler for a in answers})
    place, seat = {item: i for i, item in enumerate(items)}, {person: i for i, person in enumerate(people)}
    at = np.array([place[answer.item] for answer in answers])
    by = np.array([seat[answer.labeler] for answer in answers])
    said = np.array([answer.category for answer in answers])
    pseudo = smoothing * (np.eye(categories) * 0.75 + (1 - np.eye(categories)) * 0.25 / max(1, categories - 1))
    posterior, prior, confusion, found = _votes(at, said, len(items), categories), np.empty(0), np.empty(0), list[float]()
    for _ in range(steps):
        prior, confusion = _maximise(posterior, at, by, said, len(people), pseudo, mirrored)
        posterior, likelihood = _expect(prior, confusion, at, by, said, len(items))
        found.append(likelihood + float((pseudo * np.log(confusion)).sum() + np.log(prior).sum()))
        if len(found) > 1 and found[-1] - found[-2] < enough * abs(found[-1]):
            break
    return Consensus(tuple(items), posterior, prior, {person: confusion[i] for person, i in seat.items()}, tuple(found))


def adjudication(consensus: Consensus, *, sure: float = 0.9) -> list[Doubt]:
    """Return the items whose most likely category has a probability below ``sure``, most doubtful first, for a lead to settle."""
    best = consensus.posterior.max(1)
    order = sorted(np.flatnonzero(best < sure).tolist(), key=lambda i: (best[i], consensus.items[i]))
    return [Doubt(consensus.items[i], int(consensus.posterior[i].argmax()), float(best[i])) for i in order]


def in_doubt(rankings: Sequence[Ranking], *, sure: float = 0.9) -> tuple[list[Doubt], int]:
    """Return the doubtful pairs among those judged by two or more labelers, and the number of such pairs.

    Args:
        rankings: those under the training guideline count, or all if there are none.
    """
    answers = pair_answers(r for r in rankings if r.guideline.set == "training") or pair_answers(rankings)
    voices: dict[Item, int] = {}
    for answer in answers:
        voices[answer.item] = voices.get(answer.item, 0) + 1
    shared = [answer for answer in answers if voices[answer.item] > 1]
    if not shared:
        return [], 0
    return adjudication(dawid_skene(shared, categories=len(PREFERENCES), mirrored=True), sure=sure), len({a.item for a in shared})


def noisy_bradley_terry(rankings: Iterable[Ranking], *, spread: float = 1.5, steps: int = 100) -> Strengths:
    """Estimate response strengths from labelers of unequal reliability, who may favour the top of the page.

    A labeler with reliability b and bias d prefers i to j with log-odds b (s_i - s_j) + d (place_j - place_i), places from 0 (top) to 1
    (end); a tie is half a preference each way. Priors: strengths Normal(0, spread^2), b Normal(1, 1/2), d Normal(0, 1). Newton steps
    alternate: strengths with their covariance (Laplace), then (b, d) averaged over that covariance. Treating the strengths as known
    there would make every labeler look reliable: with few answers per prompt, strengths bend to their noise. The remaining error has the
    opposite sign: for a labeler twice as reliable as usual, two thirds is found (tests/feedback/test_consensus.py).

    Raises:
        InputError: there are no rankings.
    """
    rows = list(rankings)
    if not rows:
        raise InputError("there are no rankings", where="consensus", hint="label first")
    problem = _problem(rows)
    theta, people = np.zeros(problem.slots), np.tile([1.0, 0.0], (len(problem.labelers), 1))
    covariance = np.zeros((*problem.slots, problem.slots[1]))
    for _ in range(steps):
        before = people
        theta, covariance = _strength_step(problem, theta, people, spread)
        people = _people_step(problem, theta, covariance, people)
        if float(np.abs(people - before).max()) < 1e-4:
            break
    return _strengths(problem, theta, people, covariance)


def _votes(at: Ints, said: Ints, items: int, categories: int) -> Floats:
    votes = np.zeros((items, categories))
    np.add.at(votes, (at, said), 1.0)
    return votes / votes.sum(1, keepdims=True)


def _maximise(posterior: Floats, at: Ints, by: Ints, said: Ints, people: int, pseudo: Floats, mirrored: bool) -> tuple[Floats, Floats]:
    """Return the prior [C] and the labelers' matrices [people, C, C] that maximise the expected likelihood under the posterior."""
    counts, prior = np.zeros((people, *pseudo.shape)), posterior.sum(0) + 1
    np.add.at(counts.transpose(0, 2, 1), (by, said), posterior[at])
    if mirrored:
        counts, prior = (counts + counts[:, ::-1, ::-1]) / 2, (prior + prior[::-1]) / 2
    counts = counts + pseudo
    return prior / prior.sum(), counts / counts.sum(-1, keepdims=True)


def _expect(prior: Floats, confusion: Floats, at: Ints, by: Ints, said: Ints, items: int) -> tuple[Floats, float]:
    """Return the posterior [items, C] and the log-likelihood of the answers."""
    joint = np.tile(np.log(prior), (items, 1))
    np.add.at(joint, at, np.log(confusion[by, :, said]))
    top = joint.max(1, keepdims=True)
    scaled = np.exp(joint - top)
    return scaled / scaled.sum(1, keepdims=True), float((top[:, 0] + np.log(scaled.sum(1))).sum())


@dataclass(frozen=True)
class _Problem:
    """Comparisons as columns: prompt, labeler, the slots of the two responses in the prompt, how much higher the first stands, its
    share."""

    prompts: list[str]
    responses: list[list[str]]
    labelers: list[str]
    slots: tuple[int, int]
    """Number of prompts, and maximum number of responses per prompt."""
    prompt: Ints
    labeler: Ints
    i: Ints
    j: Ints
    above: Floats
    won: Floats
    """1, 1/2 or 0."""


def _problem(rows: Sequence[Ranking]) -> _Problem:
    known: dict[str, dict[str, int]] = {}
    for row in rows:
        slots = known.setdefault(row.prompt_id, {})
        for id in row.response_ids:
            slots.setdefault(id, len(slots))
    labelers = sorted({row.labeler for row in rows})
    seat = {labeler: n for n, labeler in enumerate(labelers)}
    place = {prompt: n for n, prompt in enumerate(known)}
    columns = list[tuple[float, ...]]()
    for r in rows:
        slots = known[r.prompt_id]
        position = {id: n for n, id in enumerate(r.response_ids)}
        for (a, b), preference in preferences(r).items():
            above = (position[b] - position[a]) / (len(r.ranks) - 1)
            won = (1 - preference) / 2
            columns.append((place[r.prompt_id], seat[r.labeler], slots[a], slots[b], above, won))
    table = np.array(columns, dtype=np.float64)
    whole = table[:, :4].astype(np.int64).T
    responses = [list(slots) for slots in known.values()]
    shape = (len(known), max(map(len, responses)))
    return _Problem(list(known), responses, list(seat), shape, whole[0], whole[1], whole[2], whole[3], table[:, 4], table[:, 5])


def _surprise(p: _Problem, gap: Floats, people: Floats) -> tuple[Floats, Floats]:
    """Return for each comparison the answer minus its expectation, and its information."""
    expected = 1 / (1 + np.exp(-(people[p.labeler, 0] * gap + people[p.labeler, 1] * p.above)))
    return p.won - expected, expected * (1 - expected)


def _strength_step(p: _Problem, theta: Floats, people: Floats, spread: float) -> tuple[Floats, Floats]:
    """Take a Newton step in every prompt's strengths; return the new ones [prompts, K] and their covariance [prompts, K, K]."""
    surprise, information = _surprise(p, theta[p.prompt, p.i] - theta[p.prompt, p.j], people)
    slope, weight = people[p.labeler, 0], information * people[p.labeler, 0] ** 2
    gradient, curvature = -theta / spread**2, np.tile(np.eye(theta.shape[1]) / spread**2, (len(theta), 1, 1))
    for slot, sign in ((p.i, 1.0), (p.j, -1.0)):
        np.add.at(gradient, (p.prompt, slot), sign * slope * surprise)
        np.add.at(curvature, (p.prompt, slot, slot), weight)
    for one, other in ((p.i, p.j), (p.j, p.i)):
        np.add.at(curvature, (p.prompt, one, other), -weight)
    covariance: Floats = np.linalg.inv(curvature).astype(np.float64)
    return theta + (covariance @ gradient[..., None])[..., 0], covariance


def _people_step(p: _Problem, theta: Floats, covariance: Floats, people: Floats) -> Floats:
    """Take a Newton step in every labeler's reliability and bias, averaged over the distribution of strengths; reliability stays above
    0."""
    middle, deviation = theta[p.prompt, p.i] - theta[p.prompt, p.j], np.sqrt(_variance(p, covariance))
    precision = np.array([2.0, 1.0])
    gradient, curvature = precision * (np.array([1.0, 0.0]) - people), np.tile(np.diag(precision), (len(people), 1, 1))
    for node, weight in zip(*np.polynomial.hermite_e.hermegauss(NODES), strict=True):
        gap = middle + deviation * float(node)
        surprise, information = (part * float(weight) / sqrt(2 * pi) for part in _surprise(p, gap, people))
        features = np.stack([gap, p.above], -1)
        np.add.at(gradient, p.labeler, features * surprise[:, None])
        np.add.at(curvature, p.labeler, features[:, :, None] * features[:, None, :] * information[:, None, None])
    moved = people + np.linalg.solve(curvature, gradient[..., None])[..., 0]
    return np.stack([np.maximum(moved[:, 0], 0.01), moved[:, 1]], -1)


def _variance(p: _Problem, covariance: Floats) -> Floats:
    """Return the variance of the strength difference in each comparison."""
    return covariance[p.prompt, p.i, p.i] + covariance[p.prompt, p.j, p.j] - 2 * covariance[p.prompt, p.i, p.j]


def _strengths(p: _Problem, theta: Floats, people: Floats, covariance: Floats) -> Strengths:
    strength, spread, beats = dict[str, float](), dict[str, float](), dict[Item, float]()
    for n, (prompt, ids) in enumerate(zip(p.prompts, p.responses, strict=True)):
        for i, one in enumerate(ids):
            strength[one], spread[one] = float(theta[n, i]), sqrt(float(covariance[n, i, i]))
            for j, other in enumerate(ids):
                if one < other:
                    width = covariance[n, i, i] + covariance[n, j, j] - 2 * covariance[n, i, j]
                    beats[prompt, one, other] = (1 + erf(float(theta[n, i] - theta[n, j]) / sqrt(2 * float(width)))) / 2
    who = p.labelers
    return Strengths(
        strength, spread, dict(zip(who, people[:, 0].tolist(), strict=True)), dict(zip(who, people[:, 1].tolist(), strict=True)), beats
    )


def undecided(strengths: Strengths, *, sure: float = 0.9) -> list[Doubt]:
    """Return the pairs in which neither response is probably stronger, most doubtful first; ``likeliest`` indexes PREFERENCES."""
    found = [Doubt(item, 0 if beats >= 0.5 else 2, max(beats, 1 - beats)) for item, beats in strengths.beats.items()]
    return sorted((doubt for doubt in found if doubt.probability < sure), key=lambda d: (d.probability, d.item))
