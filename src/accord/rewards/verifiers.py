"""Verifiers: whether a text is what was asked for, from 0 to 1, by a rule that anybody can check.

They may run for ever on an unlucky text, so ``accord.rewards.isolated`` calls them in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

from accord.errors import InputError, UsageError
from accord.runtime import packages

Verifier = Callable[[str, Any], float]
"""Takes a response and what is expected of it."""
THOUGHT = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)
FENCED = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
BOXED = re.compile(r"\\boxed\s*{")
MARK = "####"
POWER_OF_TEN = re.compile(r"(?<=\d)\s*(?:\\times|\\cdot|[x×*·])\s*10\s*(?:\^|\*\*)\s*\{?-?\d+\}?")
LEFT_TO_DO = re.compile(r"[\d)}]\s*(?:\\times|\\cdot|\\div|[-+*×·÷x^])\s*[-({\\]*\d|\\sqrt|\)\s*\(")
FRACTION = re.compile(r"\\[dt]?frac|\d\s*/\s*\d")


def verifier(kind: str, argument: Any) -> Verifier:
    """Return the verifier of a kind. ``argument`` is what all rows have in common, if it is not in a column."""
    return _KINDS[kind](argument)


def answer_of(text: str) -> str:
    """Return a text's final answer: behind the last ``####``, or in the last ``\\boxed{}``, or all of it; a thought is left out."""
    text = THOUGHT.sub("", text)
    _, mark, rest = text.rpartition(MARK)
    if mark:
        return next((line for line in rest.strip().split("\n")), "").strip()
    found = list(BOXED.finditer(text))
    if not found:
        return text.strip()
    depth, begin = 1, found[-1].end()
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[begin:place].strip()
    return text.strip()


def normalised(text: str) -> str:
    """Return a short answer in one form: case, width, white space, end marks, and the writing of a number do not count."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .!?\"'`*")
    number = plain.replace(",", "").strip("$€£% ")
    try:
        value = Decimal(number)
    except InvalidOperation:
        return plain
    return f"{value.normalize():f}" if value.is_finite() and abs(value.adjusted()) < 50 else plain


def alternatives(expected: Any) -> list[str]:
    """Return the right answers in a column's value: one, or a list of them."""
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        return [str(each) for each in cast("Sequence[Any]", expected)]
    return [str(expected)]


def _exact(_: Any) -> Verifier:
    def check(response: str, expected: Any) -> float:
        own = normalised(answer_of(response))
        return float(bool(own) and any(own == normalised(answer_of(each)) for each in alternatives(expected)))

    return check


def is_calculation(answer: str, expected: str) -> bool:
    """Return whether an answer is a sum that is left to be done, where the right answer is a plain number.

    It has the number's value, but copying the question's own sum would be right. A fraction is an answer, unless it is of a whole number;
    so is a number times a power of ten.
    """
    try:
        number = Decimal(normalised(answer_of(expected)))
    except InvalidOperation:
        return False
    said = POWER_OF_TEN.sub("", answer.rpartition("=")[2])
    whole = number == number.to_integral_value()
    return LEFT_TO_DO.search(said) is not None or (whole and FRACTION.search(said) is not None)


def _math(_: Any) -> Verifier:
    import logging

    # math-verify has no types
    math_verify: Any = importlib.import_module("math_verify")
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    configs = (math_verify.LatexExtractionConfig(), math_verify.ExprExtractionConfig())

    def read(text: str) -> list[Any]:
        """Parse an answer. A bare formula is read as LaTeX first; among words math-verify looks for one itself."""
        answer = answer_of(text)
        marked = "$" in answer or "\\(" in answer or "\\[" in answer
        formula = not marked and (answer != THOUGHT.sub("", text).strip() or "\\" in answer or "^" in answer)
        for form in (f"${answer}$", answer) if formula else (answer,) if marked else (answer, f"${answer}$"):
            if found := cast("list[Any]", math_verify.parse(form, extraction_config=configs)):
                return found
        return []

    def right(own: list[Any], each: str) -> bool:
        said = next((part for part in own if isinstance(part, str)), "")
        return not is_calculation(said, each) and bool(math_verify.verify(read(each), own))

    def check(response: str, expected: Any) -> float:
        own = read(response)
        return float(bool(own) and any(right(own, each) for each in alternatives(expected)))

    return check


def _regex(pattern: Any) -> Verifier:
    common = None if pattern is None else re.compile(pattern)

    def check(response: str, expected: Any) -> float:
        return float((common or re.compile(str(expected))).search(response) is not None)

    return check


def _json_schema(schema: Any) -> Verifier:
    common = None if schema is None else schema_check(schema)

    def check(response: str, expected: Any) -> float:
        valid = common or schema_check(json.loads(expected) if isinstance(expected, str) else expected)
        try:
            return float(valid(json.loads(json_text(response))))
        except ValueError:
            return 0.0

    return check


def json_text(response: str) -> str:
    """Return the JSON in a response: what stands in its only fence, or all of it. Words around it make it no JSON."""
    text = THOUGHT.sub("", response).strip()
    whole = re.fullmatch(r"```[^\n`]*\n(.*?)```", text, re.DOTALL)
    return whole.group(1) if whole else text


def schema_check(schema: Any) -> Callable[[Any], bool]:
    """Return a test for a JSON Schema. References to other addresses are not followed.

    Raises:
        UsageError: jsonschema is not installed.
        InputError: it is no JSON Schema.
    """
    try:
        from jsonschema import SchemaError, validators
        from referencing import Registry
    except ImportError:
        raise UsageError("json_schema needs jsonschema", where="rewards", hint=packages.install("jsonschema")) from None
    if not isinstance(schema, Mapping | bool):
        raise InputError(f"a JSON Schema is an object, not {schema!r:.60}", where="json_schema")
    kind: Any = cast("Any", validators).validator_for(schema, default=cast("Any", validators).validator_for({}))
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise InputError(f"is no JSON Schema: {error.message}", where="json_schema") from None
    return cast("Callable[[Any], bool]", kind(schema, registry=cast("Any", Registry)()).is_valid)


def read_schema(path: Path) -> Any:
    """Read a file with a JSON Schema, and check it.

    Raises:
        InputError: there is no such file, or it holds no JSON Schema.
    """
    try:
        schema = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError("there is no such file", where=str(path), hint="name a file of the project or of the current folder") from error
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", where=str(path)) from error
    schema_check(schema)
    return schema


_KINDS: dict[str, Callable[[Any], Verifier]] = {"exact": _exact, "math": _math, "regex": _regex, "json_schema": _json_schema}
