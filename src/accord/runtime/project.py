"""A project on disk: one folder with its settings, its feedback, its models and its runs."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import json
import re
import tomllib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from accord import settings as stages
from accord.errors import InputError, UsageError
from accord.runtime.files import OWNER_ONLY, write_atomic
from accord.runtime.store_address import without_password
from accord.settings import conditions as asking
from accord.settings import profile, questions
from accord.settings import scenes as staging
from accord.settings.conditions import Condition
from accord.settings.scenes import Scene

FILE = "accord.toml"
TODAY = "today"
"""The date that leaves the clock to a chat template."""
NESTED = {"label": ("questions", "profile")}
"""Tables inside a section that are no settings of its command. ``Project.settings`` has them as sections, such as ``label.questions``."""
TABLES: dict[str, tuple[type[Any], Callable[[Mapping[str, Any]], object]]] = {
    staging.SECTION: (Scene, staging.read),
    asking.SECTION: (Condition, asking.read),
}
"""Sections whose keys are names of tables of one kind, such as [scenes.complaint]: the kind, and what reads them all."""
RENAMED = {"serve": {"places": "slots"}}
"""Older names of settings, by section. accord.toml may still hold them; each reading warns."""


@dataclass(frozen=True)
class ProjectSection:
    """[project]: settings for every command."""

    name: str = ""
    """The project's display name; the folder's name when empty."""
    seed: int = 0
    """Seed of every command that has none of its own."""
    trainings: int = 1
    """Trainings and evaluations that run at once when they are started from a page; others wait."""

    def __post_init__(self) -> None:
        if self.trainings < 1:
            raise UsageError(f"trainings is {self.trainings}", where="[project]", hint="let at least 1 run at once")


@dataclass(frozen=True)
class StoreSection:
    """[store]: location of the feedback database."""

    url: str = ""
    """SQLAlchemy address of the feedback database; empty means feedback.db in the project."""


@dataclass(frozen=True)
class TemplateSection:
    """[template]: what chat templates are given beside the messages."""

    variables: dict[str, Any] = field(default_factory=dict[str, Any])
    """Values that a model's template reads, such as ``enable_thinking`` or ``tools``."""
    date: str = "2024-07-26"
    """The day that a template is told which asks for today's date; ``today`` leaves it the clock."""

    def __post_init__(self) -> None:
        if self.date != TODAY and not re.fullmatch(r"\d{4}-\d\d-\d\d", self.date):
            raise UsageError(f"date is {self.date!r}", where="[template]", hint='write a day such as "2024-07-26", or "today"')
        try:
            datetime.date.fromisoformat(self.date if self.date != TODAY else "2024-07-26")
        except ValueError as error:
            raise UsageError(f"date {self.date!r} is no day of the calendar", where="[template]", hint="correct it") from error


def sections() -> dict[str, type[Any]]:
    """Return the sections of accord.toml with their dataclasses: every ``XConfig`` of accord.settings is [x]."""
    configs = {name: kind for name, kind in vars(stages).items() if name.endswith("Config") and dataclasses.is_dataclass(kind)}
    named = {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name.removesuffix("Config")).lower(): kind for name, kind in configs.items()}
    fixed: dict[str, type[Any]] = {"project": ProjectSection, "store": StoreSection, "template": TemplateSection}
    return {**fixed, **cast("dict[str, type[Any]]", named)}


def vacant(path: Path | str) -> Path:
    """Return the absolute path of a folder in which a project can be created.

    Raises:
        InputError: the folder is a project already, or is not empty.

    Raises:
        InputError: a project, or anything else, stands there already.
    """
    folder = Path(path).expanduser().absolute()
    if (folder / FILE).exists():
        raise InputError("is a project already", where=str(folder), hint="choose another folder, or continue with this project")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("exists and is not empty", where=str(folder), hint="choose a new folder for the project")
    return folder


