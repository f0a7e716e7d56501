"""Questions to labelers: `[label.questions]` of accord.toml, or a file with the same tables.

A set is a TOML table of questions by name. The standard set is such a file: InstructGPT's flags, ``question_sets/instructgpt.toml``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any, Literal, cast, get_args

from accord.errors import UsageError

TaskKind = Literal["rank", "compare", "demonstrate", "correct", "conversation", "evaluate", "prompt", "mark", "fact"]
"""What a labeler is asked to do; ``accord.feedback.queue`` describes each."""
QuestionKind = Literal["scale", "choice", "yes-no", "text", "spans", "flag"]
About = Literal["response", "prompt"]
Text = Mapping[str, str]
"""A text by language; a text for all languages has the key ``*``."""
Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
STANDARD = "instructgpt"
MARKS = "marks"
"""The set that a project without a question for `mark` tasks asks there."""
TASKS: tuple[TaskKind, ...] = get_args(TaskKind)
ASKS_OF_RESPONSES: tuple[TaskKind, ...] = ("rank", "compare", "correct", "conversation", "evaluate", "mark", "fact")
"""Kinds of task that show responses."""
FLAGGED: tuple[TaskKind, ...] = ("rank", "evaluate", "conversation")
"""Kinds of task whose ratings hold flags."""
RANKED: tuple[TaskKind, ...] = ("rank", "evaluate")
RESERVED = ("overall", "helpful", "harmless", "quality", "sets", "without")
"""Names that mean something else, as a criterion or as a key beside the questions."""
MOST = 40
"""Questions in force at most."""
LARGEST_SCALE = 9
"""Each value has a digit key."""
LONGEST_TEXT = 2_000
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_ANY_KEYS = ("kind", "about", "tasks", "text", "definition", "required", "better")
_MORE_KEYS: dict[QuestionKind, tuple[str, ...]] = {
    "scale": ("least", "most", "lowest", "highest"),
    "choice": ("options",),
    "spans": ("options",),
    "yes-no": (),
    "text": (),
    "flag": (),
}
_BETTER: dict[QuestionKind, tuple[str, ...]] = {
    "scale": ("high", "low"),
    "choice": ("first", "last"),
    "yes-no": ("yes", "no"),
    "flag": ("no", "yes"),
    "text": (),
    "spans": ("few", "many"),
}
"""The better end of each kind of answer; the first is the default, except for choices, which have no order unless one is given."""


class QuestionError(UsageError):
    """A question that cannot be asked. ``path`` leads to the key in its file.

    Args:
        path: names of the nested tables and the key.
    """

    def __init__(self, what: str, path: tuple[str, ...], hint: str = "") -> None:
        self.path = path
        super().__init__(what, where=".".join(path), hint=hint)


@dataclass(frozen=True, slots=True)
class Option:
    """One possible answer to a choice, or one kind of span."""

    value: str
    text: Text
    definition: Text


@dataclass(frozen=True, slots=True)
class Question:
    """A question to labelers."""

    name: str
    kind: QuestionKind
    about: About
    """Asked for each response (or turn of the assistant), or once per task, about its prompt."""
    tasks: tuple[TaskKind, ...]
    """Kinds of task that ask it."""
    text: Text
    definition: Text
    required: bool = True
    better: str = ""
    """The better end of its answers, when it is used as a reward criterion."""
    least: int = 1
    most: int = 7
    lowest: Text = field(default_factory=dict[str, str])
    highest: Text = field(default_factory=dict[str, str])
    options: tuple[Option, ...] = ()

    @property
    def version(self) -> str:
        """The first 12 hex digits of a hash of everything that a labeler reads and can answer."""
        written = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(written.encode()).hexdigest()[:12]

    @property
    def form(self) -> tuple[object, ...]:
        """What an answer can be. Answers of equal form are comparable, whatever the wording was."""
        return self.kind, self.about, self.least, self.most, tuple(option.value for option in self.options)

    @property
    def values(self) -> tuple[object, ...]:
        """The possible answers, in order; empty for texts and spans."""
        if self.kind == "scale":
            return tuple(range(self.least, self.most + 1))
        if self.kind == "choice":
            return tuple(option.value for option in self.options)
        return (False, True) if self.kind in ("yes-no", "flag") else ()


@dataclass(frozen=True)
class Questions:
    """The questions in force, by name, in the order of the page."""

    by_name: Mapping[str, Question]

    def optional(self) -> Questions:
        """Return the same questions, none of which must be answered."""
        return Questions({name: replace(question, required=False) for name, question in self.by_name.items()})

    def flags(self, about: About) -> tuple[str, ...]:
        """Return the names of the flags of a response or of the prompt."""
        return tuple(name for name, question in self.by_name.items() if question.kind == "flag" and question.about == about)

    def asked(self, task: TaskKind, about: About, *, flags: bool = False) -> list[Question]:
        """Return what a kind of task asks about each response or about the prompt: the flags, or all other questions."""
        found = [question for question in self.by_name.values() if question.about == about and task in question.tasks]
        return [question for question in found if (question.kind == "flag") == flags]

    def version(self, task: TaskKind) -> str:
        """Return the version of everything that a kind of task asks: it changes with each of the questions."""
        asked = [question.version for question in self.by_name.values() if task in question.tasks]
        return hashlib.sha256("".join(asked).encode()).hexdigest()[:12]


def said(text: Text, language: Language) -> str:
    """Return a text in a language, or in the first that it has; empty when there is none."""
    for key in (language, "*", *LANGUAGES):
        if key in text:
            return text[key]
    return ""


def standard(name: str = STANDARD) -> Mapping[str, Any]:
    """Return the tables of a set that comes with Accord, by its name. Raises KeyError when there is none."""
    import tomllib

    file = resources.files("accord.settings").joinpath("question_sets", f"{name}.toml")
    if not _NAME.fullmatch(name) or not file.is_file():
        raise KeyError(name)
    return tomllib.loads(file.read_text("utf-8"))


@cache
def usual() -> Questions:
    """Return the questions of a project that has none of its own: InstructGPT's flags."""
    return joined(Selection(), [parse(standard())])


