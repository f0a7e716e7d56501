"""The import formats by name, and their detection from a row's fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from accord.data import formats_chat, formats_own, formats_preferences, formats_probes, formats_tasks
from accord.data.row_records import Gather, Known, Take, Taken
from accord.data.rows import Fault, Row
from accord.errors import InputError, UsageError
from accord.runtime import plugins


def _each(rows: Iterator[Row]) -> Iterator[Row | Fault]:
    return rows


def _anything(_: dict[str, Any]) -> bool:
    return True


def _a_dialogue(value: dict[str, Any]) -> bool:
    return isinstance(value["chosen"], str) and "prompt" not in value


@dataclass(frozen=True)
class Format:
    """The conversion of a format's rows into records. ``Format.rewriting`` makes a format of your own."""

    take: Take
    fields: tuple[frozenset[str], ...]
    """Sets of fields; a row that has all fields of one set has this format."""
    gather: Gather = _each
    """Merges rows that belong together, or splits a row."""
    looks: Callable[[dict[str, Any]], bool] = _anything

    @classmethod
    def rewriting(cls, rewrite: Callable[[dict[str, Any]], dict[str, Any]], *fields: str) -> Format:
        """Make a format whose rows a function rewrites into rows of a built-in format, for example ``{"prompt": ..., "response": ...}``.

        Args:
            rewrite: takes a row's fields and returns the fields of the other row. A ValueError says why a row cannot be used.
            fields: names of fields, joined by "+". A row that has all fields of one of these is of this format.

        Raises:
            UsageError: no fields are named.
        """
        if not fields or not all(fields):
            raise UsageError("no fields are named", where="Format.rewriting", hint='for example Format.rewriting(read, "question+reply")')
        return _format(lambda row: _rewritten(rewrite, row), *fields)


def _format(take: Take, *fields: str, gather: Gather = _each, looks: Callable[[dict[str, Any]], bool] = _anything) -> Format:
    return Format(take, tuple(frozenset(names.split("+")) for names in fields), gather, looks)


FORMATS: dict[str, Format] = {
    "accord": _format(formats_own.accord, "accord"),
    "openassistant": _format(formats_chat.openassistant, "message_tree_id+prompt", "message_id+role+text+replies"),
    "openassistant-flat": _format(formats_chat.openassistant, "message_tree_id+message_id+role+text", gather=formats_chat.trees),
    "fine-grained": _format(formats_preferences.fine_grained, "question+passages+prediction 1+preference"),
    "grounded": _format(formats_preferences.grounded, "question+passages+answer"),
    "ultrafeedback": _format(formats_preferences.ultrafeedback, "instruction+completions"),
    "helpsteer": _format(formats_preferences.helpsteer, "prompt+response+helpfulness", gather=formats_preferences.same_prompt),
    "hh-rlhf": _format(formats_preferences.hh_rlhf, "chosen+rejected", looks=_a_dialogue),
    "trl-preference": _format(formats_preferences.comparisons, "chosen+rejected"),
    "trl-kto": _format(formats_preferences.completions, "prompt+completion+label"),
    "trl-completion": _format(formats_preferences.completions, "prompt+completion"),
    "self-instruct": _format(formats_tasks.self_instruct, "instruction+instances"),
    "self-instruct-written": _format(formats_tasks.self_instruct_written),
    "natural-instructions": _format(
        formats_tasks.natural_instructions, "Definition+Instances", "definition+inputs+targets", gather=formats_tasks.instances
    ),
    "history": _format(formats_own.history, "history+responses"),
    "rankings": _format(formats_own.rankings, "responses+ranks"),
    "dolly": _format(formats_tasks.dolly, "instruction+context+response"),
    "responses": _format(formats_own.responses, "instruction+input+response", "prompt+response+model", "messages+response+model"),
    "alpaca": _format(formats_tasks.alpaca, "instruction+output"),
    "bbq": _format(formats_probes.bbq, "context+question+ans0+ans1+ans2+label"),
    "gsm8k": _format(formats_tasks.gsm8k, "question+answer", "question+ground_truth"),
    "mt-bench": _format(formats_probes.mt_bench, "question_id+turns"),
    "mt-bench-answers": _format(lambda row: formats_probes.mt_bench_answers(row, Known()), "question_id+choices"),
    "winogender": _format(formats_probes.winogender, "sentid+sentence", "occupation(0)+sentence"),
    "sharegpt": _format(formats_chat.sharegpt, "conversations", "conversation"),
    "demonstrations": _format(formats_own.demonstrations, "prompt+response", "messages+response"),
    "messages": _format(formats_chat.messages, "messages"),
    "prompts": _format(formats_own.prompts, "prompt"),
    "text": _format(formats_own.text, "text"),
}
"""Formats in the order of detection: those with more fields first."""


