"""What comes in from files: prompts, demonstrations, comparisons, rankings, thumbs, spans and raw text, a row at a time.

A row of the wrong form is refused by file, line and field. A row that is sound but teaches nothing (an empty response, two equal
ones, a repetition) is dropped and counted. Ids are hashes of the content, so that the same file again adds nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from accord.data import formats_own, formats_probes
from accord.data.archives import Tell, kind_of, text_lines
from accord.data.documents import documents_of
from accord.data.registry import FORMATS, detect, format_of
from accord.data.row_reader import rows_of
from accord.data.row_records import Known, Record, Take, Taken
from accord.data.rows import Fault, Row
from accord.data.sources import Source, files_of
from accord.errors import InputError
from accord.records import Demonstration, Labeler, Message, Prompt, Ranking, Response, Split, Thumb

Reject = Callable[[Fault], object]
Outcome = tuple[Row | None, Taken | Fault]
"""A row, if it can be read, and what came of it."""

_ADVICE = "mend it, take the field from a column by --map FIELD=COLUMN, or leave such rows out with --skip-bad"
"""What to do about a row whose error says no more."""


@dataclass
class Tally:
    """What was read: ``read`` is ``kept`` and all that was ``dropped``."""

    formats: dict[str, None] = field(default_factory=dict[str, None])
    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Parts of rows that were kept."""

    @property
    def figures(self) -> dict[str, Any]:
        parts = {"left_out": dict(sorted(self.left_out.items()))} if self.left_out else {}
        figures = {"format": ", ".join(self.formats), "read": self.read, "kept": self.kept}
        return {**figures, "dropped": dict(sorted(self.dropped.items())), **parts}


class Intake:
    """Reads sources row by row, passes on what came of each, and counts.

    Args:
        sources: what is read, one after another.
        split: the split of every prompt; by their users when None.
        reject: takes rows that cannot be used, which are then dropped as "bad row"; when None the first one ends the reading.
        tell: is told the number of bytes read from files.
    """

    def __init__(self, sources: Sequence[Source], *, split: Split | None = None, reject: Reject | None = None, tell: Tell = id) -> None:
        self.sources, self.split, self.reject, self.tell = sources, split, reject, tell
        self.tally = Tally()
        self._people = dict[str, Labeler]()
        self._seen = set[int]()

    def rows(self) -> Iterator[tuple[Row, Taken]]:
        """Each kept row with what came of it.

        Raises:
            UsageError: a format is unknown.
            InputError: a source is missing, empty or broken, or a row has the wrong form and nothing takes rejects.
        """
        for source in self.sources:
            before = self.tally.read
            for row, taken in outcomes(source, self.tally.formats, self.tell):
                self.tally.read += 1
                taken = taken if isinstance(taken, Fault) or row is None else self._checked(row, taken)
                if isinstance(taken, Fault):
                    self._refuse(taken)
                elif taken.dropped:
                    self.tally.dropped[taken.dropped] += 1
                elif row is not None:
                    self.tally.kept += 1
                    self.tally.left_out.update(taken.left_out)
                    yield row, taken
            if self.tally.read == before:
                raise InputError("there is nothing in it", where=str(source.path))

    def _refuse(self, fault: Fault) -> None:
        if self.reject is None:
            error = fault.error
            raise error if error.hint else InputError(error.what, where=error.where, hint=_ADVICE)
        self.reject(fault)
        self.tally.dropped["bad row"] += 1

    def _checked(self, row: Row, taken: Taken) -> Taken | Fault:
        """What came of a row, unless it came of an earlier one, or puts a labeler into another group."""
        for person in taken.records:
            if isinstance(person, Labeler) and self._people.setdefault(person.id, person) != person:
                known = self._people[person.id]
                what = f"labeler {person.id} was in group {known.group!r} as a {known.kind} in an earlier row"
                return row.fault(row.error("group", what))
        if taken.dropped:
            return taken
        key = hash((*(_key(record) for record in taken.records if not isinstance(record, Labeler)), *taken.documents))
        if key in self._seen:
            return Taken(dropped="repetition")
        self._seen.add(key)
        return replace(taken, records=tuple(map(self._of_split, taken.records))) if self.split else taken

    def _of_split(self, record: Record) -> Record:
        split = self.split
        if split and isinstance(record, Prompt):
            return replace(record, split=split)
        return replace(record, prompt=replace(record.prompt, split=split)) if split and isinstance(record, Demonstration) else record


def outcomes(source: Source, formats: dict[str, None], tell: Tell = id) -> Iterator[Outcome]:
    """For each row what came of it; ``formats`` gets the names of those that were met."""
    if source.format != "auto":
        format_of(source.format)
    chosen = drawn(source)
    everything = _everything(source, formats, tell)
    if chosen is not None:
        everything = (pair for number, pair in enumerate(everything) if number in chosen)
    return islice(everything, source.limit)


def drawn(source: Source) -> set[int] | None:
    """The numbers of the rows that a sample takes, from all that are there; None for every row."""
    if source.sample is None:
        return None
    count = counted(source)
    return set(random.Random(source.seed).sample(range(count), min(source.sample, count)))


def counted(source: Source) -> int:
    """How many rows a source holds, bad ones included."""
    return sum(1 for _ in _everything(source, {}, id, count_only=True))


def _everything(source: Source, formats: dict[str, None], tell: Tell, *, count_only: bool = False) -> Iterator[Outcome]:
    files = files_of(source.path)
    known = _known(files) if len(files) > 1 and source.format in ("auto", "responses", "mt-bench-answers") else Known()
    if source.format == "responses" and source.path.is_dir():
        files = _with_responses(files, source.path)
    for file in files:
        yield from _file(source, file, known, formats, tell, count_only=count_only)


