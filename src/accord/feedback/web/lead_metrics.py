"""Metrics of the leads' page: results of quality.py and reliability.py on the answers so far, prepared for display."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import func, select

from accord.errors import InputError, StoreError
from accord.feedback import accounts, answers, schema
from accord.feedback.accounts import Account
from accord.feedback.agreement import pairwise_agreement
from accord.feedback.consensus import PREFERENCES, Item, in_doubt, pair_answers
from accord.feedback.inserts import prompts_by_id, responses_by_id
from accord.feedback.intervals import UNDEFINED, Interval
from accord.feedback.qualification import as_ranking, checked, tasks_of
from accord.feedback.quality import LabelerQuality, coverage, labeler_quality
from accord.feedback.question_agreement import QuestionAgreement, flag_agreement, question_agreement
from accord.feedback.reliability import between_groups, contested, reliability, split
from accord.feedback.store import Store
from accord.feedback.web.lead_plots import Plot, plots_of
from accord.records import Prompt, Ranking, Response
from accord.settings import ScreeningConfig

RESAMPLES = 200
KEPT_SECONDS = 60.0
"""Maximum age in seconds of the page's metrics, which are computed from all answers."""
RARELY = 20.0
"""Least ratio of the time between two computations to the time of one."""
PATIENCE = 2.0
"""Seconds that a page waits for newer metrics."""
SHOWN = 8
"""Pairs in each list on the page."""


@dataclass(frozen=True)
class Person:
    """A row of the table: a labeler, with an account or simulated."""

    id: str
    name: str
    group: str
    account: Account | None
    excluded: bool
    quality: LabelerQuality | None


@dataclass(frozen=True)
class Pair:
    """Two responses to a prompt for people to look at, and why."""

    prompt: Prompt
    responses: tuple[Response, Response]
    shares: Mapping[str, float]
    """For each group the share that prefers the first; for a pair in doubt, the most likely preference and its probability."""


@dataclass(frozen=True)
class Picture:
    """The content of the page."""

    people: list[Person]
    counts: Mapping[str, int]
    lines: Mapping[str, LabelerQuality]
    """Each labeler's metrics, by labeler id."""
    agreement: Mapping[str, Interval]
    questions: list[QuestionAgreement]
    """Agreement on each question of the project's own, and on each flag."""
    by_version: Mapping[str, tuple[int, Interval]]
    by_kind: Mapping[str, tuple[int, Interval]]
    by_group: Mapping[tuple[str, str], Interval]
    contested: list[Pair]
    doubts: list[Pair]
    """The most doubtful pairs that no lead has judged yet."""
    in_doubt: tuple[int, int]
    """Number of doubtful pairs, and of pairs that several labelers judged."""
    coverage: Mapping[str, int]
    """Number of people who say that they can judge content sensitive for a group or a topic."""
    plots: list[Plot]


@dataclass(frozen=True)
class _Kept:
    """A picture, the version of the store that it shows, its time, and how long computing it took."""

    picture: Picture
    version: tuple[int, ...]
    at: float
    took: float