def parse(tables: Mapping[str, Any], *, path: tuple[str, ...] = ()) -> dict[str, Question]:
    """Return the questions of a table, checked.

    Args:
        path: where the table stands in its file.

    Raises:
        QuestionError: a question has an unknown key or a value that does not fit.
    """
    found: dict[str, Question] = {}
    for name, table in tables.items():
        here = (*path, name)
        if not _NAME.fullmatch(name):
            raise QuestionError(f"{name!r} cannot name a question", here, "use small letters, digits, - and _, and begin with a letter")
        if name in RESERVED:
            raise QuestionError(f"{name!r} already means something else", here, "choose another name")
        if not isinstance(table, Mapping):
            raise QuestionError(f"{name} is a value, not a question", here, f"write [{'.'.join(here)}] and its keys below")
        found[name] = _question(name, cast("Mapping[str, Any]", table), here)
    return found


SECTION = ("label", "questions")
"""Where accord.toml has its questions."""


@dataclass(frozen=True, slots=True)
class Selection:
    """[label.questions]: sets by name or file, questions left out of them, and the project's own questions."""

    sets: tuple[str, ...] = (STANDARD,)
    without: tuple[str, ...] = ()
    own: Mapping[str, Question] = field(default_factory=dict[str, Question])


def selection(section: Mapping[str, Any]) -> Selection:
    """Return what [label.questions] says, checked, but without the files that it names.

    Raises:
        QuestionError: a key is unknown, or a value does not fit.
    """
    listed: dict[str, tuple[str, ...]] = {}
    for key, default in (("sets", (STANDARD,)), ("without", ())):
        given: Any = section.get(key, list(default))
        if not isinstance(given, list) or not all(isinstance(each, str) and each for each in cast("list[object]", given)):
            raise QuestionError(f"{key} is {given!r}, not a list of names", (*SECTION, key), f'for example {key} = ["{STANDARD}"]')
        listed[key] = tuple(cast("list[str]", given))
    tables = {name: table for name, table in section.items() if name not in listed}
    return Selection(listed["sets"], listed["without"], parse(tables, path=SECTION))