def _file(source: Source, file: Path, known: Known, formats: dict[str, None], tell: Tell, *, count_only: bool) -> Iterator[Outcome]:
    if kind_of(file) == ".txt":
        if source.format not in ("auto", "text"):
            raise InputError(f"a .txt file holds raw text, not {source.format}", where=str(file))
        formats.setdefault("text")
        yield from _texts(file, tell)
        return
    rows = (_named(row, source) for row in rows_of(file, tell))
    faults, first = list[Fault](), None
    for first in rows:
        if isinstance(first, Row):
            break
        yield None, first
    if not isinstance(first, Row):
        return
    try:
        name = detect(first) if source.format == "auto" else source.format
    except InputError as error:
        yield None, first.fault(error)
        return
    formats.setdefault(name)
    take = _take(name, known)
    for row in format_of(name).gather(_sound(chain([first], rows), faults)):
        yield from ((None, fault) for fault in faults)
        faults.clear()
        yield (None, row) if isinstance(row, Fault) else (row, Taken() if count_only else _tried(take, row))
    yield from ((None, fault) for fault in faults)


def _take(name: str, known: Known) -> Take:
    if name == "responses":
        return partial(formats_own.responses, known=known)
    return partial(formats_probes.mt_bench_answers, known=known) if name == "mt-bench-answers" else format_of(name).take


def _tried(take: Take, row: Row) -> Taken | Fault:
    try:
        return take(row)
    except InputError as error:
        return row.fault(error)


def _named(row: Row | Fault, source: Source) -> Row | Fault:
    if isinstance(row, Fault) or not source.columns:
        return row
    try:
        return row.named(source.columns)
    except InputError as error:
        return row.fault(error)


def _sound(rows: Iterator[Row | Fault], faults: list[Fault]) -> Iterator[Row]:
    """The rows that can be read; the others are put aside."""
    for row in rows:
        if isinstance(row, Row):
            yield row
        else:
            faults.append(row)


def _texts(file: Path, tell: Tell) -> Iterator[Outcome]:
    """The documents of a text file. What was read before a fault stands, as with rows."""
    number = 0
    try:
        for number, said in enumerate(documents_of(text_lines(file, tell)), 1):
            yield Row({"text": said}, file, number), formats_own.document(said)
    except InputError as error:
        yield None, Fault(error, "")


def _known(files: Sequence[Path]) -> Known:
    """The prompts of tasks and questions that stand beside files of answers to them."""
    by_text, by_number = dict[tuple[Message, ...], Prompt](), dict[str, Prompt]()
    for file, name in _kinds(files).items():
        for row in rows_of(file) if name in ("self-instruct", "mt-bench") else ():
            taken = _tried(FORMATS[name].take, row) if isinstance(row, Row) else row
            if isinstance(row, Row) and isinstance(taken, Taken) and taken.records and isinstance(prompt := taken.records[0], Prompt):
                by_text.setdefault(prompt.messages, prompt)
                by_number.setdefault(row.word("question_id"), prompt)
    return Known(by_text, by_number)


def _kinds(files: Sequence[Path]) -> dict[Path, str]:
    """The formats of files by their first rows; files of which it cannot be told are left to their own import."""
    kinds = dict[Path, str]()
    for file in files:
        first = next(iter(rows_of(file)), None) if kind_of(file) != ".txt" else None
        if isinstance(first, Row):
            try:
                kinds[file] = detect(first)
            except InputError:
                continue
    return kinds


def _with_responses(files: Sequence[Path], folder: Path) -> list[Path]:
    """Of a folder of several models' responses those files; the tasks beside them only say whose the prompts are."""
    answered = [file for file, name in _kinds(files).items() if name == "responses"]
    if not answered:
        raise InputError("a folder without a file of responses", where=str(folder), hint="rows with instruction, input and response")
    return answered


def _key(record: Record) -> str:
    return repr(record) if isinstance(record, Thumb) else record.id


@dataclass(frozen=True)
class Imported:
    """What small sources hold, in memory."""

    prompts: Sequence[Prompt]
    labelers: Sequence[Labeler]
    demonstrations: Sequence[Demonstration]
    responses: Sequence[Response]
    rankings: Sequence[Ranking]
    others: Sequence[Record]
    """Thumbs and spans."""
    documents: Sequence[str]
    figures: dict[str, Any]
    """``format``, ``read``, ``kept``, and ``dropped`` by reason."""


def read(path: Path, format: str = "auto", limit: int | None = None, *, reject: Reject | None = None, **options: Any) -> Imported:
    """Reads a whole source into memory.

    Args:
        path: a file, a folder, or a data set of the hub.
        format: a key of ``FORMATS``, or ``auto``, which looks at the first row's fields.
        limit: read at most so many rows (of raw text: documents).
        reject: takes rows that cannot be used.
        options: further fields of ``Source``.

    Raises:
        UsageError: the format is unknown, or the limit below 1.
        InputError: the file is missing, empty, broken or not UTF-8, or a row has the wrong form; names file, line and field.
    """
    intake = Intake([Source(path, format, limit=limit, **options)], reject=reject)
    records, documents = dict[str, Record](), list[str]()
    for _, taken in intake.rows():
        records.update((_key(record), record) for record in taken.records)
        documents += taken.documents
    every = list(records.values())
    return Imported(
        prompts=[record for record in every if isinstance(record, Prompt)],
        labelers=[record for record in every if isinstance(record, Labeler)],
        demonstrations=[record for record in every if isinstance(record, Demonstration)],
        responses=[record for record in every if isinstance(record, Response)],
        rankings=[record for record in every if isinstance(record, Ranking)],
        others=[record for record in every if not isinstance(record, Prompt | Labeler | Demonstration | Response | Ranking)],
        documents=documents,
        figures=intake.tally.figures,
    )
