"""Import of files, row by row: prompts, demonstrations, comparisons, rankings, thumbs, spans and raw text.

A malformed row is refused with its file, line and field. A valid row that teaches nothing (an empty response, two equal ones, a
repetition) is dropped and counted. Ids are hashes of the content, so importing a file again adds nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from accord.data import formats_judged, formats_own, formats_probes
from accord.data.archives import Encoding, Tell, kind_of, text_lines
from accord.data.documents import documents_of
from accord.data.pictures import Gathered
from accord.data.registry import FORMATS, Detection, Format, detect, detected, format_of, known_fields, tell_unread
from accord.data.rendered import without_ends
from accord.data.row_extra import with_extra
from accord.data.row_pictures import laid_out, refuse_in_answers
from accord.data.row_reader import rows_of
from accord.data.row_records import Known, Record, Take, Taken
from accord.data.row_turns import ASKED
from accord.data.rows import HALF_A_PAIR, Fault, Row
from accord.data.sources import Source, files_of, published_split, split_in_column
from accord.data.unread import name_of, refusal, value_at, without
from accord.errors import InputError
from accord.records import Demonstration, Labeler, MediaFile, Message, Prompt, Ranking, Response, Split, Thumb

Reject = Callable[[Fault], object]
Outcome = tuple[Row | None, Taken | Fault]
"""A row, if it can be read, and its records or its fault."""

SAMPLE, SAMPLE_SIZE = 100, 8_000_000
"""Rows of a file, and characters in them, by which the formats that occur in it are known before the first one is read."""
_ADVICE = "fix the row, map a column with --map FIELD=COLUMN, or skip bad rows with --skip-bad"
"""Advice for a row whose error has no hint of its own."""


@dataclass
class Tally:
    """Counts of an import: ``read`` is the sum of ``kept`` and all that was ``dropped``."""

    formats: dict[str, None] = field(default_factory=dict[str, None])
    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Parts left out of rows that were kept."""
    unread: Counter[str] = field(default_factory=Counter[str])
    """Columns that no format reads, with the number of rows in which they hold something."""
    extra: Counter[str] = field(default_factory=Counter[str])
    """Columns that were kept with the prompt."""
    stops: dict[str, InputError] = field(default_factory=dict[str, InputError])
    """What stops the import: the error by columns."""
    publishers: Counter[str] = field(default_factory=Counter[str])
    """Rows kept by the split that their publisher put them in."""

    @property
    def metrics(self) -> dict[str, Any]:
        counters = {"left_out": self.left_out, "unread": self.unread, "extra": self.extra}
        parts = {name: dict(sorted(counter.items())) for name, counter in counters.items() if counter}
        counts = {"format": ", ".join(self.formats), "read": self.read, "kept": self.kept}
        theirs = {"publisher_splits": dict(sorted(self.publishers.items()))} if self.publishers else {}
        return {**counts, "dropped": dict(sorted(self.dropped.items())), **parts, **theirs}


