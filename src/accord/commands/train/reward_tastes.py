"""The personal part of `accord reward --personal`: basis rewards, weights per labeler and group, and what is measured of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accord.algorithms import reward as algorithm
from accord.algorithms import tastes as basis
from accord.algorithms.tastes import Said
from accord.data import traits
from accord.data.templates import ChatFormat
from accord.data.token_rows import RowWindow
from accord.errors import InputError, UsageError
from accord.evaluation.reward_accuracy import labeler_accuracy, prompt_accuracy
from accord.evaluation.statistics import group_means, interval
from accord.feedback import disagreement as measures
from accord.feedback.accounts import people as accounts
from accord.feedback.criteria import HARM, MADE_UP
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.models.scalar import states_of_rows
from accord.models.tastes import Floats, Taste, Tastes, fit, margins
from accord.records import RankedPrompt
from accord.runtime.files import write_atomic
from accord.runtime.jsonable import jsonable
from accord.settings import RewardConfig

LINES = ("harmless", "truthful")
RIDGE = 10.0
"""Penalty of a line's weights, each on a direction of variance 1."""
FEWEST_FLAGS = 10
"""A line is learned from so many flagged responses at least, and as many others."""
Row = tuple[RankedPrompt, list[list[int]]]
"""A ranking of the responses that fit the window, and prompt and response of each as tokens."""


@dataclass(frozen=True)
class Aside:
    """What the store says beside the rankings: groups of each labeler, and the flags of each response."""

    groups: Mapping[str, Sequence[str]]
    flags: Mapping[str, Sequence[tuple[bool, bool]]] = field(default_factory=dict[str, list[tuple[bool, bool]]])
    """Of each response, once per labeler who rated it: whether it was flagged as harmful, and as made up."""


def aside(store: Store, config: RewardConfig) -> Aside:
    """Read the labelers' groups in the field that the settings name, and the flags on training prompts by those who are learned from."""
    groups: dict[str, list[str]] = {}
    if config.personal_group == "group":
        groups = {person.id: [person.group] if person.group else [] for person in store.labelers()}
    elif config.personal_group:
        people = list(accounts(store))
        told_by_any = {key for account in people for key in account.profile}
        if config.personal_group not in {"groups", "language", *told_by_any}:
            hint = "group, groups, language, or a field of [label.profile] that labelers filled in"
            raise UsageError(f"no labeler's profile has {config.personal_group!r}", where="--personal-group", hint=hint)
        for account in people:
            told = account.profile.get(config.personal_group, ())
            groups[account.id] = [told] if isinstance(told, str) else [str(each) for each in told]
    flags: dict[str, list[tuple[bool, bool]]] = {}
    held_out = {person.id for person in store.labelers() if config.held_out_group and person.group == config.held_out_group}
    for ranking in said_by(store, store.rankings("training", "train"), config.kinds):
        for rating in () if ranking.labeler in held_out else ranking.ratings:
            flags.setdefault(rating.response_id, []).append((bool(HARM & set(rating.flags)), MADE_UP in rating.flags))
    return Aside(groups, flags)


def require_several(training: Sequence[RankedPrompt]) -> None:
    """Raise InputError unless two people or more ranked training prompts: alone, nobody differs from anybody."""
    names = sorted({row.labeler for row in training})
    if len(names) < 2:
        what = f"one labeler alone ranked the training prompts ({', '.join(names)}): tastes are learned from two or more"
        raise InputError(what, where="--personal", hint="leave it out, or have a second person rank some of the prompts")


@dataclass(frozen=True)
class Found:
    """Tastes, what was measured of them, and the rows for the run's people.jsonl."""

    tastes: Tastes
    metrics: dict[str, Any]
    people: list[dict[str, Any]]

    def write(self, folder: Path) -> None:
        """Write the table of people into the run's folder, a row each."""
        lines = [json.dumps(jsonable(row), ensure_ascii=False) + "\n" for row in self.people]
        write_atomic(folder / "people.jsonl", "".join(lines))


