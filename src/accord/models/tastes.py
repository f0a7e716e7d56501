"""Tastes: what a person values beside the shared reward, as weights of a few basis rewards.

A reward model's score s is shared by all. Beside it stand K linear readings b_k of the same last hidden state, and a person's reward is

    r(x, y; w) = s + w_0 s + w_1 b_1(x, y) + ... + w_K b_K(x, y)

with weights of a Gaussian around 0: for whoever has said nothing the reward is the shared score, and every choice moves it as far as it
tells (Shenfeld et al. 2025, reward factorization; Poddar et al. 2024, variational preference learning). The weights of one person are a
Bayesian logistic regression over differences of readings, by Laplace's approximation; only ``algorithms/tastes.py`` learns the basis.

Lines are limits that are the same for everybody: the probability that labelers flag a response as harmful, and as made up. Whatever
the weights, ``within_lines`` lets nobody choose a response that is over a line and riskier than the shared score's own choice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save_file as save_arrays

from accord.errors import ModelError

Floats = NDArray[np.float64]
FOLDER, ARRAYS, SETTINGS, PEOPLE = "tastes", "basis.safetensors", "tastes.json", "people.jsonl"
LIMIT = 0.05
"""A response that is flagged with at most this probability is within a line, whoever asks."""
STEPS = 50
"""Most steps of Newton's method; a handful is usual."""
COIN = 0.1
"""Share of people whose choices are taken to be the toss of a coin, before any is seen."""
EDITED, FIRM = 1.5, 0.2
"""What a person says of their own taste: how many standard deviations of the people it is, and how sure, in the same unit."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)


@dataclass(frozen=True)
class Taste:
    """A person's weights, as far as they are known: a Gaussian over (w_0, w_1, ..., w_K)."""

    mean: Floats
    covariance: Floats
    choices: int = 0
    """Pairs that it was learned from."""
    consistent: float = 1.0
    """Probability that the choices follow any taste at all, rather than the toss of a coin."""

    def scores(self, readings: Floats) -> Floats:
        """Return the person's rewards of responses with these readings, [n, K + 1], the shared score first."""
        return readings[:, 0] + readings @ self.mean


