"""`accord dialogues`: extract two-person conversations from raw text.

Needs raw text. Leaves a file of rows that `accord import` reads as demonstrations. The rule is Gopher's (Rae et al. 2021); it stands in
data/dialogues.py.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.data.archives import chunks
from accord.data.dialogues import Dialogue
from accord.data.dialogues import dialogues as dialogues_in
from accord.errors import InputError, UsageError
from accord.runtime.files import disk_errors, replacing, sync
from accord.runtime.progress import track


def dialogues(
    files: Annotated[list[Path], Parameter(help="Raw text, plain, .gz or .zst.")],
    *,
    out: Annotated[Path, Parameter(help="File of rows to write.")] = Path("dialogues.jsonl"),
    least: Annotated[int, Parameter(help="The fewest paragraphs of a dialogue.")] = 6,
    quiet: Annotated[bool, Parameter(parse=False, help="Show no progress; for Python callers.")] = False,
) -> dict[str, Any]:
    """Extract two-person conversations from raw text, by Gopher's rule, into rows that `accord import` reads as demonstrations.

    Example: accord dialogues books/*.txt.gz --out dialogues.jsonl

    Args:
        out: is written whole or not at all. Each row holds ``messages`` up to the last question, ``response`` (the last answer),
            ``speakers``, ``file`` and ``paragraph``.

    Raises:
        UsageError: no files are given, or ``least`` is below 2.
        InputError: a file cannot be read.
    """
    if not files:
        raise UsageError("no files are given", where="dialogues", hint="accord dialogues raw.txt")
    if least < 2:
        raise UsageError(f"a dialogue of {least} paragraphs", where="--least", hint="2 at least; the rule says 6")
    if missing := next((file for file in files if not file.is_file()), None):
        raise InputError("there is no such file", where=str(missing))
    count, turns = 0, 0
    size = sum(file.stat().st_size for file in files)
    with disk_errors(out), replacing(out) as unfinished, track(size, "reading", quiet=quiet) as bar:
        with unfinished.open("w", encoding="utf-8", newline="\n") as written:
            for file in files:
                for dialogue in dialogues_in(chunks(file, bar.advance), least):
                    written.write(json.dumps(_row(dialogue, file), ensure_ascii=False) + "\n")
                    count, turns = count + 1, turns + len(dialogue.turns)
        sync(unfinished)
    return {"files": len(files), "dialogues": count, "turns": turns, "out": str(out)}


def _row(dialogue: Dialogue, file: Path) -> dict[str, Any]:
    *before, answer = dialogue.messages()
    return {
        "messages": [dataclasses.asdict(message) for message in before],
        "response": answer.content,
        "speakers": dialogue.speakers,
        "file": file.name,
        "paragraph": dialogue.paragraph,
        "labeler": "raw-text",
    }