@dataclass(frozen=True)
class Project:
    """A project folder. ``settings`` holds accord.toml as written, checked when the project was opened."""

    path: Path

    @classmethod
    def create(cls, path: Path | str, *, settings: Mapping[str, object] | None = None) -> Project:
        """Create a project in a new or empty folder.

        Args:
            settings: sections of accord.toml, e.g. ``{"ppo": {"steps": 20}}``.

        Raises:
            InputError: the folder is a project already, or is not empty.
            UsageError: a setting is unknown to every command.
        """
        folder = vacant(path)
        text = _toml({"project": {"name": folder.name}, **(settings or {})})
        check(_lifted(tomllib.loads(text)), folder / FILE, text)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / FILE, text, mode=OWNER_ONLY)  # it may hold the password of a database
        for part in ("models", "runs"):
            (folder / part).mkdir(exist_ok=True)
        return cls.open(folder)

    @classmethod
    def open(cls, path: Path | str | Project) -> Project:
        """Open a project and check its settings. A project that is already open is returned as it is.

        Raises:
            InputError: there is no project.
            UsageError: accord.toml cannot be read, or holds an unknown section or key or a value of the wrong type.
        """
        if isinstance(path, Project):
            return path
        folder = Path(path).expanduser().absolute()
        if not (folder / FILE).is_file():
            raise InputError("is not an Accord project: it has no accord.toml", where=str(folder), hint=f"create one: accord init {path}")
        project = cls(folder)
        check(project.settings, folder / FILE, (folder / FILE).read_text("utf-8"))
        return project

    @cached_property
    def settings(self) -> dict[str, Any]:
        """accord.toml as nested dicts, without the defaults. Settings under an older name have today's."""
        file = self.path / FILE
        try:
            written = tomllib.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise UsageError(str(error), where=str(file), hint="fix the TOML there") from error
        _rename(written, file)
        return _lifted(written)

    @property
    def store_url(self) -> str:
        """SQLAlchemy address of the feedback database; a relative SQLite path is relative to the project's folder."""
        return store_address(str(self.settings.get("store", {}).get("url", "")), self.path)

    @property
    def store_name(self) -> str:
        """The address of the feedback database as messages name it: without its password."""
        return without_password(self.store_url)

    @property
    def trainings(self) -> int:
        """How many trainings may run at once that were started from a page."""
        return int(self.settings.get("project", {}).get("trainings", ProjectSection.trainings))

    @property
    def scenes(self) -> dict[str, Scene]:
        """The scenes of the project, in the order of accord.toml."""
        return staging.read(self.settings.get(staging.SECTION, {}))

    @property
    def conditions(self) -> dict[str, Condition]:
        """The project's own ways of asking a model, by name."""
        return asking.read(self.settings.get(asking.SECTION, {}))

    @property
    def template(self) -> TemplateSection:
        """What chat templates are given: accord.toml over the defaults."""
        return TemplateSection(**self.settings.get("template", {}))

    def model(self, name: str) -> Path:
        """Return the folder of one of the project's models, whether or not it exists."""
        return self.path / "models" / _inside(name, "model")

    def run(self, name: str) -> Path:
        """Return the folder of a run, whether or not it exists."""
        return self.path / "runs" / _inside(name, "run")

    def models(self) -> list[str]:
        """Return the names of the existing models."""
        return _names(self.path / "models")

    def runs(self) -> list[str]:
        """Return the names of the existing runs."""
        return _names(self.path / "runs")


def store_address(url: str, folder: Path) -> str:
    """Return the whole SQLAlchemy address that ``url`` of [store] means in a project's folder; empty means feedback.db there."""
    url = url or "sqlite:///feedback.db"
    scheme, slashes, place = url.partition(":///")
    if scheme.startswith("sqlite") and slashes and place and not Path(place).is_absolute() and not place.startswith((":", "file:")):
        return f"{scheme}:///{folder / place}"
    return url


def with_store(text: str, url: str) -> str:
    """Return the text of an accord.toml with another ``url`` in [store], and everything else as it was written.

    Raises:
        UsageError: the section is written in a way that only its author can change.
    """
    line = f"url = {_show(url)}"
    section = re.search(r"^\[store\][^\n]*\n(?:(?!\s*\[)[^\n]*\n?)*", text, re.MULTILINE)
    if section is None:
        changed = f"{text.rstrip()}\n\n[store]\n{line}\n" if url else text
    else:
        inside, replaced = re.subn(r"^\s*url\s*=[^\n]*", lambda _: line, section[0], flags=re.MULTILINE)
        if not replaced:
            head, _, rest = section[0].partition("\n")
            inside = f"{head}\n{line}\n{rest}"
        changed = text[: section.start()] + inside + text[section.end() :]
    wanted = tomllib.loads(text)
    if url or "store" in wanted:
        wanted["store"] = wanted.get("store", {}) | {"url": url}
    try:
        fits = tomllib.loads(changed) == wanted
    except ValueError:
        fits = False
    if not fits:
        raise UsageError("[store] cannot be changed here", where=FILE, hint=f"write below [store], in a line of its own: {line}")
    return changed


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def _inside(name: str, what: str) -> str:
    if not name or name.startswith(".") or any(mark in name for mark in "/\\\0"):
        raise UsageError(f"{name!r} cannot name a {what}", where="name", hint="use a name without slashes that does not start with a dot")
    return name