def learned(
    model: Any,
    training: Sequence[Row],
    validation: Sequence[Row],
    beside: Aside,
    config: RewardConfig,
    dtype: torch.dtype,
) -> Found:
    """Learn the tastes of those who ranked the training prompts, and measure them on held-out prompts."""
    names = sorted({row.labeler for row, _ in training})
    read = _Read(model, [*training, *validation], config, dtype)
    said = [Said(names.index(row.labeler), row.prompt.id, read.places[i], row.ranks) for i, (row, _) in enumerate(training)]
    found = basis.learn(read.states, read.shared, said, people=len(names), dims=config.personal_dims, seed=config.seed)
    made = Tastes(found.basis, found.centre, found.covariance, people=dict(zip(names, found.people, strict=True)))
    readings = made.readings(read.states, read.shared)
    slopes = _slopes(readings, read)
    lines, risk = _lines(read, beside)
    groups = _groups(readings, said, names, beside.groups, found.covariance)
    made = dataclasses.replace(made, traits=tuple(traits.TRAITS), slopes=slopes, lines=lines, risk=risk, groups=groups)
    metrics, people = _measured(made, readings, read, training, validation, beside)
    kept = 0 if found.penalty == float("inf") else len(found.basis)
    metrics = {
        "people": len(names),
        "basis_rewards": kept,
        "choice_loss_shared": found.loss_shared,
        "choice_loss_personal": found.loss_personal,
        "lines": " ".join(lines) or "none: too few flags",
        **metrics,
    }
    return Found(made, jsonable(metrics), people)


class _Read:
    """States and shared scores of all responses, each distinct row of tokens once."""

    def __init__(self, model: Any, rows: Sequence[Row], config: RewardConfig, dtype: torch.dtype) -> None:
        known: dict[tuple[int, ...], int] = {}
        self.places: list[list[int]] = []
        self.texts: list[str] = []
        self.ids: list[set[str]] = []
        for ranked, tokens in rows:
            own: list[int] = []
            for response, row in zip(ranked.responses, tokens, strict=True):
                place = known.setdefault(tuple(row), len(known))
                if place == len(self.texts):
                    self.texts.append(response.text)
                    self.ids.append(set())
                self.ids[place].add(response.id)
                own.append(place)
            self.places.append(own)
        tokens_of = [list(row) for row in known]
        states = states_of_rows(model, tokens_of, dtype=dtype, batch_tokens=config.micro_tokens)
        shared = algorithm.score_rows(model, tokens_of, dtype=dtype, batch_tokens=config.micro_tokens)
        self.states: Floats = states.double().numpy()
        self.shared: Floats = shared.double().numpy()


def _slopes(readings: Floats, read: _Read) -> Floats:
    """Return what a standard deviation of each trait adds to each reading, all traits at once, within prompts."""
    counted = np.array([traits.counts(text) for text in read.texts])
    x = np.concatenate([counted[rows] - counted[rows].mean(0) for rows in read.places])
    y = np.concatenate([readings[rows] - readings[rows].mean(0) for rows in read.places])
    spread = x.std(0)
    there = spread > 1e-9
    scaled = x[:, there] / spread[there]
    slopes = np.zeros((len(spread), readings.shape[1]))
    ridge = 0.01 * len(scaled) * np.eye(int(there.sum()))
    slopes[there] = np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ y)
    return slopes


def _lines(read: _Read, beside: Aside) -> tuple[tuple[str, ...], Floats]:
    """Return the lines that there are flags for, and the weights that tell a flagged response: one logistic regression for everybody."""
    width = read.states.shape[1]
    names, weights = list[str](), list[Floats]()
    mean, directions = read.states.mean(0), basis.main_directions(read.states, [range(len(read.states))])
    for column, name in enumerate(LINES):
        rows, flagged = list[int](), list[float]()
        for place, ids in enumerate(read.ids):
            for id in ids:
                for said in beside.flags.get(id, ()):
                    rows.append(place)
                    flagged.append(float(said[column]))
        if min(sum(flagged), len(flagged) - sum(flagged)) < FEWEST_FLAGS:
            continue
        x = np.column_stack([(read.states[rows] - mean) @ directions, np.ones(len(rows))])
        w = _logistic(x, np.array(flagged))
        towards = directions @ w[:-1]
        names.append(name)
        weights.append(np.append(towards, w[-1] - mean @ towards))
    return tuple(names), np.array(weights).reshape(len(names), width + 1)


def _logistic(x: Floats, y: Floats) -> Floats:
    """Return the weights of a ridge logistic regression, the last one an intercept without penalty."""
    w, ridge = np.zeros(x.shape[1]), np.diag([RIDGE] * (x.shape[1] - 1) + [1e-6])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        step = np.linalg.solve((x.T * np.maximum(p * (1 - p), 1e-6)) @ x + ridge, x.T @ (y - p) - ridge @ w)
        w = w + step * min(1.0, 4 / max(float(np.abs(step).max()), 1e-9))
        if float(np.abs(step).max()) < 1e-8:
            break
    return w