class Intake:
    """Reads sources row by row, yields the records of each row, and counts.

    Args:
        sources: the sources to read, one after another.
        split: the split of every prompt; ``keep`` is its publisher's; when None, prompts are split by user.
        reject: receives unusable rows, which are then dropped as "bad row"; when None, the first one raises.
        tell: receives the number of bytes read from files.
        pictures: where pictures of the rows are kept; when None, in a folder that goes with this object.
        refuse: whether a column stops the import that carries a judgement and that no format reads; when False, ``tally.stops`` has why.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        split: Split | Literal["keep"] | None = None,
        reject: Reject | None = None,
        tell: Tell = id,
        refuse: bool = True,
        pictures: Gathered | None = None,
    ) -> None:
        self.sources, self.reject, self.tell, self.refuse = sources, reject, tell, refuse
        self.split: Split | Literal["keep"] | None = split
        self.tally = Tally()
        self.pictures = pictures or Gathered()
        self._people = dict[str, Labeler]()
        self._seen = set[int]()

    def rows(self) -> Iterator[tuple[Row, Taken]]:
        """Yield each kept row with its records.

        Raises:
            UsageError: a format is unknown.
            InputError: a source is missing, empty or broken, or a row is malformed and ``reject`` is None.
        """
        for source in self.sources:
            before, dropped = self.tally.read, set[str]()
            for row, taken in outcomes(source, self.tally.formats, self.tell, dropped, self.pictures):
                self.tally.read += 1
                published = published_split(row, source.path) if row is not None else None
                if isinstance(taken, Taken) and row is not None:
                    taken = self._with_extra(row, taken, source)
                taken = taken if isinstance(taken, Fault) or row is None else self._checked(row, taken, published)
                if isinstance(taken, Fault):
                    self._refuse(taken)
                elif taken.dropped:
                    self.tally.dropped[taken.dropped] += 1
                elif row is not None:
                    self.tally.kept += 1
                    self.tally.left_out.update(taken.left_out)
                    yield row, taken
            if self.tally.read == before:
                raise InputError("the source is empty", where=str(source.path))
            if missing := [name for name in source.drop if name not in dropped]:
                raise InputError(
                    f"there is no column {missing[0]!r} to drop", where=str(source.path), hint="--drop names a column as it is"
                )

    def media(self, records: Iterable[Record]) -> Iterator[MediaFile]:
        """Yield the files of the pictures in prompts among records, each once. One that the database already has may be without."""
        for digest in media_of(records):
            file = self.pictures.file(digest)
            if file is not None:
                yield file

    def _with_extra(self, row: Row, taken: Taken, source: Source) -> Taken:
        """Return a row's records, with the columns that were not read in ``Prompt.extra`` where that is wanted.

        Raises:
            InputError: a column that carries a judgement is not read.
        """
        kept = dict.fromkeys(key for record in taken.records if isinstance(record, Prompt) for key in record.extra)
        self.tally.extra.update(kept.keys())
        if not taken.unread:
            return taken
        names = Counter(dict.fromkeys(map(name_of, taken.unread), 1))
        if source.keep_extra and any(isinstance(record, Prompt) for record in taken.records):
            self.tally.extra.update(names)
            extra = {
                name_of(path) if path.startswith("[") else path: value_at(row.value, path.removeprefix(row.inside)) for path in taken.unread
            }
            return replace(taken, records=tuple(with_extra(record, extra) for record in taken.records))
        if self.split == "keep" and split_in_column(row):
            names.pop("split", None)  # the prompts' split was read from it
        self.tally.unread.update(names)
        key = ", ".join(dict.fromkeys(taken.stops))
        if (
            key
            and key not in self.tally.stops
            and (error := refusal(row, next(reversed(self.tally.formats), ""), taken.stops, known_fields()))
        ):
            if self.refuse:
                raise error
            self.tally.stops[key] = error
        return taken

    def _refuse(self, fault: Fault) -> None:
        if self.reject is None:
            error = fault.error
            raise error if error.hint else InputError(error.what, where=error.where, hint=_ADVICE)
        self.reject(fault)
        self.tally.dropped["bad row"] += 1

    def _checked(self, row: Row, taken: Taken, published: Split | None) -> Taken | Fault:
        """Return a row's records, unless it repeats an earlier row or changes a labeler's group."""
        for person in taken.records:
            if isinstance(person, Labeler) and self._people.setdefault(person.id, person) != person:
                known = self._people[person.id]
                what = f"labeler {person.id} was in group {known.group!r} as a {known.kind} in an earlier row"
                return row.fault(row.error("group", what))
        if taken.dropped:
            return taken
        ids = [_key(record) for record in taken.records if not isinstance(record, Labeler)]
        ids += [repr(sorted(record.extra.items())) for record in taken.records if isinstance(record, Prompt) and record.extra]
        key = hash((*ids, *taken.documents))
        if key in self._seen:
            return Taken(dropped="repetition")
        self._seen.add(key)
        self.tally.publishers.update([published] if published else [])
        split = published if self.split == "keep" else self.split
        if self.split == "keep" and not split and any(isinstance(record, Prompt) for record in taken.records):
            hint = "give the split: --split train; splits are told by a column split, or by the names of files and their folders"
            return row.fault(row.error("split", "names no split to keep", hint))
        return replace(taken, records=tuple(_of_split(record, split) for record in taken.records), measured=False) if split else taken


def media_of(records: Iterable[Record]) -> dict[str, None]:
    """Return the digests of the pictures in prompts among records, in order."""
    asked = (record for record in records if isinstance(record, Prompt))
    return dict.fromkeys(each.digest for prompt in asked for message in prompt.messages for each in message.media)


def _of_split(record: Record, split: Split) -> Record:
    if isinstance(record, Prompt):
        return replace(record, split=split)
    if isinstance(record, Demonstration | Thumb):
        return replace(record, prompt=replace(record.prompt, split=split))
    return record


def outcomes(source: Source, formats: dict[str, None], tell: Tell, dropped: set[str] | None, pictures: Gathered) -> Iterator[Outcome]:
    """Yield the outcome of each row and add the names of the formats found to ``formats``, and of dropped columns to ``dropped``."""
    if source.format != "auto":
        format_of(source.format)
    chosen = drawn(source)
    everything = _everything(source, formats, tell, dropped=set() if dropped is None else dropped, pictures=pictures)
    if chosen is not None:
        everything = (pair for number, pair in enumerate(everything) if number in chosen)
    return islice(everything, source.limit)


def drawn(source: Source) -> set[int] | None:
    """Return the row numbers of a random sample of the source; None for every row."""
    if source.sample is None:
        return None
    count = counted(source)
    return set(random.Random(source.seed).sample(range(count), min(source.sample, count)))


def counted(source: Source) -> int:
    """Return the number of rows in a source, including bad ones."""
    return sum(1 for _ in _everything(source, {}, id, count_only=True))


def _everything(
    source: Source,
    formats: dict[str, None],
    tell: Tell,
    *,
    count_only: bool = False,
    dropped: set[str] | None = None,
    pictures: Gathered | None = None,
) -> Iterator[Outcome]:
    files = files_of(source.path)
    known = _known(files, source.encoding) if len(files) > 1 and source.format in ("auto", "responses", "mt-bench-answers") else Known()
    if source.format == "responses" and source.path.is_dir():
        files = _with_responses(files, source)
    for file in files:
        if kind_of(file) == ".txt":
            yield from _text_file(source, file, formats, tell)
            continue
        rows = (_named(row, source, set() if dropped is None else dropped) for row in rows_of(file, tell, source.encoding))
        if pictures is not None:
            rows = map(partial(_laid_out, pictures=pictures), rows)
        yield from _file(source, rows, known, formats, count_only=count_only)


def _text_file(source: Source, file: Path, formats: dict[str, None], tell: Tell) -> Iterator[Outcome]:
    if source.format not in ("auto", "text"):
        raise InputError(f"a .txt file holds raw text, not {source.format}", where=str(file))
    formats.setdefault("text")
    yield from _texts(file, tell, source.encoding)


def _file(source: Source, rows: Iterator[Row | Fault], known: Known, formats: dict[str, None], *, count_only: bool) -> Iterator[Outcome]:
    """Yield the outcomes of a file's rows: each row goes to its format, and adjacent rows of one format go together."""
    faults, sample = list[Fault](), list[Row | Fault]()
    size = 0
    for row in rows:
        sample.append(row)
        size += sum(len(value) for value in row.value.values() if isinstance(value, str)) if isinstance(row, Row) else 0
        if len(sample) == SAMPLE or size > SAMPLE_SIZE:
            break
    sound = [row for row in sample if isinstance(row, Row)]
    detection, thumbs = Detection(sound) if source.format == "auto" else None, formats_judged.thumb_columns([row.value for row in sound])
    told = (_told(row, detection, source.format, faults) for row in chain(sample, rows))
    for name, run in groupby((pair for pair in told if pair is not None), key=itemgetter(0)):
        formats.setdefault(name)
        format, take = detected(name), _take(name, known, thumbs)
        for row in format.gather(row for _, row in run):
            yield from _outcome(faults)
            if isinstance(row, Fault):
                yield None, row
            else:
                yield row, Taken() if count_only else _tried(format, take, row)
    yield from _outcome(faults)