def _rename(written: dict[str, Any], file: Path) -> None:
    """Put the values of older names under today's names, with a warning.

    Raises:
        UsageError: a setting stands there under both names.
    """
    for section, names in RENAMED.items():
        values = written.get(section, {})
        for old, new in names.items():
            if not isinstance(values, dict) or old not in values:
                continue
            if new in values:
                raise UsageError(f"[{section}] has {new!r} and its old name {old!r}", where=str(file), hint=f"delete {old} there")
            values[new] = values.pop(old)
            warnings.warn(f"{file}: [{section}] {old} is now called {new}; rename it there", FutureWarning, stacklevel=2)


def _lifted(written: dict[str, Any]) -> dict[str, Any]:
    """Move nested tables out of their sections, under names with a dot."""
    for section, names in NESTED.items():
        values = written.get(section)
        for name in names:
            if isinstance(values, dict) and name in values:
                written[f"{section}.{name}"] = cast("dict[str, Any]", values).pop(name)
    return written


_READ_NESTED: dict[str, Callable[[Mapping[str, Any]], object]] = {
    ".".join(questions.SECTION): questions.selection,
    ".".join(profile.SECTION): profile.fields,
}
"""What reads a table inside a section, and refuses what it cannot use."""


def check(settings: Mapping[str, object], file: Path, text: str = "") -> None:
    """Check settings against the commands' dataclasses: sections, keys, types, and each command's own rules.

    Args:
        text: of the file, in which an error names the line.

    Raises:
        UsageError: names the file, the section, the key, and the nearest one that exists.
    """
    known = sections()
    for section, values in settings.items():
        nested = _READ_NESTED.get(section)
        if nested is not None and isinstance(values, Mapping):
            try:
                nested(cast("Mapping[str, Any]", values))
            except questions.QuestionError as error:
                raise questions.located(error, str(file), text) from error
            continue
        if section in TABLES:
            _check_tables(section, values, str(file))
            continue
        if section not in known:
            raise UsageError(f"unknown section [{section}]", where=str(file), hint=_nearest(section, [*known, *TABLES]))
        if not isinstance(values, Mapping):
            raise UsageError(f"{section} is a section, not a value", where=str(file), hint=f"write [{section}] and its keys below")
        _check_section(section, cast("Mapping[str, object]", values), known[section], str(file))


def _check_tables(section: str, tables: object, file: str) -> None:
    """Check a section of tables of one kind: each by itself, then all together."""
    kind, read = TABLES[section]
    written = cast("Mapping[str, object]", tables) if isinstance(tables, Mapping) else {section: tables}
    for name, values in written.items():
        if not isinstance(values, Mapping):
            raise UsageError(f"[{section}] has {name!r}, which is no table", where=file, hint=f"write [{section}.NAME] and its keys below")
        _check_section(f"{section}.{name}", cast("Mapping[str, object]", values), kind, file)
    try:
        read(written)
    except UsageError as error:
        raise UsageError(error.what, where=f"{file} {error.where}", hint=error.hint) from error


def _check_section(section: str, values: Mapping[str, object], kind: type[Any], file: str) -> None:
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise UsageError(f"[{section}] has no key {key!r}", where=file, hint=_nearest(key, hints))
        if not _fits(value, hints[key]):
            raise UsageError(f"[{section}] {key} is {_show(value)}, not {_expected(hints[key])}", where=file, hint=f"fix {key} there")
    try:
        kind(**values)
    except UsageError as error:
        raise UsageError(error.what, where=f"{file} [{section}]", hint=error.hint) from error


def _fits(value: object, hint: Any) -> bool:
    if _one_of_several(hint):
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (dict, list):
        return isinstance(value, get_origin(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _one_of_several(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _expected(hint: Any) -> str:
    if _one_of_several(hint):
        return " or ".join(_expected(each) for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    if get_origin(hint) is dict:
        return "a table, such as {name = value}"
    if get_origin(hint) is list:
        return "a list, such as [1, 2]"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}.get(hint, str(hint))


def _nearest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(names))}"


def _toml(settings: Mapping[str, object]) -> str:
    """Return sections of plain values as TOML. JSON's strings, numbers and booleans are valid TOML."""
    parts: list[str] = []
    for section, values in settings.items():
        if not isinstance(values, Mapping):
            raise UsageError(f"{section} is a section, not a value", where=FILE, hint=f"write [{section}] and its keys below")
        lines = [f"{key} = {_inline(value)}" for key, value in cast("Mapping[str, object]", values).items()]
        parts.append("\n".join([f"[{section}]", *lines]))
    return "\n\n".join(parts) + "\n"


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {_inline(each)}" for key, each in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, cast("list[object]", value))) + "]"
    return _show(value)


def _show(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
