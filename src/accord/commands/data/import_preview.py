"""The dry run of `accord import`: the first rows as a model's tokens, with the learned part marked; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from rich.console import Console
from rich.text import Text

from accord.data.importers import Intake
from accord.data.mixtures import parts_of
from accord.data.row_records import Taken
from accord.data.rows import TOGETHER, Fault, Row, empty
from accord.data.sources import Source
from accord.data.template_variables import open_tokenizer
from accord.data.templates import ChatFormat, chat_format, plainly, raw_format
from accord.data.tokenizers import document_frame
from accord.data.unread import name_of
from accord.errors import InputError
from accord.records import Demonstration, Labeler, Message, Prompt, Ranking, Response, Split, Thumb, in_words
from accord.runtime.project import Project

ROWS = 10


def preview(project: Project, source: Source, *, split: Split | Literal["keep"] | None, skip_bad: bool, model: str) -> dict[str, Any]:
    """Read a whole source and store nothing; return its counts, and in ``rows`` the first rows, each with its learned part.

    ``columns`` says what each column became in the first rows, and ``stops`` why the import would be refused.

    Args:
        model: whose tokens are shown: a model of the project, a folder or a hub name. When empty, the project's SFT or base model;
            when it has neither, the text alone.

    Raises:
        InputError: the source or a row of it cannot be used.
        ModelError: there is no such model.
    """
    model_format, rows, faults = _format(project, model), list[dict[str, Any]](), list[Fault]()
    intake = Intake(parts_of(source), split=split, reject=faults.append if skip_bad else None, refuse=False)
    columns = dict[str, list[str]]()
    for row, taken in intake.rows():
        if len(rows) < ROWS:
            _add_columns(columns, row, taken)
            kind, examples = next(_kinds(taken), ("", list[_Example]()))
            rows.append({"where": row.where, "kind": kind, "examples": [_rendered(example, model_format) for example in examples]})
    for name in intake.tally.unread:
        columns.setdefault(name, ["not read"])
    stops = [f"{error.where}: {error.what} ({error.hint})" for error in intake.tally.stops.values()]
    return {**intake.tally.metrics, "rows": rows, "columns": columns, "stops": stops}


def show_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows: learned text in green, the text before it dim."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text.assemble(("learned", "bold green"), (", read but not learned", "dim")))
    for row in rows:
        for example in row["examples"]:
            said = f"{row['kind']} {example['label']}".strip()
            tokens = f", {len(example['tokens'])} tokens, {sum(example['keep'])} learned" if example["tokens"] else ""
            console.print(Text(f"\n{row['where']}  {said}{tokens}  {example['note']}".rstrip(), "bold"))
            console.print(Text.assemble((example["context"], "dim"), (example["learned"], "green")))


def show_columns(columns: Mapping[str, Sequence[str]], stops: Sequence[str]) -> None:
    """Print what became of each column, and why the import would be refused."""
    console = Console(highlight=False, soft_wrap=True)
    console.print()
    for name, became in columns.items():
        console.print(Text.assemble((name, "bold"), f" → {', '.join(became)}"))
    for stop in stops:
        console.print(Text(f"the import would stop: {stop}", "bold red"))


def _add_columns(columns: dict[str, list[str]], row: Row, taken: Taken) -> None:
    """Add what a row's columns became: the records in which their texts stand, ``Prompt.extra``, or nothing."""
    extra = {key for record in taken.records if isinstance(record, Prompt) for key in record.extra}
    unread = {name_of(path) for path in taken.unread}
    said = list(_said(taken))
    for column, value in row.value.items():
        if empty(value) or column == TOGETHER:
            continue
        texts = set(_texts(value))
        became = [kind for kind, text in said if any(part == text or (len(part) > 20 and part in text) for part in texts)]
        if column in extra:
            became = ["Prompt.extra"]
        elif column in unread:
            became = ["not read"]
        known = columns.setdefault(column, [])
        known += [kind for kind in dict.fromkeys(became or ["read"]) if kind not in known]
    for name in unread - extra - row.value.keys():
        columns.setdefault(name, ["not read"])