def _told(row: Row | Fault, detection: Detection | None, format: str, faults: list[Fault]) -> tuple[str, Row] | None:
    """Return a row with the name of its format; put one that is of none among the faults."""
    if isinstance(row, Fault):
        faults.append(row)
        return None
    try:
        return (detection.name(row) if detection else format), row
    except InputError as error:
        faults.append(row.fault(error))
        return None


def _outcome(faults: list[Fault]) -> Iterator[Outcome]:
    """Yield the faults found so far, which are then no longer waiting."""
    waiting = faults[:]
    faults.clear()
    yield from ((None, fault) for fault in waiting)


def _take(name: str, known: Known, thumbs: frozenset[str]) -> Take:
    if name == "thumbs":
        return partial(formats_judged.thumbs, columns=thumbs)
    if name == "responses":
        return partial(formats_own.responses, known=known)
    return partial(formats_probes.mt_bench_answers, known=known) if name == "mt-bench-answers" else detected(name).take


def _tried(format: Format, take: Take, row: Row) -> Taken | Fault:
    try:
        taken = tell_unread(format, row, take(row))
        refuse_in_answers([each.text for each in taken.records if isinstance(each, Response | Demonstration)], row)
        return replace(taken, measured=True) if format.measures else taken
    except InputError as error:
        return row.fault(error)
    except UnicodeEncodeError:  # of a text that is nested too deep for the row to have checked it, when its digest was taken
        return row.fault(InputError(HALF_A_PAIR, where=row.where))


