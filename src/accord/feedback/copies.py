"""Copies of a person's texts outside the database and the runs' snapshots: recorded rollouts, advice, rejected rows, undone imports,
jobs and uploads.

Rollouts hold prompts as tokens, which only their model's tokenizer reads. So all of a run's go when its snapshots or samples have rows of
the person. Nothing learns from them any more; they serve replays, and caches are filled again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from accord.feedback.erasure import Person
from accord.feedback.places import FILES
from accord.feedback.privacy import ERASED
from accord.runtime.files import write_atomic
from accord.runtime.recordings import FOLDER as ROLLOUTS

JOB, JOB_TEXTS = "job.json", ("log.txt", "output.txt")
"""Files of a job: its command, and what the command wrote."""
OUTSIDE_RUNS = tuple(pattern for pattern in FILES if not pattern.startswith(("runs/", "forgetting/")))


def copies(project: Path, who: Person, runs: Collection[str]) -> list[Path]:
    """Return the files and folders that hold copies, in the order of their names.

    Args:
        runs: names of the runs whose snapshots or samples have rows of the person.
    """
    found = [folder for folder in project.glob(f"runs/*/{ROLLOUTS}") if folder.parent.name in runs or _recorded(folder, who)]
    for pattern in OUTSIDE_RUNS:
        found += [path for path in project.glob(pattern) if path.is_file() and _holds(path, who)]
    return sorted(found)


def remove_copies(found: Collection[Path], who: Person) -> None:
    """Remove rollouts, caches and raw texts whole, and the person's lines from files of JSON lines."""
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name == JOB:
            job = json.loads(path.read_text("utf-8"))
            words = [ERASED if _inside(word, who) else word for word in job["arguments"]]
            write_atomic(path, json.dumps(job | {"arguments": words}, ensure_ascii=False, indent=2) + "\n")
        elif path.name in JOB_TEXTS:
            _leave_out(path, who)
        elif path.suffix == ".jsonl":
            write_atomic(path, "".join(line for line in _lines(path) if not _theirs(line, who)))
        else:
            path.unlink()


def _holds(path: Path, who: Person) -> bool:
    if path.name == JOB:
        try:
            return _inside(json.loads(path.read_text("utf-8"))["arguments"], who)
        except (ValueError, LookupError, TypeError):
            return False  # a damaged job is shown without its words
    return any(_theirs(line, who) for line in _lines(path))


def _leave_out(path: Path, who: Person) -> None:
    """Write over the person's lines in a file in place, since a command that still runs appends to it.

    Every line keeps its length, so that a kill in between leaves all the others as they were.
    """
    with path.open("r+b") as file:
        at = 0
        for line in file.read().splitlines(keepends=True):
            text = line.rstrip(b"\r\n")
            if _theirs(line.decode("utf-8", "surrogateescape"), who):
                file.seek(at)
                file.write(ERASED.encode()[: len(text)].ljust(len(text)))
            at += len(line)
        file.flush()
        os.fsync(file.fileno())


def _recorded(folder: Path, who: Person) -> bool:
    """Return whether an episode's messages, which stand in the files as JSON, hold a text of the person."""
    texts = [json.dumps(text)[1:-1].encode() for text in who.texts]
    return any(text in content for path in folder.glob("*.safetensors") for content in [path.read_bytes()] for text in texts)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        yield from lines


def _theirs(line: str, who: Person) -> bool:
    try:
        value: Any = json.loads(line)
    except ValueError:
        return any(text in line for text in who.texts)
    return _inside(value, who)


def _inside(value: Any, who: Person) -> bool:
    if isinstance(value, str):
        return value in who.prompts or value in who.names or value in who.turns or any(text in value for text in who.texts)
    if isinstance(value, dict):
        return any(_inside(part, who) for part in value.values())
    return isinstance(value, list) and any(_inside(part, who) for part in value)