def _said(taken: Taken) -> Iterator[tuple[str, str]]:
    """The texts of a row's records, each with the name of its place."""
    for record in taken.records:
        if isinstance(record, Prompt):
            yield from ((f"{message.role} turn", message.content.strip()) for message in record.messages)
            yield from ((name, text) for name in ("user", "use_case", "source") if (text := str(getattr(record, name))))
        elif isinstance(record, Response):
            yield from (("response", record.text.strip()), ("model", record.model))
        elif isinstance(record, Demonstration):
            yield "demonstration", record.text.strip()
        elif isinstance(record, Labeler):
            yield from (("labeler", record.id), ("group", record.group))
        elif isinstance(record, Ranking):
            yield "time of the ranking", record.at
    yield from (("text", document.strip()) for document in taken.documents)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, dict):
        for item in cast(dict[str, Any], value).values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in cast(list[Any], value):
            yield from _texts(item)


@dataclass(frozen=True)
class _Example:
    """A record as it is shown: a conversation and the text that follows it."""

    label: str
    prompt: Prompt
    text: str | None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation."""
        return self.prompt.messages


def _kinds(taken: Taken) -> Iterator[tuple[str, list[_Example]]]:
    """The records of a row by kind, the most telling first."""
    prompts = {record.id: record for record in taken.records if isinstance(record, Prompt)}
    responses = {record.id: record for record in taken.records if isinstance(record, Response)}
    written: list[_Example] = []
    for record in taken.records:
        if isinstance(record, Ranking):
            ranks, asked = zip(record.response_ids, record.ranks, strict=True), prompts[record.prompt_id]
            yield "ranking", [_Example(f"rank {rank}", asked, responses[id].text) for id, rank in ranks]
        elif isinstance(record, Thumb):
            yield "thumb", [_Example("up" if record.up else "down", record.prompt, record.response.text)]
        elif isinstance(record, Demonstration):
            written.append(_Example("", record.prompt, record.text))
    if written:
        yield "demonstration", written
    if responses:
        yield "response", [_Example(response.model, prompts[response.prompt_id], response.text) for response in responses.values()]
    if prompts:
        yield "prompt", [_Example("", asked, None) for asked in prompts.values()]
    yield "text", [_Example("", Prompt("", ()), document) for document in taken.documents]


def _rendered(example: _Example, chat_format: ChatFormat | None) -> dict[str, Any]:
    pictures = any(each.kind == "image" for message in example.messages for each in message.media)
    if chat_format is None or pictures:
        context, learned = plainly([Message(message.role, in_words(message)) for message in example.messages], example.text)
        note = "as text: a model's processor makes tokens of pictures" if pictures else "as text: the project has no model yet"
        return {"label": example.label, "tokens": [], "keep": [], "note": note, "context": context, "learned": learned}
    try:
        prompt = chat_format.asked(example.prompt) if example.messages else []
        response = _learned(chat_format, example)
    except InputError as error:  # no template of ours stands in for one that refuses
        asked = "\n".join(f"{message.role}: {message.content}" for message in example.messages)
        note = f"this model cannot be trained on it: {error.what} ({error.hint})"
        return {"label": example.label, "tokens": [], "keep": [], "note": note, "context": asked, "learned": ""}
    tokens = [*prompt, *response]
    cut = 0 < chat_format.context < len(tokens)
    return {
        "label": example.label,
        "tokens": tokens,
        "keep": [0] * len(prompt) + [1] * len(response),
        "note": f"longer than the context of {chat_format.context}: cut on the left" if cut else "",
        "context": chat_format.tokenizer.decode(prompt),
        "learned": chat_format.tokenizer.decode(response),
    }


def _learned(chat_format: ChatFormat, example: _Example) -> list[int]:
    if example.text is None:
        return []
    if not example.messages:
        begin, end = document_frame(chat_format.tokenizer)
        return [*begin, *chat_format.tokenizer(example.text, add_special_tokens=False, split_special_tokens=True)["input_ids"], *end]
    return chat_format.answered(example.prompt, example.text)


def _format(project: Project, model: str) -> ChatFormat | None:
    present = project.models()
    name = model or next((name for name in ("sft", "base") if name in present), "")
    if not name:
        return None
    tokenizer = open_tokenizer(project, project.model(name) if name in present else name)
    return chat_format(tokenizer) if tokenizer.chat_template else raw_format(tokenizer)
