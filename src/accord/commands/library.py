"""Accord in Python: functions on a project for scripts and notebooks, beside its commands.

The face of the package hands these on: write ``accord.add(...)``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, get_args, runtime_checkable

from accord.data.registry import Format
from accord.errors import InputError, RunError, UsageError
from accord.feedback.export import What, values
from accord.feedback.store import Store
from accord.records import MOST_RANKED, Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response, Sampling, Thumb
from accord.runtime.project import Project, sections
from accord.runtime.runs import Run
from accord.settings import WorldConfig

if TYPE_CHECKING:
    from accord.commands.models import TextScorer
    from accord.protocols import Speaker

    AnyProject = Project | Path | str
    Conversation = str | Sequence[Message]
__all__ = [
    "Format",
    "Store",
    "add",
    "answer",
    "config",
    "create",
    "metrics",
    "open",
    "rank",
    "rows",
    "samples",
    "score",
    "scorer",
    "speaker",
    "store",
]
Record = Prompt | Demonstration | Response | Ranking | Thumb | Labeler
Config = TypeVar("Config")


@runtime_checkable
class Frame(Protocol):
    """A table with ``to_dict("records")``, such as a pandas data frame."""

    def to_dict(self, orient: Any, /) -> Any: ...


def create(path: Path | str, *, settings: Mapping[str, object] | None = None, world: WorldConfig | None = None) -> Project:
    """Create a project in a new or empty folder.

    Args:
        settings: sections of accord.toml, for example ``{"ppo": {"steps": 20}}``.
        world: put the built-in world into it, of this size: raw text, prompts, demonstrations and simulated labelers.

    Raises:
        InputError: a project, or anything else, is there already.
        UsageError: a setting that no command knows, or settings together with a world, which brings its own.
    """
    if world is None:
        return Project.create(path, settings=settings)
    if settings:
        raise UsageError("settings are given together with a world, which brings its own", where="create", hint="edit its accord.toml")
    from accord.commands.project.init import init

    init(Path(path), world=True, config=world)
    return Project.open(path)


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


def config(project: AnyProject, kind: type[Config], **changes: Any) -> Config:
    """Return a command's settings as the command line has them: your changes, over accord.toml, over the defaults.

    A config that you make yourself, ``accord.DpoConfig(beta=0.2)``, knows nothing of accord.toml.

    Args:
        kind: the config class, for example ``accord.DpoConfig``.

    Raises:
        UsageError: a setting that the command does not have, or a value out of its range.
    """
    name = next((section for section, each in sections().items() if each is kind), "")
    if not name:
        raise UsageError(f"{kind!r} is not a config class", where="config", hint="for example accord.DpoConfig")
    fields = [field.name for field in dataclasses.fields(sections()[name])]
    unknown = [key for key in changes if key not in fields]
    if unknown:
        raise UsageError(f"[{name}] has no setting {unknown[0]!r}", where="config", hint=f"it has {', '.join(fields)}")
    written = Project.open(project).settings
    shared = {"seed": written.get("project", {}).get("seed", 0)} if "seed" in fields else {}
    return kind(**{**shared, **written.get(name, {}), **changes})


def add(
    project: AnyProject,
    rows: Iterable[Mapping[str, Any] | Record] | Frame,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Add rows or records to the project; all of them, or none. The same again adds nothing.

    Args:
        rows: dicts as `accord import` reads them, a data frame, or records such as ``accord.Ranking``. A few forms of dicts::

                {"prompt": ...}                                          a prompt
                {"prompt": ..., "response": ...}                         a demonstration
                {"prompt": ..., "chosen": ..., "rejected": ...}          a comparison
                {"prompt": ..., "responses": [...], "ranks": [1, 2]}     a ranking; 1 is best, equal ranks tie
                {"prompt": ..., "completion": ..., "label": True}        a thumb up or down
                {"text": ...}                                            raw text

            Any of them takes "user", who asked, "labeler", who judged, and "extra", an object that rewards can read, for example
            ``{"answer": "4"}``.
        format: the format of the dicts; "auto" looks at the first.
        columns: fields that are called otherwise in your rows, for example ``{"prompt": "question"}``.

    Returns:
        Counts of rows read and of new records, by kind.

    Raises:
        InputError: there are no rows, or one cannot be used; names its number and field.
        StoreError: a record is there already with another content, or names a labeler, prompt or response that is not there.
    """
    given: list[Mapping[str, Any] | Record] = list(rows.to_dict("records") if isinstance(rows, Frame) else rows)
    if not given:
        raise InputError("there are no rows", where="add", hint="give dicts, a data frame or records of accord")
    dicts = [row for row in given if isinstance(row, Mapping)]
    records = [row for row in given if isinstance(row, Record)]
    if len(dicts) == len(given):
        return _add_dicts(project, dicts, format, columns or {})
    if len(records) < len(given):
        for number, row in enumerate(given, 1):
            if not isinstance(row, Mapping | Record):  # pyright: ignore[reportUnnecessaryIsInstance]  (not every script is typed)
                hint = "give dicts, a data frame or records of accord"
                raise InputError(f"row {number} is of type {type(row).__name__}", where="add", hint=hint)
        raise InputError("dicts and records are mixed", where="add", hint="add them by two calls")
    with store(project) as opened:
        return {"thumbs": 0} | opened.add(
            prompts=[row for row in records if isinstance(row, Prompt)],
            labelers=[row for row in records if isinstance(row, Labeler)],
            demonstrations=[row for row in records if isinstance(row, Demonstration)],
            responses=[row for row in records if isinstance(row, Response)],
            rankings=[row for row in records if isinstance(row, Ranking)],
            thumbs=[row for row in records if isinstance(row, Thumb)],
        )


