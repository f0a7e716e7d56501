"""Basis rewards and weights per person, learned from who ranked what, beside a reward model that is finished and stays as it is.

Follows Shenfeld et al. 2025 (PReF): preferences factor into a few basis rewards, shared by all, and weights per person. Except: the
basis is linear in the last hidden state of a trained reward model, the shared score is one of its rewards, and people's weights vary
around 0, that is around the shared model. What a person's few rankings do not say stays with the shared model.

1. whiten: the states' differences within prompts, in their main directions
2. start: the directions in which people's choices depart from the shared score, by a singular value decomposition
3. factor: L-BFGS on basis and weights together; a penalty on both keeps the rank low, and needless rewards shrink to nothing
4. choose the penalty by the choices on a fifth of the prompts; where no basis beats the shared score there, people do not differ
5. estimate how weights vary among people by expectation maximisation, and each person's by Laplace's approximation
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.models.tastes import Floats, Taste, fit, margins
from accord.runtime.seeds import generator

DIRECTIONS = 64
"""Most directions of the states that a basis reward reads."""
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Penalties on the basis that are tried, in the unit of one person's variance."""
ROUNDS = 30
"""Rounds of expectation maximisation."""
HELD_OUT = 5
"""One prompt in so many chooses the penalty."""


@dataclass(frozen=True)
class Said:
    """One ranking: by whom, of which prompt, and where the states of its responses stand among all."""

    person: int
    prompt: str
    rows: Sequence[int]
    ranks: Sequence[int]


@dataclass(frozen=True)
class Learned:
    """Basis, covariance and weights, and what the basis was chosen by."""

    basis: Floats
    centre: Floats
    covariance: Floats
    people: list[Taste]
    penalty: float
    """Infinite where no basis was better than the shared score alone."""
    loss_shared: float
    """Mean loss of a choice on the prompts that chose the penalty, in nats: by the shared score, and by each person's weights."""
    loss_personal: float


@dataclass(frozen=True)
class _Pairs:
    """Untied pairs: who chose, the difference of shared scores, of whitened states, and the weight."""

    person: Tensor
    shared: Tensor
    states: Tensor
    weight: Tensor