def _groups(
    readings: Floats, said: Sequence[Said], names: Sequence[str], groups: Mapping[str, Sequence[str]], covariance: Floats
) -> dict[str, Taste]:
    """Return the weights of each group, from all rankings of its members together."""
    found: dict[str, Taste] = {}
    for group in sorted({each for name in names for each in groups.get(name, ())}):
        members = {i for i, name in enumerate(names) if group in groups.get(name, ())}
        pairs = [margins(readings[list(each.rows)], each.ranks) for each in said if each.person in members]
        found[group] = fit(np.concatenate([d for d, _ in pairs]), covariance, np.concatenate([w for _, w in pairs]))
    return found


def _measured(
    made: Tastes, readings: Floats, read: _Read, training: Sequence[Row], validation: Sequence[Row], beside: Aside
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return accuracy on held-out prompts by the shared score and by people's weights, by group and person, and taste against noise."""
    ranked = [row for row, _ in validation]
    places = read.places[len(training) :]
    shared = [readings[rows, 0].tolist() for rows in places]
    tastes = [made.people.get(row.labeler, made.nobody) for row in ranked]
    own = [taste.scores(readings[rows]).tolist() for taste, rows in zip(tastes, places, strict=True)]
    metrics: dict[str, Any] = {}
    metrics |= _accuracies(ranked, shared, own)
    for group in made.groups:
        inside = [i for i, row in enumerate(ranked) if group in beside.groups.get(row.labeler, ())]
        by_group = [made.groups[group].scores(readings[places[i]]).tolist() for i in inside]
        if found := _accuracies([ranked[i] for i in inside], [shared[i] for i in inside], by_group):
            metrics.setdefault("groups", {})[group] = found
    where = {id: place for place, ids in enumerate(read.ids) for id in ids}

    def chance(person: str, first: str, second: str) -> float:
        difference = readings[where[first]] - readings[where[second]]
        margin = float(difference[0] + difference @ made.people.get(person, made.nobody).mean)
        return 1 / (1 + float(np.exp(-np.clip(margin, -30, 30))))

    measured = measures.disagreement([row for row, _ in (*training, *validation)], chance)
    metrics |= {
        "disagreement_between": measured.between,
        "disagreement_within": measured.within,
        "disagreement_taste": measured.taste,
        "disagreement_noise": "by the model: no pair came back" if measured.by_model else f"from {measured.repeated} repeated pairs",
    }
    people = [_person(name, made, ranked, shared, own, training) for name in made.people]
    return metrics, people


def _accuracies(rows: Sequence[RankedPrompt], shared: Sequence[list[float]], own: Sequence[list[float]]) -> dict[str, Any]:
    """Return the accuracy of both scores and the difference over the same rankings; nothing where every pair is tied."""
    each: list[tuple[str, float | None, float | None]] = []
    for row, by_shared, by_own in zip(rows, shared, own, strict=True):
        each.append((row.prompt.id, prompt_accuracy(by_shared, row.ranks), prompt_accuracy(by_own, row.ranks)))
    known = [(id, s, o) for id, s, o in each if s is not None and o is not None]
    if not known:
        return {}
    gains = group_means([id for id, _, _ in known], [o - s for _, s, o in known])
    return {
        "accuracy_shared": labeler_accuracy(shared, rows),
        "accuracy_personal": labeler_accuracy(own, rows),
        "accuracy_gain": interval(gains),
    }


def _person(
    name: str,
    made: Tastes,
    rows: Sequence[RankedPrompt],
    shared: Sequence[list[float]],
    own: Sequence[list[float]],
    training: Sequence[Row],
) -> dict[str, Any]:
    """Return one person's row: how much they said, their taste in words, and both accuracies on their held-out rankings."""
    mine = [i for i, row in enumerate(rows) if row.labeler == name]
    found = _accuracies([rows[i] for i in mine], [shared[i] for i in mine], [own[i] for i in mine])
    rankings = [row for row, _ in training if row.labeler == name]
    words = traits.in_words(made.leans(made.people[name]))
    return {"labeler": name, "group": rankings[0].group, "rankings": len(rankings), "held_out": len(mine), "words": words, **found}


def fitting(chat_format: ChatFormat, window: RowWindow, row: RankedPrompt) -> Row:
    """Return a ranking without the responses that exceed the window, and each as tokens.

    Raises:
        InputError: too few fit.
    """
    prompt = chat_format.asked(row.prompt)
    responses = [chat_format.tokens_of(row.prompt, response) for response in row.responses]
    joined, kept = window.join_ranked(prompt, responses, row.ranks, f"prompt {row.prompt.id}")
    left = dataclasses.replace(row, responses=tuple(row.responses[i] for i in kept), ranks=tuple(row.ranks[i] for i in kept))
    return left, [each.tokens for each in joined]
