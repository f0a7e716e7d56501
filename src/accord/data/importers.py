"""What comes in from files: prompts, demonstrations, comparisons, rankings and raw text, checked whole before any of it is stored.

A row of the wrong form is refused by file, line and field. A row that is sound but teaches nothing (an empty response, two equal
ones, a repetition) is dropped and counted. Ids are hashes of the content, so that the same file again adds nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from accord.data.rows import Row, files_of, read_rows, read_text
from accord.errors import InputError, UsageError
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response, Role, Split

GUIDELINE = Guideline("training", "imported")
"""What rankings from elsewhere were given under: unknown, and meant for training."""
LABELER = "imported"
"""The labeler, and the labeler's group, of rows that name none."""
Kept = TypeVar("Kept", Prompt, Demonstration, Ranking, Response)
DOCUMENT = 2000
"""Characters after which a .txt file is cut at the next blank line into another document; at four times as many, at any line."""


@dataclass(frozen=True)
class Imported:
    """What a file holds, ready for the store and the corpus."""

    prompts: Sequence[Prompt]
    labelers: Sequence[Labeler]
    demonstrations: Sequence[Demonstration]
    responses: Sequence[Response]
    rankings: Sequence[Ranking]
    documents: Sequence[str]
    counts: dict[str, int]
    """``read`` and ``kept`` rows, and for each reason ``dropped: <reason>``."""


class _Found:
    """Records by id, as they are read."""

    def __init__(self) -> None:
        self.prompts: dict[str, Prompt] = {}
        self.labelers: dict[str, Labeler] = {}
        self.demonstrations: dict[str, Demonstration] = {}
        self.responses: dict[str, Response] = {}
        self.rankings: dict[str, Ranking] = {}
        self.documents: list[str] = []
        self.asked: dict[tuple[Message, ...], Prompt] = {}
        """Prompts by what they say, for responses that name theirs by its text alone."""

    def labeler(self, row: Row) -> str:
        """The id of the row's labeler. Raises InputError when an earlier row put it in another group."""
        person = Labeler(row.text("labeler", LABELER), "person", row.text("group", LABELER))
        if self.labelers.setdefault(person.id, person) != person:
            raise row.error("group", f"labeler {person.id} was in group {self.labelers[person.id].group!r} in an earlier row")
        return person.id