class Cache:
    """The last picture of a store. Pages wait only for the first one: later ones are computed in the background, at most a twentieth of
    the time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: _Kept | None = None
        self._outdated = False
        self._drawing: threading.Thread | None = None

    def get(self, store: Store, now: datetime, screening: ScreeningConfig) -> Picture:
        """Return the picture, recomputed when the store has changed; the list of people is always read anew.

        A page waits at most ``PATIENCE`` seconds for a new picture, and then shows the last one again.
        """
        with self._lock:
            self._kept = self._kept or _drawn(store, now, screening)
            if self._is_due(self._kept, store, now):
                self._drawing = threading.Thread(target=self._draw, args=(store, now, screening), daemon=True)
                self._drawing.start()
            drawing = self._drawing
        if drawing:
            drawing.join(PATIENCE)
        picture = self._kept.picture
        return replace(picture, **_of_people(store, picture.lines))

    def renew(self) -> None:
        """Make the next visit recompute the picture, however recent it is, since a lead has changed whose answers count."""
        self._outdated = True

    def _is_due(self, kept: _Kept, store: Store, now: datetime) -> bool:
        if self._drawing and self._drawing.is_alive():
            return False
        if self._outdated:
            return True
        return not 0 <= now.timestamp() - kept.at < max(KEPT_SECONDS, RARELY * kept.took) and kept.version != _version_of(store)

    def _draw(self, store: Store, now: datetime, screening: ScreeningConfig) -> None:
        self._outdated = False  # before it is read: what changes meanwhile is drawn by the next one
        with suppress(StoreError):  # the next visitor's own queries will say it, and try again
            self._kept = _drawn(store, now, screening)


def _drawn(store: Store, now: datetime, screening: ScreeningConfig) -> _Kept:
    version, start = _version_of(store), time.monotonic()
    picture = draw(store, screening)
    return _Kept(picture, version, now.timestamp(), time.monotonic() - start)


def _version_of(store: Store) -> tuple[int, ...]:
    """Return a version that changes with every answer, correction, withdrawal and exclusion. Only exclusions are ever undone."""
    tables = (schema.rankings, schema.answers, schema.withdrawn, schema.excluded, schema.audit)
    with store.read() as connection:
        return tuple(connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


def draw(store: Store, screening: ScreeningConfig) -> Picture:
    """Read the store and compute the metrics."""
    rankings, groups = list(store.rankings()), _groups(store)
    lines = {line.labeler: line for line in _quality(store, rankings, screening)}
    about = _of_people(store, lines)
    people: list[Person] = about["people"]
    names = {person.id: person.name for person in people}
    kinds = answers.kinds(store)
    wide = {(c.prompt_id, c.first, c.second): c.prefers_first for c in contested(rankings, groups)[:SHOWN]}
    doubts, judged = in_doubt(rankings, sure=screening.sure)
    leads = _leads(people)
    by_leads = [ranking for ranking in rankings if ranking.labeler in leads]
    settled = {answer.item for answer in pair_answers(by_leads)}
    left = {d.item: {PREFERENCES[d.likeliest]: d.probability} for d in doubts if d.item not in settled}
    return Picture(
        **about,
        lines=lines,
        agreement=_agreement(rankings),
        questions=[*question_agreement(store, resamples=RESAMPLES), *flag_agreement(rankings, resamples=RESAMPLES)],
        by_version={version: (len(part), _pairwise(part)) for version, part in split(rankings, _version).items()},
        by_kind={kind: (len(part), _pairwise(part)) for kind, part in split(rankings, lambda r: kinds.get(r.id, "rank")).items()},
        by_group={pair: found.dropped for pair, found in between_groups(rankings, groups, resamples=RESAMPLES).items()},
        contested=_pairs(store, wide),
        doubts=_pairs(store, dict(list(left.items())[:SHOWN])),
        in_doubt=(len(left), judged),
        plots=plots_of([line for line in lines.values() if line.rankings], names),
    )


def _of_people(store: Store, lines: Mapping[str, LabelerQuality]) -> dict[str, Any]:
    """Return the cheap, always current data: the people, and the number of records."""
    people = _people(store, lines, _groups(store))
    told = {person.id: person.account.profile.get("groups", ()) for person in people if person.account}
    return {"people": people, "counts": store.counts(), "coverage": coverage(told)}


def _groups(store: Store) -> dict[str, str]:
    return {person.id: person.group or "–" for person in store.labelers()}


def _leads(people: Sequence[Person]) -> set[str]:
    return {person.id for person in people if person.account and person.account.role == "lead"}


def _pairs(store: Store, found: Mapping[Item, Mapping[str, float]]) -> list[Pair]:
    with store.read() as connection:
        prompts = prompts_by_id(connection, (prompt for prompt, _, _ in found))
        responses = responses_by_id(connection, chain.from_iterable((first, second) for _, first, second in found))
    return [Pair(prompts[p], (responses[a], responses[b]), shares) for (p, a, b), shares in found.items()]


def _quality(store: Store, rankings: Sequence[Ranking], screening: ScreeningConfig) -> list[LabelerQuality]:
    said = list(answers.every(store, purposes=("work", "gold", "repeat")))
    lengths = {response.id: len(response.text.split()) for response in store.responses()} if rankings else {}
    read = {r.id: sum(lengths.get(id, 0) for id in r.response_ids) for r in rankings}
    known = [answer for answer in said if answer.purpose == "gold"]
    expected = tasks_of(store, known)
    gold = checked([(answer, expected[answer.task_id]) for answer in known])
    repeats = [r for answer in said if answer.purpose == "repeat" and (r := as_ranking(answer, answer.payload, answer.shown))]
    seconds = {f"k-{answer.id}": answer.seconds for answer in said if answer.purpose == "work"}
    return labeler_quality(
        rankings,
        gold=gold,
        repeats=repeats,
        lengths=lengths,
        seconds=seconds,
        words=read,
        imported=store.imported_rankings(),
        screening=screening,
        resamples=RESAMPLES,
    )


def _people(store: Store, lines: Mapping[str, LabelerQuality], groups: Mapping[str, str]) -> list[Person]:
    known = {account.id: account for account in accounts.people(store)}
    with store.read() as connection:
        out = set(connection.scalars(select(schema.excluded.c.labeler)))
    ids = sorted(known.keys() | lines.keys() | out, key=lambda id: (known[id].name if id in known else id, id))
    return [Person(id, known[id].name if id in known else id, groups.get(id, ""), known.get(id), id in out, lines.get(id)) for id in ids]


def _agreement(rankings: Sequence[Ranking]) -> dict[str, Interval]:
    try:
        return reliability(rankings, resamples=RESAMPLES).metrics
    except InputError:
        return {}


def _pairwise(rankings: Sequence[Ranking]) -> Interval:
    try:
        return pairwise_agreement(rankings, resamples=RESAMPLES).dropped
    except InputError:
        return UNDEFINED


def _version(ranking: Ranking) -> str:
    return f"{ranking.guideline.set} {ranking.guideline.version}"