def joined(chosen: Selection, sets: Iterable[Mapping[str, Question]]) -> Questions:
    """Return the questions of sets and the project's own, without those that are left out.

    Where none of them marks passages in `mark` tasks, the one of the set ``MARKS`` does.

    Raises:
        QuestionError: a question is defined twice, one that is left out is in no set, or there are too many.
    """
    found: dict[str, Question] = {}
    for part in sets:
        found |= _new(part, found)
    for name in chosen.without:
        if name not in found:
            raise QuestionError(f"{name!r} is in none of the sets", (*SECTION, "without"), nearest(name, found))
        del found[name]
    found |= _new(chosen.own, found)
    if len(found) > MOST:
        raise QuestionError(f"{len(found)} questions", SECTION, f"at most {MOST}; leave some out with `without`")
    if not any(each.kind == "spans" and "mark" in each.tasks for each in found.values()):
        found = found | {name: each for name, each in parse(standard(MARKS)).items() if name not in found}
    return Questions(found)


def _new(part: Mapping[str, Question], known: Mapping[str, Question]) -> Mapping[str, Question]:
    for name in part:
        if name in known:
            raise QuestionError(
                f"{name!r} is defined twice", (*SECTION, name), "choose another name, or leave the set's out with `without`"
            )
    return part


def located(error: QuestionError, file: str, text: str) -> UsageError:
    """Return the same error with the file and the line of the key."""
    return UsageError(error.what, where=f"{file}:{line_of(text, error.path)}: {'.'.join(error.path)}", hint=error.hint)


def _question(name: str, table: Mapping[str, Any], path: tuple[str, ...]) -> Question:
    kind = _one_of(table, "kind", get_args(QuestionKind), path)
    known = (*_ANY_KEYS, *_MORE_KEYS[kind])
    for key in table:
        if key not in known:
            raise QuestionError(f"a {kind} question has no key {key!r}", (*path, key), nearest(key, known))
    about: About = _one_of(table, "about", get_args(About), path, "response")
    tasks = _tasks(table, kind, about, path)
    least, most = _whole(table, "least", 1, path), _whole(table, "most", 7, path)
    if kind == "scale" and not 0 <= least < most <= LARGEST_SCALE:
        what = f"a scale from {least} to {most}"
        raise QuestionError(what, (*path, "most" if "most" in table else "kind"), f"it goes from 0 at least to {LARGEST_SCALE} at most")
    options = _options(table, path) if kind in ("choice", "spans") else ()
    default = "" if kind == "choice" else next(iter(_BETTER[kind]), "")
    better = _one_of(table, "better", _BETTER[kind], path, default) if "better" in table else default
    required = table.get("required", kind in ("scale", "choice", "yes-no"))
    if not isinstance(required, bool):
        raise QuestionError(f"required is {required!r}, not true or false", (*path, "required"))
    if required and kind == "flag":
        raise QuestionError("a flag cannot be required: unticked is an answer", (*path, "required"), 'ask it as kind = "yes-no"')
    return Question(
        name,
        kind,
        about,
        tasks,
        _text(table, "text", path, needed=True),
        _text(table, "definition", path),
        required,
        better,
        least if kind == "scale" else 0,
        most if kind == "scale" else 0,
        _text(table, "lowest", path),
        _text(table, "highest", path),
        options,
    )


def _tasks(table: Mapping[str, Any], kind: QuestionKind, about: About, path: tuple[str, ...]) -> tuple[TaskKind, ...]:
    """Return the kinds of task that ask a question, in the order of ``TASKS``."""
    possible = TASKS if about == "prompt" else ASKS_OF_RESPONSES
    if kind == "flag":
        possible = FLAGGED
    usual = FLAGGED if kind == "flag" else RANKED
    given: Any = table.get("tasks", list(usual))
    if not isinstance(given, list) or not given:
        raise QuestionError(f"tasks is {given!r}, not a list of task kinds", (*path, "tasks"), 'for example tasks = ["rank"]')
    for each in cast("list[object]", given):
        if each not in possible:
            what = f"a {kind} question about the {about} cannot be asked in the task {each!r}"
            raise QuestionError(what, (*path, "tasks"), nearest(str(each), possible))
    return tuple(task for task in TASKS if task in given)