def learn(states: Floats, shared: Floats, said: Sequence[Said], *, people: int, dims: int, seed: int) -> Learned:
    """Learn basis rewards and people's weights.

    Args:
        states: [n, width], last hidden states of the responses.
        shared: [n], the reward model's scores.
        said: rankings of these responses, by people numbered from 0.
        dims: most basis rewards beside the shared one.
    """
    # step 1: whiten
    directions = main_directions(states, [each.rows for each in said])
    whitened = states @ directions
    prompts = sorted({each.prompt for each in said})
    order: list[int] = torch.randperm(len(prompts), generator=generator(seed, "tastes", "held out")).tolist()
    choosing = {prompts[i] for i in order[: len(prompts) // HELD_OUT]}
    part = _pairs(whitened, shared, (each for each in said if each.prompt not in choosing))
    rest = _pairs(whitened, shared, (each for each in said if each.prompt in choosing))
    every = _pairs(whitened, shared, said)
    dims = min(dims, whitened.shape[1], people)

    # steps 2 to 4: factor under each penalty, and keep the one that foretells the held-out choices best
    by_shared = _mean_loss(rest, torch.zeros(people, dims + 1), torch.zeros(dims, whitened.shape[1]))
    tried = {penalty: _mean_loss(rest, *_factor(part, people, dims, penalty)) for penalty in PENALTIES} if len(rest.person) else {}
    penalty = min(tried, key=lambda each: tried[each], default=float("inf"))
    if tried.get(penalty, by_shared) >= by_shared:
        penalty, basis = float("inf"), torch.zeros(0, whitened.shape[1])
    else:
        _, basis = _factor(every, people, dims, penalty)

    # step 5: how weights vary, and each person's
    read = directions @ basis.double().numpy().T
    readings = np.column_stack([shared, states @ read])
    centre: Floats = readings[:, 1:].mean(0)
    covariance, tastes = vary(readings, said, people)
    return Learned(read.T, centre, covariance, tastes, penalty, by_shared, min(tried.get(penalty, by_shared), by_shared))


def main_directions(states: Floats, groups: Iterable[Sequence[int]]) -> Floats:
    """Return the directions [width, q] along which responses to one prompt differ most, each scaled to variance 1."""
    centred = np.concatenate([states[list(rows)] - states[list(rows)].mean(0) for rows in groups])
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    most = max(1, min(DIRECTIONS, len(centred) // 10))
    kept = [i for i in range(len(values) - 1, -1, -1) if values[i] > 1e-6 * values[-1]][:most]
    return vectors[:, kept] / np.sqrt(values[kept])


def vary(readings: Floats, said: Sequence[Said], people: int) -> tuple[Floats, list[Taste]]:
    """Return the covariance of weights among people and each person's weights, by expectation maximisation around 0."""
    size = readings.shape[1]
    differences: list[list[Floats]] = [[] for _ in range(people)]
    weights: list[list[Floats]] = [[] for _ in range(people)]
    for each in said:
        pairs, weighed = margins(readings[list(each.rows)], each.ranks)
        differences[each.person].append(pairs)
        weights[each.person].append(weighed)
    choices = [
        (np.concatenate([np.zeros((0, size)), *d]), np.concatenate([np.zeros(0), *w])) for d, w in zip(differences, weights, strict=True)
    ]
    covariance = np.diag([0.25] + [1.0] * (size - 1))
    tastes = [fit(d, covariance, w, coin=0.0) for d, w in choices]
    for _ in range(ROUNDS):
        before = covariance
        covariance = np.mean([np.outer(each.mean, each.mean) + each.covariance for each in tastes], axis=0)
        tastes = [fit(d, covariance, w, coin=0.0) for d, w in choices]
        if np.abs(covariance - before).max() < 1e-3 * np.abs(before).max():
            break
    return covariance, tastes


def _pairs(whitened: Floats, shared: Floats, said: Iterable[Said]) -> _Pairs:
    table = np.column_stack([shared, whitened])
    found, who, weights = [np.zeros((0, table.shape[1]))], list[int](), [np.zeros(0)]
    for each in said:
        differences, weighed = margins(table[list(each.rows)], each.ranks)
        found.append(differences)
        weights.append(weighed)
        who += [each.person] * len(differences)
    rows = torch.from_numpy(np.concatenate(found)).float()
    return _Pairs(torch.tensor(who, dtype=torch.long), rows[:, 0], rows[:, 1:], torch.from_numpy(np.concatenate(weights)).float())


def _logits(pairs: _Pairs, weights: Tensor, basis: Tensor) -> Tensor:
    own = weights[pairs.person]
    return pairs.shared * (1 + own[:, 0]) + (own[:, 1:] * (pairs.states @ basis.T)).sum(1)


def _mean_loss(pairs: _Pairs, weights: Tensor, basis: Tensor) -> float:
    losses = pairs.weight * F.softplus(-_logits(pairs, weights, basis))
    return float(losses.sum() / pairs.weight.sum()) if len(losses) else float("nan")


def _factor(pairs: _Pairs, people: int, dims: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Return weights [people, dims + 1] and basis [dims, q] of the least loss under the penalty, always from the same start."""
    surprise = pairs.weight * torch.sigmoid(-pairs.shared)
    towards = torch.zeros(people, pairs.states.shape[1]).index_add_(0, pairs.person, surprise[:, None] * pairs.states)
    counts = torch.zeros(people).index_add_(0, pairs.person, pairs.weight).clamp(min=1)
    found = torch.linalg.svd(towards / counts.sqrt()[:, None], full_matrices=False)
    left, sizes, right = cast("tuple[Tensor, Tensor, Tensor]", found)
    scale = (sizes / sizes.max().clamp(min=1e-9))[:dims]
    weights = torch.cat([torch.zeros(people, 1), 0.3 * people**0.5 * left[:, :dims] * scale], dim=1).contiguous().requires_grad_()
    basis = torch.zeros(dims, pairs.states.shape[1])
    basis[: right.shape[0]] = 0.1 * right[:dims]
    basis.requires_grad_()
    optimizer = torch.optim.LBFGS([weights, basis], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (pairs.weight * F.softplus(-_logits(pairs, weights, basis))).sum()
        loss = loss + weights.square().sum() / 2 + penalty * basis.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach(), basis.detach()