def _add_dicts(project: AnyProject, rows: Sequence[Mapping[str, Any]], format: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """Through the importer, so that a script's rows are read by the same rules as a file's."""
    from accord.commands.data.import_ import import_

    with tempfile.TemporaryDirectory(prefix="accord-") as folder:
        file = Path(folder, "rows.jsonl")
        with file.open("w", encoding="utf-8") as written:
            for row in rows:
                present = {key: value for key, value in row.items() if not _is_missing(value)}
                written.write(json.dumps(present, ensure_ascii=False, default=_plain) + "\n")
        map = tuple(f"{field}={column}" for field, column in columns.items())
        try:
            return dict(import_(project, file, format=format, map=map, quiet=True))
        except (InputError, UsageError) as error:
            raise _in_code(error, file) from error


def _is_missing(value: object) -> bool:
    """Data frames write an empty cell as a number that is not one."""
    return isinstance(value, float) and math.isnan(value)


def _plain(value: object) -> object:
    """A value of numpy or pandas as JSON can hold it; anything else is refused."""
    for convert in ("tolist", "isoformat"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    raise InputError(f"{value!r:.60} is not a text, a number, a list or a dict", where="add", hint="turn it into one of these first")


def _in_code(error: InputError | UsageError, file: Path) -> InputError | UsageError:
    """The importer's error in the words of a script: rows for lines of a file, arguments for flags."""
    hint = re.sub(r"--map (\w+)=(\w+)", r"columns={\1: \2}", error.hint)
    hint = hint.replace("--format", "format=").replace(" with --skip-bad", "").replace(" by columns", " with columns")
    where = error.where.replace(f"{file}:", "row ").replace(str(file), "rows").replace("--format", "format")
    return type(error)(error.what, where=where, hint=hint)


def rank(
    project: AnyProject, by: Callable[[str, list[str]], Sequence[float]], *, labeler: str, model: str = "", group: str = ""
) -> dict[str, int]:
    """Rank the stored responses to each prompt by a function, as a labeler would; rankings that it gave before are kept.

    Prompts of the test split, which models are measured on, are left out, and those with fewer than two responses.

    Args:
        by: takes a prompt and its responses as texts, and returns one number per response. The highest is best; equal ones tie.
        labeler: the name that the rankings are signed with, as a simulated labeler's.
        model: rank this model's responses alone.
        group: the labeler's group, for `held_out_group`.

    Returns:
        Counts of new records, by kind.

    Raises:
        InputError: there is nothing to rank, a prompt has more than 9 responses, or the function returns no number for each.
        StoreError: there is a labeler of this name who is not simulated, or of another group.
    """
    with store(project) as opened:
        prompts = {prompt.id: prompt for prompt in opened.prompts() if prompt.split != "test"}
        ranked = {ranking.id for ranking in opened.rankings()}
        groups: dict[str, list[Response]] = {}
        for response in opened.responses(model or None):
            if response.prompt_id in prompts:
                groups.setdefault(response.prompt_id, []).append(response)
        rankings: list[Ranking] = []
        for id, responses in groups.items():
            ranking_id = _ranking_id(labeler, responses)
            if len(responses) > 1 and ranking_id not in ranked:
                rankings.append(_ranked(ranking_id, prompts[id], responses, by, labeler))
        if not rankings and not ranked:
            raise InputError("no prompt has two responses", where="rank", hint="accord.sample(project) draws some")
        return opened.add(labelers=[Labeler(labeler, "simulated", group)], rankings=rankings)


def _ranking_id(labeler: str, responses: Sequence[Response]) -> str:
    names = "\0".join((labeler, *sorted(response.id for response in responses)))
    return f"f-{hashlib.sha256(names.encode()).hexdigest()[:20]}"


def _ranked(
    id: str, prompt: Prompt, responses: Sequence[Response], by: Callable[[str, list[str]], Sequence[float]], labeler: str
) -> Ranking:
    where = f"rank, prompt {prompt.id}"
    if len(responses) > MOST_RANKED:
        hint = "rank one model's responses: model=..."
        raise InputError(f"{len(responses)} responses; a ranking takes {MOST_RANKED} at most", where=where, hint=hint)
    texts = [response.text for response in responses]
    values = [float(value) for value in by(prompt.messages[-1].content, texts)]
    if len(values) != len(responses) or any(math.isnan(value) for value in values):
        hint = "return one number per response; the highest is best"
        raise InputError(f"the function returned {values} for {len(responses)} responses", where=where, hint=hint)
    best_first = sorted(set(values), reverse=True)
    ranks = tuple(1 + best_first.index(value) for value in values)
    shown = tuple(response.id for response in responses)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Ranking(id, prompt.id, labeler, shown, ranks, Guideline("training", labeler), at)


def rows(project: AnyProject, what: What) -> list[dict[str, Any]]:
    """Return the project's records as plain dicts, for a data frame: ``pandas.DataFrame(accord.rows(project, "rankings"))``.

    Each has the ``prompt`` as text beside its ``messages``. Withdrawn records, and those of excluded labelers, are left out.

    Args:
        what: "prompts", "demonstrations", "responses", "rankings", "comparisons", "thumbs", "labelers", "tasks", "answers" or "audit".

    Raises:
        UsageError: there are no such records.
        StoreError: the database cannot be read.
    """
    if what not in get_args(What):
        raise UsageError(f"there are no {what!r}", where="rows", hint=f"one of {', '.join(get_args(What))}")
    with store(project) as opened:
        return [_with_prompt(line) for line in values(opened, what)]


def _with_prompt(line: Mapping[str, Any]) -> dict[str, Any]:
    messages = cast("Sequence[Mapping[str, str]]", line.get("messages", ()))
    return {"prompt": messages[-1]["content"], **line} if messages else dict(line)


def metrics(project: AnyProject, run: Run | str) -> list[dict[str, Any]]:
    """Return a run's metrics, a dict per step, for a data frame or a plot. ``run.summary`` has those of its end.

    Args:
        run: a run, or its name.

    Raises:
        RunError: there is no such run, or it measures no steps.
    """
    return _lines(project, run, "metrics.jsonl", "metrics of steps")


def samples(project: AnyProject, run: Run | str) -> list[dict[str, Any]]:
    """Return the samples that a run wrote down: prompts with responses and their scores.

    Args:
        run: a run, or its name.

    Raises:
        RunError: there is no such run, or it wrote no samples down.
    """
    return _lines(project, run, "samples.jsonl", "samples")


def _lines(project: AnyProject, run: Run | str, file: str, what: str) -> list[dict[str, Any]]:
    folder = run.folder if isinstance(run, Run) else Project.open(project).run(run)
    if not (folder / file).is_file():
        there = ", ".join(Project.open(project).runs()) or "none"
        raise RunError(f"there are no {what}", where=str(folder), hint=f"the project's runs: {there}")
    return [json.loads(line) for line in (folder / file).read_text("utf-8").splitlines()]


def speaker(project: AnyProject, model: str, *, address: str = "") -> Speaker:
    """Load a model of the project as a speaker: conversations in, texts out.

    Args:
        model: a model of the project, a folder or a hub name.
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

    Returns:
        For each prompt its n answers.

    Raises:
        ModelError: the project has no such model.
        InputError: a prompt is longer than the model's context.
    """
    conversations = _conversations(prompts)
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
        InputError: there are not as many texts as prompts.
    """
    if isinstance(texts, str) or len(prompts) != len(texts):
        count = "one text" if isinstance(texts, str) else f"{len(texts)} texts"
        raise InputError(f"{count} for {len(prompts)} prompts", where="score", hint="give two lists of the same length")
    conversations = _conversations(prompts)
    return scorer(project, model).score_conversations(conversations, texts)


def _conversations(prompts: Sequence[Conversation]) -> list[Sequence[Message]]:
    if isinstance(prompts, str):
        raise InputError("prompts is one text", where="prompts", hint="give a list of prompts: [prompt]")
    return [[Message("user", prompt)] if isinstance(prompt, str) else prompt for prompt in prompts]