def format_of(name: str) -> Format:
    """Return a format by name, ours or a plugin's.

    Raises:
        UsageError: there is none of this name, or a plugin that is not a format.
    """
    if not plugins.has("formats", name, FORMATS):
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}", where="--format", hint=plugins.known(("auto", *FORMATS), "formats"))
        return FORMATS[name]
    found = plugins.load("formats", name)
    if not isinstance(found, Format):
        hint = "make one by accord.Format.rewriting"
        raise UsageError(f"{name} is of type {type(found).__name__}, not a Format", where=plugins.origin("formats", name), hint=hint)
    return found


def detect(row: Row) -> str:
    """Return the name of a row's format. A plugin's takes precedence over ours when it matches more fields.

    Raises:
        InputError: no format has the row's fields.
        UsageError: a plugin cannot be imported, or has a name of ours.
    """
    best, most = _detect_built_in(row), 0
    if best:
        most = _matched(FORMATS[best], row)
    for name in plugins.find("formats"):
        matched = _matched(format_of(name), row)
        if matched > most:
            best, most = name, matched
    if best:
        return best
    what = f"no known format has the fields {', '.join(map(str, row.value))[:200] or '(none)'}"
    near = "; ".join(f"{name} needs {' and '.join(sorted(missing))}" for name, missing in _nearest(row)[:3])
    raise InputError(what, where=row.where, hint=f"map columns with --map FIELD=COLUMN, or give the format with --format: {near}")


def _detect_built_in(row: Row) -> str:
    return next((name for name, format in FORMATS.items() if _matched(format, row)), "")


def _matched(format: Format, row: Row) -> int:
    """Return the number of fields by which a row matches a format; 0 when it does not."""
    told = [len(fields) for fields in format.fields if fields <= row.value.keys()]
    return max(told) if told and format.looks(row.value) else 0


def _rewritten(rewrite: Callable[[dict[str, Any]], dict[str, Any]], row: Row) -> Taken:
    """Return the records of a row that a plugin's function rewrites."""
    try:
        value = rewrite(dict(row.value))
    except ValueError as error:
        raise InputError(str(error), where=row.where) from error
    except Exception as error:
        raise InputError(f"the format's function raised {type(error).__name__}: {error}", where=row.where) from error
    if not isinstance(value, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  (another package wrote it)
        raise InputError(f"the format's function returned a {type(value).__name__}, not a dict", where=row.where)
    other = Row(value, row.file, row.line, row.inside)
    name = _detect_built_in(other)
    if not name or FORMATS[name].gather is not _each:
        what = f"no built-in format reads a row with the fields {', '.join(map(str, value)) or '(none)'}"
        if name:
            what = f"a row of {name} cannot be read alone"
        hint = 'return for example {"prompt": ..., "response": ...}'
        raise InputError(f"the format's function returned what cannot be read: {what}", where=row.where, hint=hint)
    return FORMATS[name].take(other)


def _nearest(row: Row) -> list[tuple[str, frozenset[str]]]:
    """Return formats with the fields that a row lacks, closest format first."""
    lacking = list[tuple[str, frozenset[str], int]]()
    for name, format in FORMATS.items():
        for fields in format.fields:
            present = len(fields & row.value.keys())
            if present:
                lacking.append((name, fields - row.value.keys(), present))
    lacking.sort(key=lambda found: (-found[2] / (found[2] + len(found[1])), len(found[1])))
    nearest = [(name, missing) for name, missing, _ in lacking]
    for name, needed in (("prompts", {"prompt"}), ("demonstrations", {"prompt", "response"}), ("text", {"text"})):
        nearest.append((name, frozenset(needed - row.value.keys())))
    return nearest