def read(path: Path, format: str = "auto", limit: int | None = None) -> Imported:
    """Reads a file or a folder of .txt files; ``auto`` tells the format from the name and the first row's fields.

    Args:
        path: .jsonl or .txt, plain or with .gz behind, or a folder of .txt files.
        format: a key of ``FORMATS``, or ``auto``.
        limit: read at most so many rows (of raw text: documents).

    Raises:
        UsageError: the format is unknown, or the limit below 1.
        InputError: the file is missing, empty, broken or not UTF-8, or a row has the wrong form; names file, line and field.
    """
    if format != "auto" and format not in FORMATS:
        raise UsageError(f"unknown format {format!r}", where="--format", hint=f"one of auto, {', '.join(FORMATS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"the limit is {limit}; at least 1 row", where="--limit")
    found, counts = _Found(), Counter[str]()
    for reason in islice(_outcomes(path, format, found), limit):
        counts["read"] += 1
        counts[f"dropped: {reason}" if reason else "kept"] += 1
    if not counts["read"]:
        raise InputError("there is nothing in it", where=str(path))
    return _imported(found, {"read": counts["read"], "kept": counts["kept"]} | dict(sorted(counts.items())))


def _imported(found: _Found, counts: dict[str, int]) -> Imported:
    return Imported(
        prompts=list(found.prompts.values()),
        labelers=list(found.labelers.values()),
        demonstrations=list(found.demonstrations.values()),
        responses=list(found.responses.values()),
        rankings=list(found.rankings.values()),
        documents=found.documents,
        counts=counts,
    )


def _outcomes(path: Path, format: str, found: _Found) -> Iterator[str]:
    """For each row why it was dropped, or nothing."""
    if path.is_dir() and format == "responses":
        return _models(path, found)
    files = files_of(path)
    if files[0].name.removesuffix(".gz").endswith(".txt"):
        if format not in ("auto", "text"):
            raise InputError(f"a .txt file holds raw text, not {format}", where=str(files[0]))
        return _texts(files, found)
    rows = read_rows(path)
    first = next(rows, None)
    if first is None:
        return iter(())
    take = FORMATS[_detect(first) if format == "auto" else format]
    return (take(row, found) for row in chain([first], rows))


def _models(folder: Path, found: _Found) -> Iterator[str]:
    """The responses of several models, a file each; tasks that stand beside them say whose the prompts are."""
    files = [file for pattern in ("*.jsonl", "*.jsonl.gz") for file in folder.glob(pattern)]
    kinds = {file: _detect(first) for file in sorted(files) if (first := next(read_rows(file), None))}
    for row in chain.from_iterable(read_rows(file) for file, kind in kinds.items() if kind == "self-instruct"):
        prompt = _task_prompt(row)
        found.asked.setdefault(prompt.messages, prompt)
    answered = [file for file, kind in kinds.items() if kind == "responses"]
    if not answered:
        raise InputError("a folder without a file of responses", where=str(folder), hint="rows with instruction, input and response")
    return (_responses(row, found) for file in answered for row in read_rows(file))


def _detect(row: Row) -> str:
    for format, fields in _FIELDS:
        if fields <= row.value.keys():
            return format
    known = "; ".join(" and ".join(sorted(fields)) for _, fields in _FIELDS)
    raise InputError(f"no known format has the fields {', '.join(row.value) or '(none)'}", where=row.where, hint=f"known: {known}")


def _texts(files: Iterable[Path], found: _Found) -> Iterator[str]:
    for document in chain.from_iterable(map(documents_of, map(read_text, files))):
        yield _document(document, found)


def documents_of(text: str) -> Iterator[str]:
    """A long text in documents of whole paragraphs; none is blank."""
    lines, size = list[str](), 0
    for line in text.split("\n"):
        lines.append(line)
        size += len(line) + 1
        if size >= 4 * DOCUMENT or (size >= DOCUMENT and not line.strip()):
            yield from _filled(lines)
            lines, size = [], 0
    yield from _filled(lines)


def _filled(lines: Sequence[str]) -> list[str]:
    text = "\n".join(lines).strip()
    return [text] if text else []


def _document(text: str, found: _Found) -> str:
    if not text.strip():
        return "empty text"
    found.documents.append(text)
    return ""


def _text_row(row: Row, found: _Found) -> str:
    return _document(row.text("text"), found)


def _prompts(row: Row, found: _Found) -> str:
    prompt = _prompt(row)
    return _reason(prompt) or _new(found.prompts, prompt)


def _demonstrations(row: Row, found: _Found) -> str:
    prompt, text = _prompt(row), row.text("response")
    if reason := _reason(prompt, text):
        return reason
    labeler = found.labeler(row)
    _new(found.prompts, prompt)
    return _new(found.demonstrations, Demonstration(_id("d", prompt.id, labeler, text), prompt, text, labeler))


def _rankings(row: Row, found: _Found) -> str:
    prompt, texts, ranks = _prompt(row), row.texts("responses"), row.ranks("ranks")
    if not 2 <= len(texts) <= 9:
        raise row.error("responses", f"a ranking takes 2 to 9 responses, here are {len(texts)}")
    if len(texts) != len(ranks):
        raise row.error("ranks", f"{len(texts)} responses but {len(ranks)} ranks")
    return _reason(prompt, *texts) or _rank(found, row, prompt, texts, ranks)


def _hh_rlhf(row: Row, found: _Found) -> str:
    """Two dialogues that differ in the last answer: what they share is the prompt (Bai et al. 2022, arXiv 2204.05862)."""
    (*asked, chosen), (*other, rejected) = (_dialogue(row, field) for field in ("chosen", "rejected"))
    if asked != other:
        return "dialogues that part before the last answer"
    if not asked or asked[-1].role != "user" or chosen.role != "assistant" or rejected.role != "assistant":
        return "dialogue that does not end with a question and its answer"
    prompt = _make_prompt(row, tuple(asked))
    return _reason(prompt, chosen.content, rejected.content) or _rank(found, row, prompt, (chosen.content, rejected.content), (1, 2))


def _self_instruct(row: Row, found: _Found) -> str:
    """A task and its first input (Wang et al. 2022, arXiv 2212.10560). Tasks written for one application count as one user's."""
    prompt = _task_prompt(row)
    return _reason(prompt) or _new(found.prompts, prompt)


def _task_prompt(row: Row) -> Prompt:
    instruction, given = row.text("instruction").strip(), row.first("instances").text("input", "").strip()
    text = f"{instruction}\n\n{given}" if given else instruction
    return _make_prompt(row, (Message("user", text),), user=row.text("motivation_app", ""))


def _responses(row: Row, found: _Found) -> str:
    """One model's response, to be ranked beside those of others; one that is empty is kept, since a model that says nothing said that.

    The model is the row's, or the file's name. The prompt is one that was read before with the same text, where there is one.
    """
    prompt = _instruction(row) if "instruction" in row.value else _prompt(row)
    if reason := _reason(prompt):
        return reason
    prompt = found.asked.setdefault(prompt.messages, prompt)
    model = row.text("model", row.file.name.removesuffix(".gz").rsplit(".", 1)[0].removesuffix("_predictions"))
    text = row.text("response")
    response = Response(_id("r", prompt.id, model, text, "0"), prompt.id, text, model)
    _new(found.prompts, prompt)
    return _new(found.responses, response)


def _instruction(row: Row) -> Prompt:
    instruction, given = row.text("instruction").strip(), row.text("input", "").strip()
    return _make_prompt(row, (Message("user", f"{instruction}\n\n{given}" if given else instruction),), source="responses")


FORMATS: dict[str, Callable[[Row, _Found], str]] = {
    "hh-rlhf": _hh_rlhf,
    "self-instruct": _self_instruct,
    "rankings": _rankings,
    "responses": _responses,
    "demonstrations": _demonstrations,
    "prompts": _prompts,
    "text": _text_row,
}
_FIELDS: tuple[tuple[str, set[str]], ...] = (
    ("hh-rlhf", {"chosen", "rejected"}),
    ("self-instruct", {"instruction", "instances"}),
    ("rankings", {"responses", "ranks"}),
    ("responses", {"instruction", "input", "response"}),
    ("responses", {"prompt", "response", "model"}),
    ("responses", {"messages", "response", "model"}),
    ("demonstrations", {"prompt", "response"}),
    ("demonstrations", {"messages", "response"}),
    ("prompts", {"prompt"}),
    ("prompts", {"messages"}),
    ("text", {"text"}),
)


def _rank(found: _Found, row: Row, prompt: Prompt, texts: Sequence[str], ranks: Sequence[int]) -> str:
    """Keeps a ranking with what it speaks of. Texts that stand in it twice are told apart by how often they came before."""
    if len(set(texts)) == 1:
        return "identical responses"
    labeler, at, model = found.labeler(row), row.text("at", ""), prompt.source
    numbers = [texts[:i].count(text) for i, text in enumerate(texts)]
    responses = [Response(_id("r", prompt.id, model, text, str(n)), prompt.id, text, model) for text, n in zip(texts, numbers, strict=True)]
    ids = tuple(response.id for response in responses)
    _new(found.prompts, prompt)
    found.responses.update((response.id, response) for response in responses)
    id = _id("k", prompt.id, labeler, *ids, *map(str, ranks), at)
    return _new(found.rankings, Ranking(id, prompt.id, labeler, ids, tuple(ranks), GUIDELINE, at))


def _prompt(row: Row) -> Prompt:
    if "messages" not in row.value:
        return _make_prompt(row, (Message("user", row.text("prompt")),))
    messages = tuple(Message(_role(message), message.text("content")) for message in row.rows("messages"))
    if not messages or messages[-1].role != "user":
        raise row.error("messages", "a prompt ends with the user's turn")
    return _make_prompt(row, messages)


def _role(message: Row) -> Role:
    match message.text("role"):
        case "system" | "user" | "assistant" as role:
            return role
        case other:
            raise message.error("role", f"{other!r} is none of system, user, assistant")


def _make_prompt(row: Row, messages: tuple[Message, ...], user: str = "", source: str = "") -> Prompt:
    """A prompt with a split by its user; prompts without one go by their opening turn, so that no conversation is cut through."""
    user, use_case, source = user or row.text("user", ""), row.text("use_case", "other"), source or row.file.name
    opening = next((message.content for message in messages if message.role == "user"), "")
    id = _id("p", source, use_case, user, *(part for message in messages for part in (message.role, message.content)))
    return Prompt(id, messages, use_case, user, split_of(user or opening), source)


def split_of(key: str) -> Split:
    """80% train, 10% validation, 10% test, by a hash that never changes."""
    share = int(hashlib.sha256(f"split\0{key}".encode()).hexdigest()[:8], 16) / 16**8
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"


def _dialogue(row: Row, field: str) -> tuple[Message, ...]:
    head, *parts = re.split(r"\n\n(Human|Assistant):", row.text(field))
    if head.strip() or parts[:1] != ["Human"]:
        raise row.error(field, 'not a dialogue of "\\n\\nHuman: ...\\n\\nAssistant: ..."')
    turns = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message("user" if name == "Human" else "assistant", text.strip()) for name, text in turns)


def _reason(prompt: Prompt, *responses: str) -> str:
    if not prompt.messages[-1].content.strip():
        return "empty prompt"
    return "" if all(text.strip() for text in responses) else "empty response"


def _new(kept: dict[str, Kept], record: Kept) -> str:
    if record.id in kept:
        return "repetition"
    kept[record.id] = record
    return ""


def _id(kind: str, *parts: str) -> str:
    """A short stable hash; each part is hashed with its length, so that no two lists of parts run together."""
    return f"{kind}-{hashlib.sha256(''.join(f'{len(part)}:{part}' for part in parts).encode()).hexdigest()[:20]}"
