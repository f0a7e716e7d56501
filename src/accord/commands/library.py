"""Accord in Python: what scripts and notebooks do with a project beside running its commands.

The face of the package hands these on: write ``accord.add(...)``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.errors import InputError
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler, Message, Prompt, Ranking, Response, Sampling
from accord.runtime.project import Project

if TYPE_CHECKING:
    from accord.commands.models import TextScorer
    from accord.protocols import Speaker

    AnyProject = Project | Path | str
    Conversation = str | Sequence[Message]
__all__ = ["Store", "add", "answer", "create", "open", "score", "scorer", "speaker", "store"]
Record = Prompt | Demonstration | Response | Ranking | Labeler


def create(path: Path | str, *, settings: Mapping[str, object] | None = None) -> Project:
    """Create a project in a new or empty folder.

    Args:
        settings: sections of accord.toml, for example ``{"ppo": {"steps": 20}}``.

    Raises:
        InputError: a project, or anything else, is there already.
        UsageError: a setting that no command knows.
    """
    return Project.create(path, settings=settings)


def open(path: AnyProject) -> Project:
    """Open a project.

    Raises:
        InputError: there is no project.
        UsageError: accord.toml cannot be read, or holds an unknown section, key or type.
    """
    return Project.open(path)


def store(project: AnyProject) -> Store:
    """Open the project's feedback database; use it as a context manager.

    Raises:
        StoreError: it cannot be opened.
    """
    return Store.open(Project.open(project).store_url)


def add(project: AnyProject, rows: Iterable[Mapping[str, Any] | Record], *, format: str = "auto") -> dict[str, Any]:
    """Add rows or records to the project; all of them, or none. The same again adds nothing.

    Args:
        rows: dicts as `accord import` reads them, for example ``{"prompt": ..., "response": ...}`` or
            ``{"prompt": ..., "chosen": ..., "rejected": ...}`` (a data frame's ``to_dict("records")``), or records of accord.
        format: what the dicts hold; "auto" looks at the first.

    Returns:
        Counts of what was read and of what was new, by kind.

    Raises:
        InputError: there are no rows, or one cannot be used; names its number and field.
        StoreError: a record is there already with another content.
    """
    given = list(rows)
    if not given:
        raise InputError("there are no rows", where="add", hint="give dicts or records of accord")
    records = [row for row in given if not isinstance(row, Mapping)]
    if not records:
        return _add_dicts(project, [row for row in given if isinstance(row, Mapping)], format)
    if len(records) < len(given):
        raise InputError("dicts and records are mixed", where="add", hint="add them by two calls")
    with store(project) as opened:
        return opened.add(
            prompts=[row for row in records if isinstance(row, Prompt)],
            labelers=[row for row in records if isinstance(row, Labeler)],
            demonstrations=[row for row in records if isinstance(row, Demonstration)],
            responses=[row for row in records if isinstance(row, Response)],
            rankings=[row for row in records if isinstance(row, Ranking)],
        )


def _add_dicts(project: AnyProject, rows: Sequence[Mapping[str, Any]], format: str) -> dict[str, Any]:
    """Through the importer, so that a script's rows are read by the same rules as a file's."""
    from accord.commands.data.import_ import import_

    with tempfile.TemporaryDirectory(prefix="accord-") as folder:
        file = Path(folder, "rows.jsonl")
        with file.open("w", encoding="utf-8") as written:
            for row in rows:
                written.write(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")
        return dict(import_(project, file, format=format))


def _plain(value: object) -> object:
    """A number of numpy or pandas as Python's; what JSON has no word for is refused."""
    item = getattr(value, "item", None)
    if item is None:
        raise InputError(f"{value!r} is no text, number, list or dict", where="add", hint="turn it into one of these first")
    return item()


def speaker(project: AnyProject, model: str, *, address: str = "") -> Speaker:
    """Load a model of the project as a speaker: conversations in, texts out.

    Args:
        address: of an OpenAI-compatible server, up to /v1, that has the model instead.

    Raises:
        ModelError: the project has no such model.
    """
    from accord.commands.models import open_speaker

    return open_speaker(Project.open(project), model, address)


def answer(
    project: AnyProject,
    model: str,
    prompts: Sequence[Conversation],
    *,
    n: int = 1,
    sampling: Sampling = Sampling(),
    seed: int = 0,
) -> list[list[str]]:
    """Sample n answers to each prompt, and store nothing.

    Args:
        prompts: texts, or conversations that end with the user's turn.

    Raises:
        ModelError: the project has no such model.
        InputError: a prompt is longer than the model's context.
    """
    conversations = [[Message("user", prompt)] if isinstance(prompt, str) else prompt for prompt in prompts]
    return speaker(project, model).answer(conversations, n=n, sampling=sampling, seed=seed)


def scorer(project: AnyProject, model: str = "reward", *, dtype: str = "auto") -> TextScorer:
    """Load a reward model of the project, for scoring texts.

    Raises:
        ModelError: it is missing, or is no reward model.
    """
    from accord.commands.models import TextScorer, compute_dtype

    return TextScorer.open(Project.open(project), model, compute_dtype(dtype))


def score(project: AnyProject, prompts: Sequence[Conversation], texts: Sequence[str], *, model: str = "reward") -> list[float]:
    """Return the reward of ``texts[i]`` as a finished answer to ``prompts[i]``.

    Raises:
        ModelError: the reward model is missing.
    """
    conversations = [[Message("user", prompt)] if isinstance(prompt, str) else prompt for prompt in prompts]
    return scorer(project, model).score_conversations(conversations, texts)
