"""The settings of a section as a form or a table shows them: name, type, choices, range, default, and the sentence under each."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

from accord.errors import UsageError
from accord.settings.ranges import Range, ranges

Kind = Literal["whole", "number", "yes-no", "choice", "text"]
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "")


class Misread(ValueError):
    """A text that is no value of a setting."""


@dataclass(frozen=True)
class Field:
    """One setting of a section."""

    name: str
    group: str
    """The class that adds it: the section's own, or one of its mixins."""
    kind: Kind
    default: object
    help: str
    choices: tuple[str, ...] = ()
    allowed: Range | None = None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def read(self, text: str) -> object:
        """Return the value that a text stands for.

        Raises:
            Misread: it stands for none; the message names the setting.
        """
        word = text.strip()
        match self.kind:
            case "whole" | "number":
                try:
                    value = int(word) if self.kind == "whole" else float(word)
                except ValueError:
                    raise Misread(f"{self.name} is {word!r}, not a {'whole ' if self.kind == 'whole' else ''}number") from None
                if self.allowed and (problem := self.allowed.problem(value)):
                    raise Misread(f"{self.name} is {value}{problem}")
                return value
            case "yes-no":
                if word.lower() not in (*YES, *NO):
                    raise Misread(f"{self.name} is {word!r}, not true or false")
                return word.lower() in YES
            case "choice":
                if word not in self.choices:
                    raise Misread(f"{self.name} is {word!r}, not one of {', '.join(self.choices)}")
                return word
            case "text":
                return word

    def given(self, value: object) -> str:
        """Return the flag that sets a value on a command line, as one word."""
        if self.kind == "yes-no":
            return self.flag if value else f"--no-{self.flag.removeprefix('--')}"
        return f"{self.flag}={value}"


@cache
def fields_of(kind: type[Any]) -> tuple[Field, ...]:
    """Return the fields of a section in the order of its help. One that is declared again without a sentence keeps its mixin's."""
    hints, known, helps = get_type_hints(kind), ranges(kind), sentences(kind)
    added_by: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for name in inspect.get_annotations(base):
            added_by.setdefault(name, base.__name__)
    found: list[Field] = []
    for each in dataclasses.fields(kind):
        hint = hints[each.name]
        choices = tuple(map(str, get_args(hint))) if get_origin(hint) is Literal else ()
        plain: dict[Any, Kind] = {bool: "yes-no", int: "whole", float: "number"}
        form = "choice" if choices else plain.get(hint, "text")
        found.append(Field(each.name, added_by[each.name], form, each.default, helps.get(each.name, ""), choices, known.get(each.name)))
    return tuple(found)


@cache
def sentences(kind: type[Any]) -> Mapping[str, str]:
    """Return the sentence under each field of a class, read from its source, and from that of the classes it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _written(base)
    return found


def _written(kind: type[Any]) -> dict[str, str]:
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind)))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    found: dict[str, str] = {}
    for one, following in pairwise(body):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(following, ast.Expr):
            text = following.value
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[one.target.id] = " ".join(text.value.split())
    return found


def made(kind: type[Any], values: Mapping[str, object]) -> tuple[Any, dict[str, str]]:
    """Return a section of these values, or what is wrong with them by field: a rule of several fields under the one that it names first.

    What names no field stands under an empty name.
    """
    try:
        return kind(**values), {}
    except UsageError as error:
        first = error.what.replace(":", " ").split()[:1]
        names = {field.name for field in fields_of(kind)}
        named = next((word for word in first if word in names), "")
        return None, {named: error.what}
