"""Guidelines for labelers: two sets, each with a version that every answer given under it records.

``training`` puts helpfulness first, ``evaluation`` puts truthfulness and harmlessness first, as Ouyang et al. 2022 (section 3.4) changed
their instructions between training labels and final evaluation. The wording is our own.

A project may have its own: a Markdown file ``guidelines/SET.LANGUAGE.md`` in its folder replaces the built-in one. It may show pictures
(``guideline_pictures``).
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Literal, get_args

from sqlalchemy import Connection, func, insert, select

from accord.errors import InputError, UsageError
from accord.feedback import guideline_pictures, schema
from accord.feedback.guideline_pictures import Reader
from accord.feedback.inserts import insert_rows
from accord.feedback.store import Store
from accord.records import Guideline, GuidelineSet
from accord.runtime.files import write_atomic

Language = Literal["en", "zh"]
SETS: tuple[GuidelineSet, ...] = get_args(GuidelineSet)
LANGUAGES: tuple[Language, ...] = get_args(Language)
FOLDER = "guidelines"
"""The folder of guidelines in a project."""
LONGEST = 200_000
"""Maximum length of a guideline in characters."""
MOST_PAIRS, MOST_LINES = 100_000, 4_000
"""Pairs of equal lines of two versions, and lines of both together, up to which they are compared line by line."""


@dataclass(frozen=True, slots=True)
class Change:
    """A line of a guideline compared with the version that a labeler read before."""

    kind: Literal["same", "added", "removed"]
    line: str


def load(set: GuidelineSet, language: Language = "en", project: Path | None = None) -> str:
    """Return a guideline as Markdown, in English or Simplified Chinese: the project's own if it has one, otherwise the built-in one.

    If a project has its own text in only one language, that text is used for both, so that nobody follows an older rule.

    Raises:
        UsageError: there is no such set or language.
        InputError: the project's file is empty, too long or not UTF-8.
    """
    for what, name, known in (("set", set, SETS), ("language", language, LANGUAGES)):
        if name not in known:
            raise UsageError(f"no guideline {what} {name!r}", where="guidelines", hint=f"there are {' and '.join(known)}")
    spoken: tuple[Language, ...] = (language, *LANGUAGES)
    files = [path_of(project, set, each) for each in spoken] if project else []
    own = next((file for file in files if file.is_file()), None)
    return _read(own) if own else resources.files("accord.feedback").joinpath("guideline_texts", f"{set}.{language}.md").read_text("utf-8")


def reference(set: GuidelineSet, project: Path | None = None) -> Guideline:
    """Return the reference that an answer records: the set, and the first 12 hex digits of a SHA-256.

    The built-in translations follow the English text and share its version, the SHA-256 of that text. If a project has texts of its own,
    the version is that of all languages' texts and of the pictures they show: a change in any of them is another version.

    Raises:
        UsageError: there is no such set.
        InputError: the project's file, or a picture that it shows, cannot be used.
    """
    if project and any(path_of(project, set, language).is_file() for language in LANGUAGES):
        texts = [load(set, language, project) for language in LANGUAGES]
        shown = guideline_pictures.digests(guideline_pictures.files(texts, project / FOLDER))
        return Guideline(set, _version("\0".join([*texts, *(f"{name}\0{digest}" for name, digest in shown.items())])))
    return Guideline(set, _version(load(set)))


def path_of(project: Path, set: GuidelineSet, language: Language) -> Path:
    """Return the path of a project's own text, if it has one."""
    return project / FOLDER / f"{set}.{language}.md"


def write_out(project: Path) -> list[Path]:
    """Copy the texts in force into the project's folder for editing; return the files that did not exist before."""
    texts: dict[Path, str] = {}
    for set, language in product(SETS, LANGUAGES):
        if not path_of(project, set, language).exists():
            texts[path_of(project, set, language)] = load(set, language, project)
    for path, text in texts.items():
        write_atomic(path, text)
    return list(texts)


def keep(store: Store, set: GuidelineSet, *, now: datetime, project: Path | None = None, reader: Reader | None = None) -> Guideline:
    """Store the texts in force with their pictures, once per version, so that later ones can be compared; return the reference.

    Args:
        reader: reads pictures. Without it, a version that shows some is not stored.

    Raises:
        InputError: a text or a picture cannot be used.
    """
    guideline, g = reference(set, project), schema.guidelines
    texts = [{"set": set, "version": guideline.version, "language": each, "text": load(set, each, project)} for each in LANGUAGES]
    with store.read() as connection:
        if _kept(connection, guideline):
            return guideline
    shown = guideline_pictures.files([text["text"] for text in texts], project / FOLDER) if project else {}
    if shown and reader is None:
        return guideline
    pictures = guideline_pictures.read(shown, reader) if reader else {}
    with store.write() as connection:
        if not _kept(connection, guideline):
            insert_rows(connection, g, [text | {"at": now.isoformat()} for text in texts])
            guideline_pictures.keep(connection, guideline, pictures, at=now.isoformat())
    return guideline