@dataclass(frozen=True)
class Tastes:
    """The basis rewards of a reward model, how people's weights vary, and the lines that are the same for all."""

    basis: Floats
    """[K, width of the last hidden state]."""
    centre: Floats
    """[K], the mean readings of the responses it was learned from."""
    covariance: Floats
    """[K + 1, K + 1], of the weights among people."""
    traits: tuple[str, ...] = ()
    slopes: Floats = field(default_factory=lambda: np.zeros((0, 1)))
    """[traits, K + 1]: what one standard deviation of a trait of the text adds to each reading."""
    lines: tuple[str, ...] = ()
    risk: Floats = field(default_factory=lambda: np.zeros((0, 1)))
    """[lines, width + 1]: logit of the probability that a response is flagged; the last column is its intercept."""
    groups: Mapping[str, Taste] = field(default_factory=dict[str, Taste])
    people: Mapping[str, Taste] = field(default_factory=dict[str, Taste])

    @property
    def nobody(self) -> Taste:
        """The taste of a person who has said nothing: the shared reward."""
        return Taste(np.zeros(len(self.covariance)), self.covariance)

    def readings(self, states: Floats, shared: Floats) -> Floats:
        """Return the readings of responses, [n, K + 1]: the shared score, and the basis rewards."""
        return np.column_stack([shared, states @ self.basis.T - self.centre])

    def risks(self, states: Floats) -> Floats:
        """Return the probability that a response is flagged, [n, lines]."""
        return _sigmoid(states @ self.risk[:, :-1].T + self.risk[:, -1])

    def leans(self, taste: Taste) -> dict[str, tuple[float, float]]:
        """Return what a standard deviation of each trait is worth to a person beyond the shared reward, with its standard deviation."""
        mean, spread = self.slopes @ taste.mean, np.sqrt(np.maximum(_quadratic(self.slopes, taste.covariance), 0.0))
        return {name: (float(m), float(s)) for name, m, s in zip(self.traits, mean, spread, strict=True)}

    def told(self, taste: Taste, said: Mapping[str, int]) -> Taste:
        """Return a taste after what the person says of it: for a trait 1 (more of it), -1 (less) or 0 (it does not matter).

        Each is a firm observation of the trait's lean, in the unit in which people differ. It moves all that goes with the trait.
        """
        for name, towards in said.items():
            if name not in self.traits:
                continue
            slope = self.slopes[self.traits.index(name)]
            unit = float(np.sqrt(max(slope @ self.covariance @ slope, 0.0)))
            if unit < 1e-6:
                continue
            gain = taste.covariance @ slope / (slope @ taste.covariance @ slope + (FIRM * unit) ** 2)
            mean = taste.mean + gain * (towards * EDITED * unit - slope @ taste.mean)
            taste = replace(taste, mean=mean, covariance=taste.covariance - np.outer(gain, slope @ taste.covariance))
        return taste

    def save(self, folder: Path) -> None:
        """Write the files of a reward model's folder. The weights of people stand in lines of their own, so that one can be erased."""
        target = folder / FOLDER
        target.mkdir()
        arrays = {"basis": self.basis, "centre": self.centre, "covariance": self.covariance, "slopes": self.slopes, "risk": self.risk}
        save_arrays({name: np.ascontiguousarray(value) for name, value in arrays.items()}, target / ARRAYS)
        told = {"traits": self.traits, "lines": self.lines, "groups": {name: _row(each) for name, each in self.groups.items()}}
        (target / SETTINGS).write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", "utf-8")
        rows = [json.dumps({"labeler": name, **_row(each)}, ensure_ascii=False) + "\n" for name, each in sorted(self.people.items())]
        (target / PEOPLE).write_text("".join(rows), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Tastes:
        """Open the tastes of a reward model's folder.

        Raises:
            ModelError: it has none, or they are damaged.
        """
        target = folder / FOLDER
        if not target.is_dir():
            hint = "`accord reward PROJECT --personal` learns them"
            raise ModelError("this reward model knows no tastes", where=str(folder), hint=hint)
        try:
            arrays = {name: value.astype(np.float64) for name, value in load_file(target / ARRAYS).items()}
            told = json.loads((target / SETTINGS).read_text("utf-8"))
            rows = [json.loads(line) for line in (target / PEOPLE).read_text("utf-8").splitlines()]
            people = {str(row["labeler"]): _taste(row) for row in rows}
            groups = {str(name): _taste(row) for name, row in told["groups"].items()}
            made = cls(**arrays, traits=tuple(told["traits"]), lines=tuple(told["lines"]), groups=groups, people=people)
            made.check()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
            hint = "train the reward model again with --personal"
            raise ModelError(f"its tastes are damaged: {error}", where=str(target), hint=hint) from error
        return made

    def check(self) -> None:
        """Raise ValueError where the shapes do not fit each other."""
        size = len(self.basis) + 1
        fits = self.covariance.shape == (size, size) and self.centre.shape == (size - 1,)
        fits = fits and self.slopes.shape == (len(self.traits), size) and len(self.risk) == len(self.lines)
        if not fits or any(each.mean.shape != (size,) for each in (*self.groups.values(), *self.people.values())):
            raise ValueError("basis, covariance and weights are not of one size")


def fit(differences: Floats, covariance: Floats, weights: Floats | None = None, *, coin: float = COIN) -> Taste:
    """Return the posterior of a person's weights after their choices.

    Choices that a coin would explain better than any taste count for little: mean and covariance are those of the mixture of both.

    Args:
        differences: [n, K + 1], readings of the chosen response minus those of the other.
        covariance: of the weights among people, whose mean is 0.
        weights: of the choices; 1 each unless given. The pairs of one ranking are not independent.
        coin: probability, before any choice is seen, that the person's choices are the toss of a coin.
    """
    size, count = len(covariance), len(differences)
    precision = _inverse(covariance + 1e-6 * np.eye(size))
    weighed = np.ones(count) if weights is None else weights
    w = np.zeros(size)
    for _ in range(STEPS):
        right = _sigmoid(differences[:, 0] + differences @ w)
        gradient = precision @ w - differences.T @ (weighed * (1 - right))
        curvature = precision + (differences.T * (weighed * right * (1 - right))) @ differences
        step = np.linalg.solve(curvature, gradient)
        share, before = 1.0, _loss(differences, weighed, precision, w)
        while share > 1e-3 and _loss(differences, weighed, precision, w - share * step) > before + 1e-12:
            share /= 2  # far from the optimum a whole step of Newton's may overshoot
        w = w - share * step
        if float(np.abs(step).max()) < 1e-8:
            break
    right = _sigmoid(differences[:, 0] + differences @ w)
    curvature = precision + (differences.T * (weighed * right * (1 - right))) @ differences
    inside = _inverse(curvature)
    if not coin or not count:
        return Taste(w, inside, count)
    evidence = -_loss(differences, weighed, precision, w) + float(np.linalg.slogdet(precision @ inside)[1]) / 2
    against = -float(weighed.sum()) * np.log(2)
    odds = np.log1p(-coin) - np.log(coin) + evidence - against
    consistent = float(_sigmoid(np.array(odds)))
    mixed = consistent * inside + (1 - consistent) * (covariance + np.outer(w, w) * consistent)
    return Taste(consistent * w, mixed, count, consistent)


def information(differences: Floats, taste: Taste) -> Floats:
    """Return what the choice of each pair is expected to tell of a person's weights, in nats, [n].

    It is the mutual information of choice and weights, H(E p) - E H(p) (Houlsby et al. 2011), over the Gaussian of the pair's margin.
    """
    middle = differences[:, 0] + differences @ taste.mean
    spread = np.sqrt(np.maximum(_quadratic(differences, taste.covariance), 0.0))
    chance = _sigmoid(middle[:, None] + spread[:, None] * _NODES)
    shares = _WEIGHTS / _WEIGHTS.sum()
    return np.maximum(_entropy(chance @ shares) - _entropy(chance) @ shares, 0.0)


def within_lines(shared: Floats, personal: Floats, risks: Floats) -> Floats:
    """Return a person's scores of the answers to one prompt, minus infinity for those over a line.

    An answer is over a line if it is flagged with a probability above ``LIMIT`` and above that of the answer that the shared score would
    choose. That answer is never over a line, so there is always one left, and no weights lead to a riskier one.
    """
    limit = np.maximum(risks[int(np.argmax(shared))], LIMIT)
    return np.where((risks <= limit).all(axis=1), personal, -np.inf)


def margins(readings: Floats, ranks: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the differences of a ranking's untied pairs, better minus worse, and their weights.

    K ranks hold about K - 1 independent comparisons in K (K - 1) / 2 pairs, so each pair counts 2 / K.
    """
    better, worse = np.nonzero(np.less.outer(ranks, ranks))
    return readings[better] - readings[worse], np.full(len(better), 2 / max(len(ranks), 2))


def _row(taste: Taste) -> dict[str, object]:
    return {
        "weights": taste.mean.tolist(),
        "covariance": taste.covariance.tolist(),
        "choices": taste.choices,
        "consistent": taste.consistent,
    }


def _taste(row: Mapping[str, object]) -> Taste:
    values = {name: np.asarray(row[key], dtype=np.float64) for name, key in (("mean", "weights"), ("covariance", "covariance"))}
    return Taste(**values, choices=int(str(row["choices"])), consistent=float(str(row["consistent"])))


def _inverse(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _loss(differences: Floats, weights: Floats, precision: Floats, w: Floats) -> float:
    return float(weights @ np.logaddexp(0.0, -(differences[:, 0] + differences @ w)) + w @ precision @ w / 2)


def _sigmoid(x: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -x))


def _entropy(p: Floats) -> Floats:
    clipped = np.clip(p, 1e-12, 1 - 1e-12)
    return -(clipped * np.log(clipped) + (1 - clipped) * np.log1p(-clipped))


def _quadratic(rows: Floats, matrix: Floats) -> Floats:
    return np.einsum("ij,jk,ik->i", rows, matrix, rows)