def _options(table: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Option, ...]:
    """Return options written as a list of values, or as a table of texts or of texts with definitions."""
    given: Any = table.get("options")
    here = (*path, "options")
    listed: Any = {str(value): str(value) for value in cast("list[object]", given)} if isinstance(given, list) else given
    if not isinstance(listed, Mapping) or not 1 <= len(cast("Mapping[str, Any]", listed)) <= LARGEST_SCALE:
        what = "options are missing" if given is None else f"options are {given!r}"
        raise QuestionError(what, here if given is not None else path, f'1 to {LARGEST_SCALE} of them, such as options = ["low", "high"]')
    found = list[Option]()
    for value, text in cast("Mapping[str, Any]", listed).items():
        if not value.strip() or len(value) > 60 or not value.isprintable():
            raise QuestionError(f"{value!r} cannot be an option", here, "use a short name")
        inner = (*here, value)
        if isinstance(text, Mapping) and set(cast("Mapping[str, Any]", text)) & {"text", "definition"}:
            fields = cast("Mapping[str, Any]", text)
            for key in fields.keys() - {"text", "definition"}:
                raise QuestionError(f"an option has no key {key!r}", (*inner, key), nearest(key, ("text", "definition")))
            found.append(Option(value, _text(fields, "text", inner, needed=True), _text(fields, "definition", inner)))
        else:
            found.append(Option(value, _text({value: text}, value, here, needed=True), {}))
    return tuple(found)


def _text(table: Mapping[str, Any], key: str, path: tuple[str, ...], *, needed: bool = False) -> dict[str, str]:
    given: Any = table.get(key)
    if given is None:
        if needed:
            raise QuestionError(f"{key} is missing", path, f'for example {key} = "..." or {key} = {{en = "...", zh = "..."}}')
        return {}
    by_language: dict[str, Any] = dict(cast("Mapping[str, Any]", given)) if isinstance(given, Mapping) else {}
    texts: dict[str, Any] = {"*": given} if isinstance(given, str) else by_language
    if not texts:
        raise QuestionError(f"{key} is {given!r}, not a text", (*path, key), f'for example {key} = {{en = "...", zh = "..."}}')
    for language, text in texts.items():
        if language not in ("*", *LANGUAGES):
            what = f"{key} is written in {language!r}, which the labeling site does not speak"
            raise QuestionError(what, (*path, key, language), f"its languages are {' and '.join(LANGUAGES)}")
        if not isinstance(text, str) or not text.strip() or len(text) > LONGEST_TEXT:
            raise QuestionError(f"{key} is empty or too long, or not a text", (*path, key), f"at most {LONGEST_TEXT} characters")
    return texts


def _whole(table: Mapping[str, Any], key: str, default: int, path: tuple[str, ...]) -> int:
    value: Any = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise QuestionError(f"{key} is {value!r}, not a whole number", (*path, key))
    return value


def _one_of(table: Mapping[str, Any], key: str, known: Iterable[str], path: tuple[str, ...], default: str = "") -> Any:
    if key not in table:
        if default:
            return default
        raise QuestionError(f"{key} is missing", path, f"one of {', '.join(known)}")
    value, names = table[key], tuple(known)
    if value not in names:
        raise QuestionError(f"{key} is {value!r}", (*path, key), nearest(str(value), names))
    return value


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint: the known name that is most like a word, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}" if names else "leave it out"


def line_of(text: str, path: tuple[str, ...]) -> int:
    """Return the number of the line in a TOML text where a key stands, or the innermost table around it that can be found; 1 if none can.

    Raises nothing: a text that TOML cannot read has no keys.
    """
    import tomllib

    best, found, table = 0, 1, ()
    for number, line in enumerate(text.splitlines(), 1):
        header, key = re.match(r"\s*(\[.+\])\s*(#.*)?$", line), re.match(r"""\s*([\w."'-]+)\s*=""", line)
        try:
            if header:
                table = _keys(tomllib.loads(header[1]))
            here = table if header else (*table, *_keys(tomllib.loads(f"{key[1]} = 0"))) if key else None
        except ValueError:
            continue
        if here and len(here) <= len(path) and path[: len(here)] == here and len(here) > best:
            best, found = len(here), number
        # a key in an inline table stands on the line of the table
    return found


def _keys(nested: Any) -> tuple[str, ...]:
    """Return the names on the way to the only leaf of a nested table."""
    path = list[str]()
    while isinstance(nested, Mapping | list) and nested:
        if isinstance(nested, list):
            nested = cast("list[Any]", nested)[0]
            continue
        name, nested = next(iter(cast("Mapping[str, Any]", nested).items()))
        path.append(name)
    return tuple(path)