def text_of(store: Store, guideline: Guideline, language: Language = "en") -> str | None:
    """Return the text of a former version; None if it was never stored."""
    g = schema.guidelines
    with store.read() as connection:
        query = select(g.c.text).where(g.c.set == guideline.set, g.c.version == guideline.version, g.c.language == language)
        return connection.scalar(query)


def pictures_of(store: Store, guideline: Guideline) -> dict[str, str]:
    """Return the digests of the pictures that a version shows, by the names of their files."""
    with store.read() as connection:
        return guideline_pictures.kept(connection, guideline)


def latest(store: Store, set: GuidelineSet) -> Guideline | None:
    """Return the version of a set that was stored last; None if none was."""
    g = schema.guidelines
    with store.read() as connection:
        version = connection.scalar(select(g.c.version).where(g.c.set == set).order_by(g.c.at.desc(), g.c.version).limit(1))
    return Guideline(set, version) if version else None


def stood(store: Store, guideline: Guideline, *, since: str) -> bool:
    """Return whether a version was in force at some time since a moment, so that a page made after it can have shown it.

    Args:
        since: ISO 8601 in UTC.
    """
    g = schema.guidelines
    query = select(g.c.version, func.min(g.c.at).label("at")).where(g.c.set == guideline.set).group_by(g.c.version)
    with store.read() as connection:
        began = {row.version: row.at for row in connection.execute(query)}
    if guideline.version not in began:
        return False
    later = [at for at in began.values() if at > began[guideline.version]]
    return not later or min(later) >= since


def mark_read(store: Store, labeler: str, guideline: Guideline, *, now: datetime) -> None:
    """Record that a labeler has read a version. The first time stays."""
    r, values = schema.guidelines_read, {"labeler": labeler, "set": guideline.set, "version": guideline.version}
    with store.write() as connection:
        there = select(func.count()).where(*(r.c[column] == value for column, value in values.items()))
        if not connection.scalar(there):
            connection.execute(insert(r).values(**values, at=now.isoformat()))


def last_read(store: Store, labeler: str, set: GuidelineSet) -> Guideline | None:
    """Return the version of a set that a labeler read last."""
    r = schema.guidelines_read
    with store.read() as connection:
        query = select(r.c.version).where(r.c.labeler == labeler, r.c.set == set).order_by(r.c.at.desc(), r.c.version).limit(1)
        version = connection.scalar(query)
    return Guideline(set, version) if version else None


def changes_since_read(store: Store, labeler: str, guideline: Guideline, language: Language = "en") -> list[Change]:
    """Return the lines that changed since the labeler last read the set; empty if none did, or on the first reading."""
    before = last_read(store, labeler, guideline.set)
    if before is None or before == guideline:
        return []
    old, new = text_of(store, before, language), text_of(store, guideline, language)
    if old is None or new is None:
        return []
    return differences(old, new) + _replaced(pictures_of(store, before), pictures_of(store, guideline))


def _replaced(old: dict[str, str], new: dict[str, str]) -> list[Change]:
    """Return a removed and an added line for each picture whose name stayed while its file was replaced."""
    lines = list[Change]()
    for name, digest in new.items():
        if old.get(name, digest) != digest:
            lines += [Change("removed", f"🖼 {name} ({old[name][:8]})"), Change("added", f"🖼 {name} ({digest[:8]})")]
    return lines


def differences(old: str, new: str) -> list[Change]:
    """Return every line of both texts in order; a changed line is one removed and one added. Empty when the texts are equal."""
    if old == new:
        return []
    before, after = old.splitlines(), new.splitlines()
    changes = list[Change]()
    counts = Counter(after)
    if len(before) + len(after) > MOST_LINES or sum(counts[line] for line in before) > MOST_PAIRS:  # the matcher visits each pair often
        return [*_changes("removed", before), *_changes("added", after)]
    for _, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if before[i:j] == after[k:m]:
            changes += _changes("same", before[i:j])
        else:
            changes += [*_changes("removed", before[i:j]), *_changes("added", after[k:m])]
    return changes


def _changes(kind: Literal["same", "added", "removed"], lines: Iterable[str]) -> list[Change]:
    return [Change(kind, line) for line in lines]


def _kept(connection: Connection, guideline: Guideline) -> bool:
    g = schema.guidelines
    return bool(connection.scalar(select(func.count()).where(g.c.set == guideline.set, g.c.version == guideline.version)))


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8", where=str(path), hint="save it as UTF-8") from error
    if not text.strip() or len(text) > LONGEST:
        what = "the guideline is empty" if not text.strip() else f"the guideline is longer than {LONGEST} characters"
        raise InputError(what, where=str(path), hint="edit the file, or delete it to use the built-in guideline")
    return text


def _version(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
