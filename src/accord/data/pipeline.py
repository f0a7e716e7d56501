"""Curation of users' prompts for training (Ouyang et al. 2022, section 3.2 and App. A), in two passes.

The first pass reads each prompt once and keeps about 60 bytes of it in memory and 480 in a file (its signature). The second decides from
those columns alone. A prompt is left out for the first reason that applies, in the order of ``REASONS``. Of two duplicates the earlier
stays. Prompts that were kept before, or have been answered, come first, so that new prompts never displace them.
"""

from __future__ import annotations

import itertools
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from accord.data.duplicates import Rows, Signatures, first_of_key, key, near, normal
from accord.data.languages import language
from accord.data.personal import find
from accord.data.tags import use_case
from accord.records import Prompt, Split
from accord.runtime.progress import Track
from accord.settings import PromptsConfig

Consent = Literal["unknown", "given", "refused", "public"]
REASONS = (
    "",
    "no consent",
    "too short",
    "too long",
    "other language",
    "personal data",
    "in an evaluation set",
    "exact duplicate",
    "long common prefix",
    "near duplicate",
    "over the user's limit",
    "user in another split",
)
"""Reasons for leaving out a prompt; the first, empty one is for prompts that stay."""
SPLITS: tuple[Split, ...] = get_args(Split)
_BATCH = 2000
_TOKEN = re.compile(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as it comes in."""

    prompt: Prompt
    consent: Consent = "unknown"
    first: bool = False
    """Whether the prompt was kept before or has been answered; among duplicates it is the one that stays."""


@dataclass(frozen=True)
class Evaluation:
    """The content of evaluation sets, for detecting prompts that occur in them."""

    grams: frozenset[int]
    whole: frozenset[str]
    """Items shorter than an n-gram, normalised."""
    words: int

    @classmethod
    def of(cls, texts: Iterable[str], words: int) -> Evaluation:
        """Collect the texts of evaluation sets.

        Args:
            words: number of consecutive shared words that make a prompt contaminated; a Chinese character counts as a word.
        """
        grams, whole = set[int](), set[str]()
        for text in texts:
            found = _TOKEN.findall(normal(text))
            if len(found) >= words:
                grams.update(_grams(found, words))
            elif len(found) > 3:
                whole.add(" ".join(found))
        return cls(frozenset(grams), frozenset(whole), words)

    def holds(self, text: str) -> bool:
        """Return whether a normalised text shares an n-gram with an item, or equals a short one."""
        if not self.words or not (self.grams or self.whole):
            return False
        found = _TOKEN.findall(text)
        return " ".join(found) in self.whole or any(gram in self.grams for gram in _grams(found, self.words))


def _grams(words: list[str], n: int) -> Iterator[int]:
    return (hash(tuple(words[i : i + n])) for i in range(len(words) - n + 1))


@dataclass
class Columns:
    """The remembered data of each prompt, as columns."""

    reasons: bytearray = field(default_factory=bytearray)
    exact: array[int] = field(default_factory=lambda: array("Q"))
    prefix: array[int] = field(default_factory=lambda: array("Q"))
    users: array[int] = field(default_factory=lambda: array("Q"))
    splits: bytearray = field(default_factory=bytearray)
    first: bytearray = field(default_factory=bytearray)
    languages: bytearray = field(default_factory=bytearray)
    cases: bytearray = field(default_factory=bytearray)
    names: dict[str, int] = field(default_factory=dict[str, int])
    """Numbers of languages and use cases."""

    def code(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names)) if len(self.names) < 255 else self.names.get(name, 0)


@dataclass(frozen=True)
class Curated:
    """The pipeline's verdict on each prompt, in input order."""

    reasons: npt.NDArray[np.uint8]
    """Indices into ``REASONS``; 0 stays."""
    original: Rows
    """For a duplicate the row that it repeats, -1 for others."""
    columns: Columns

    def language(self, row: int) -> str:
        return self._names[self.columns.languages[row]]

    def use_case(self, row: int) -> str:
        return self._names[self.columns.cases[row]]

    @property
    def _names(self) -> list[str]:
        return list(self.columns.names)

    def metrics(self) -> dict[str, Any]:
        """Return the counts: read, kept, dropped by reason, and kept by split, language and use case."""
        kept = self.reasons == 0
        counted = np.bincount(self.reasons, minlength=len(REASONS)).tolist()
        _, sizes = np.unique(self.original[self.original >= 0], return_counts=True)
        return {
            "read": len(self.reasons),
            "kept": int(kept.sum()),
            "dropped": {REASONS[number]: count for number, count in enumerate(counted) if number and count},
            "splits": self._shares(self.columns.splits, kept, SPLITS),
            "languages": self._shares(self.columns.languages, kept, self._names),
            "use_cases": self._shares(self.columns.cases, kept, self._names),
            "users": len(np.unique(np.array(self.columns.users, dtype=np.uint64)[kept])),
            "largest_group": int(sizes.max()) + 1 if len(sizes) else 1,
        }

    def _shares(self, column: bytearray, kept: npt.NDArray[np.bool_], names: Collection[str]) -> dict[str, int]:
        counts = Counter[str]()
        for number, count in enumerate(np.bincount(np.frombuffer(column, dtype=np.uint8)[kept], minlength=1).tolist()):
            if count:
                counts[list(names)[number]] = count
        return dict(counts.most_common())


def curate(
    asked: Iterable[Asked], config: PromptsConfig, folder: Path, *, evaluation: Evaluation | None = None, track: Track | None = None
) -> Curated:
    """Decide which prompts stay, and give a reason for each of the others.

    Args:
        asked: the prompts, read once, in an order that does not change between runs.
        folder: a place for the signatures during the run; about 480 bytes per prompt.

    Raises:
        UsageError: near duplicates are requested and the package rensa is not installed.
    """
    columns = Columns()
    with Signatures(folder / "signatures") as signatures:
        waiting = iter(asked)
        while batch := list(itertools.islice(waiting, _BATCH)):
            texts = [_look(each, config, columns, evaluation) for each in batch]
            if config.near:
                signatures.add(texts)
            if track:
                track.advance(len(batch))
        return _decide(columns, config, signatures.read() if config.near else None)


def whole_text(prompt: Prompt) -> str:
    """Return all turns of a prompt, one per line."""
    return prompt.messages[0].content if len(prompt.messages) == 1 else "\n".join(message.content for message in prompt.messages)


def _look(each: Asked, config: PromptsConfig, columns: Columns, evaluation: Evaluation | None) -> str:
    """Add a prompt's columns and return its normalised text."""
    prompt, text = each.prompt, whole_text(each.prompt)
    plain, detected = normal(text), language(text)
    case = prompt.use_case if prompt.use_case not in ("", "other") else use_case(prompt.messages)
    columns.reasons.append(REASONS.index(_reason(each, text, plain, detected, config, evaluation)))
    columns.exact.append(key(plain))
    columns.prefix.append(key(plain[: config.prefix]) if config.prefix and len(plain) > config.prefix else 0)
    columns.users.append(key(prompt.user) if prompt.user else 0)
    columns.splits.append(SPLITS.index(prompt.split))
    columns.first.append(each.first)
    columns.languages.append(columns.code(detected))
    columns.cases.append(columns.code(case))
    return plain


def _reason(each: Asked, text: str, plain: str, detected: str, config: PromptsConfig, evaluation: Evaluation | None) -> str:
    """Return the reason to leave out a prompt irrespective of other prompts; empty if there is none."""
    if (each.consent == "refused" and config.consent != "any") or (each.consent == "unknown" and config.consent == "given"):
        return "no consent"
    if len(text.strip()) < config.min_chars or (not plain and config.min_chars):
        return "too short"
    if config.max_chars and len(text) > config.max_chars:
        return "too long"
    if config.languages and detected not in config.languages.replace(" ", "").split(","):
        return "other language"
    if config.personal == "drop" and find(text):
        return "personal data"
    return "in an evaluation set" if evaluation and evaluation.holds(plain) else ""


def _decide(columns: Columns, config: PromptsConfig, signatures: npt.NDArray[np.uint32] | None) -> Curated:
    reasons = np.array(columns.reasons, dtype=np.uint8)
    original = np.full(len(reasons), -1, dtype=np.int64)
    order = np.argsort(1 - np.array(columns.first, dtype=np.int8), kind="stable")

    def drop(rows: Rows, reason: str, of: Rows | None = None) -> None:
        reasons[rows] = REASONS.index(reason)
        if of is not None:
            original[rows] = of[rows]

    for keys, reason in ((columns.exact, "exact duplicate"), (columns.prefix, "long common prefix")):
        of = first_of_key(np.array(keys, dtype=np.uint64), order[reasons[order] == 0])
        drop(np.flatnonzero((of >= 0) & (of != np.arange(len(of)))), reason, of)
    if signatures is not None:
        of = near(signatures, order[reasons[order] == 0], config.near)
        drop(np.flatnonzero(of >= 0), "near duplicate", of)
    users, splits = np.array(columns.users, dtype=np.uint64), np.array(columns.splits, dtype=np.uint8)
    drop(_elsewhere(users, splits, order[reasons[order] == 0]), "user in another split")
    drop(_beyond(users, order[reasons[order] == 0], config.per_user), "over the user's limit")
    return Curated(reasons, original, columns)


def _elsewhere(users: npt.NDArray[np.uint64], splits: npt.NDArray[np.uint8], order: Rows) -> Rows:
    """Return the rows of users whose earliest row is in another split."""
    of = first_of_key(users, order)[order]
    return order[splits[of] != splits[order]]


def _beyond(users: npt.NDArray[np.uint64], order: Rows, limit: int) -> Rows:
    """Return each user's rows after the first ``limit``; rows without a user are not counted."""
    known = order[users[order] != 0]
    if not limit or not len(known):
        return known[:0]
    by_user = known[np.argsort(users[known], kind="stable")]
    starts = np.concatenate([[True], users[by_user][1:] != users[by_user][:-1]])
    place = np.arange(len(by_user)) - np.maximum.accumulate(np.where(starts, np.arange(len(by_user)), 0))
    return by_user[place >= limit]


def strings(value: object) -> Iterator[str]:
    """Yield every string inside a JSON value, which reads an evaluation set of any format."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in cast("Mapping[str, object]", value).values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in cast("list[object]", value):
            yield from strings(part)