def _named(row: Row | Fault, source: Source, dropped: set[str]) -> Row | Fault:
    """Return a row without its dropped columns and with its mapped ones."""
    if isinstance(row, Fault):
        return row
    if source.drop:
        value, found = without(row.value, source.drop)
        dropped |= found
        row = row.like(value)
    if not source.columns:
        return row
    try:
        return row.named(source.columns)
    except InputError as error:
        return row.fault(error)


def _laid_out(row: Row | Fault, pictures: Gathered) -> Row | Fault:
    """Return a row whose pictures are read."""
    if isinstance(row, Fault):
        return row
    try:
        return without_ends(laid_out(row, pictures), ASKED)
    except InputError as error:
        return row.fault(error)


def _texts(file: Path, tell: Tell, encoding: Encoding) -> Iterator[Outcome]:
    """Yield the documents of a text file. Documents before a fault are kept, as with rows."""
    number = 0
    try:
        for number, said in enumerate(documents_of(text_lines(file, tell, encoding)), 1):
            yield Row({"text": said}, file, number), formats_own.document(said)
    except InputError as error:
        yield None, Fault(error, "")


def _known(files: Sequence[Path], encoding: Encoding) -> Known:
    """Return the prompts of tasks and questions in files that stand beside files of answers to them."""
    by_text, by_number = dict[tuple[Message, ...], Prompt](), dict[str, Prompt]()
    for file, name in _kinds(files, encoding).items():
        if name not in ("self-instruct", "mt-bench"):
            continue
        for row in rows_of(file, encoding=encoding):
            taken = _tried(FORMATS[name], FORMATS[name].take, row) if isinstance(row, Row) else row
            if isinstance(row, Fault) or isinstance(taken, Fault):
                continue
            prompt = taken.records[0] if taken.records else None
            if isinstance(prompt, Prompt):
                by_text.setdefault(prompt.messages, prompt)
                by_number.setdefault(row.word("question_id"), prompt)
    return Known(by_text, by_number)


def _kinds(files: Sequence[Path], encoding: Encoding) -> dict[Path, str]:
    """Return the format of each file by its first row; files whose format cannot be detected are left to their own import."""
    kinds = dict[Path, str]()
    for file in files:
        first = next(iter(rows_of(file, encoding=encoding)), None) if kind_of(file) != ".txt" else None
        if isinstance(first, Row):
            try:
                kinds[file] = detect(first)
            except InputError:
                continue
    return kinds


def _with_responses(files: Sequence[Path], source: Source) -> list[Path]:
    """Return the files of a folder that hold models' responses; task files beside them only supply the prompts."""
    answered = [file for file, name in _kinds(files, source.encoding).items() if name == "responses"]
    if not answered:
        hint = "add a file whose rows have instruction, input and response"
        raise InputError("no file in the folder holds responses", where=str(source.path), hint=hint)
    return answered


def _completed(before: Prompt, again: Prompt) -> Prompt:
    """Return a prompt with what its ``extra`` says in either of two rows, as the store completes it; what differs stays as it was."""
    return replace(again, extra={**again.extra, **before.extra})


def _key(record: Record) -> str:
    return repr(record) if isinstance(record, Thumb) else record.id


@dataclass(frozen=True)
class Imported:
    """The content of small sources, in memory."""

    prompts: Sequence[Prompt]
    labelers: Sequence[Labeler]
    demonstrations: Sequence[Demonstration]
    responses: Sequence[Response]
    rankings: Sequence[Ranking]
    others: Sequence[Record]
    """Thumbs and spans."""
    documents: Sequence[str]
    media: Sequence[MediaFile]
    """The files of pictures in the prompts."""
    metrics: dict[str, Any]
    """Counts: ``format``, ``read``, ``kept``, and ``dropped`` by reason."""


def read(path: Path, format: str = "auto", limit: int | None = None, *, reject: Reject | None = None, **options: Any) -> Imported:
    """Read a whole source into memory.

    Args:
        path: a file, a folder, or a data set of the hub.
        format: a key of ``FORMATS``, or ``auto``, which detects the format from the first row's fields.
        limit: read at most this many rows (for raw text: documents).
        reject: receives unusable rows.
        options: further fields of ``Source``.

    Raises:
        UsageError: the format is unknown, or the limit is below 1.
        InputError: the file is missing, empty, broken or not UTF-8, or a row is malformed; the error names file, line and field.
    """
    intake = Intake([Source(path, format, limit=limit, **options)], reject=reject)
    records, documents = dict[str, Record](), list[str]()
    for _, taken in intake.rows():
        for record in taken.records:
            before = records.get(_key(record))
            records[_key(record)] = _completed(before, record) if isinstance(before, Prompt) and isinstance(record, Prompt) else record
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
        media=list(intake.media(every)),
        metrics=intake.tally.metrics,
    )
