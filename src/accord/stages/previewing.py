"""A look at what an import would bring: rows as a model's tokens, with what is learned of them, and nothing stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from accord.data.importers import Intake
from accord.data.mixtures import parts_of
from accord.data.row_records import Taken
from accord.data.rows import Fault, Row
from accord.data.sources import Source
from accord.data.templates import ChatFormat, chat_format, plainly, raw_format
from accord.data.tokenizers import load_tokenizer
from accord.errors import InputError
from accord.records import Demonstration, Message, Prompt, Ranking, Response, Split, Thumb
from accord.runtime.project import Project

ROWS = 10


def preview_stage(
    project: Project, source: Source, *, split: Split | None = None, skip_bad: bool = False, model: str = ""
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Reads a whole source and stores nothing: the figures, and the first rows with what is learned of each.

    Args:
        model: whose tokens are shown: a model of the project, a folder or a hub name; when empty the project's SFT or base model, and
            without one the text alone.

    Raises:
        InputError: the source or a row of it cannot be used.
        ModelError: there is no such model.
    """
    spoken, shown, faults = _format(project, model), list[dict[str, Any]](), list[Fault]()
    intake = Intake(parts_of(source), split=split, reject=faults.append if skip_bad else None)
    for row, taken in intake.rows():
        if len(shown) < ROWS:
            shown.append(_row(row, taken, spoken))
    return intake.tally.figures, shown


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the rows: what is learned in green, what only leads to it dim."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text.assemble(("learned", "bold green"), (", read but not learned", "dim")))
    for row in rows:
        for example in row["examples"]:
            said = f"{row['kind']} {example['label']}".strip()
            tokens = f", {len(example['tokens'])} tokens, {sum(example['keep'])} learned" if example["tokens"] else ""
            console.print(Text(f"\n{row['where']}  {said}{tokens}  {example['note']}".rstrip(), "bold"))
            console.print(Text.assemble((example["context"], "dim"), (example["learned"], "green")))


@dataclass(frozen=True)
class _Example:
    """What is shown of a record: a conversation and what follows it."""

    label: str
    messages: tuple[Message, ...]
    text: str | None


def _row(row: Row, taken: Taken, spoken: ChatFormat | None) -> dict[str, Any]:
    kind, examples = next(_kinds(taken), ("", list[_Example]()))
    return {"where": row.where, "kind": kind, "examples": [_rendered(example, spoken) for example in examples]}


def _kinds(taken: Taken) -> Iterator[tuple[str, list[_Example]]]:
    """What came of a row by kind, the most telling first."""
    prompts = {record.id: record.messages for record in taken.records if isinstance(record, Prompt)}
    responses = {record.id: record for record in taken.records if isinstance(record, Response)}
    for r in taken.records:
        if isinstance(r, Ranking):
            ranks = zip(r.response_ids, r.ranks, strict=True)
            yield "ranking", [_Example(f"rank {rank}", prompts[r.prompt_id], responses[id].text) for id, rank in ranks]
        elif isinstance(r, Thumb):
            yield "thumb", [_Example("up" if r.up else "down", r.prompt.messages, r.response.text)]
    written = [_Example("", r.prompt.messages, r.text) for r in taken.records if isinstance(r, Demonstration)]
    if written:
        yield "demonstration", written
    if responses:
        yield "response", [_Example(r.model, prompts[r.prompt_id], r.text) for r in responses.values()]
    if prompts:
        yield "prompt", [_Example("", messages, None) for messages in prompts.values()]
    yield "text", [_Example("", (), document) for document in taken.documents]


def _rendered(example: _Example, spoken: ChatFormat | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"label": example.label, "tokens": [], "keep": [], "note": ""}
    if spoken is None:
        context, learned = plainly(example.messages, example.text)
        return {**shown, "context": context, "learned": learned, "note": "as text: the project has no model yet"}
    try:
        prompt = spoken.prompt(example.messages) if example.messages else []
        response = _learned(spoken, example)
    except InputError as error:
        context, learned = plainly(example.messages, example.text)
        return {**shown, "context": context, "learned": learned, "note": error.what}
    tokens, keep = [*prompt, *response], [0] * len(prompt) + [1] * len(response)
    note = f"longer than the context of {spoken.context}: cut on the left" if 0 < spoken.context < len(tokens) else ""
    texts = {"context": spoken.tokenizer.decode(prompt), "learned": spoken.tokenizer.decode(response)}
    return {**shown, "tokens": tokens, "keep": keep, "note": note, **texts}


def _learned(spoken: ChatFormat, example: _Example) -> list[int]:
    if example.text is None:
        return []
    if not example.messages:
        return spoken.tokenizer(example.text, add_special_tokens=False)["input_ids"]
    return spoken.response(example.messages, example.text)


def _format(project: Project, model: str) -> ChatFormat | None:
    present = project.models()
    name = model or next((name for name in ("sft", "base") if name in present), "")
    if not name:
        return None
    tokenizer = load_tokenizer(project.model(name) if name in present else name)
    return chat_format(tokenizer) if tokenizer.chat_template else raw_format(tokenizer)
