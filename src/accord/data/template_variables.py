"""Values that a chat template reads beside the messages, such as ``enable_thinking``, ``tools`` and the date.

They are written into the template itself, as defaults. So every rendering has them: in training, in serving, and in any other tool that
opens the model's folder. A value given by the caller of a rendering goes before them.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from accord.data.template_render import environment
from accord.data.tokenizers import Tokenizer, load_tokenizer
from accord.errors import InputError, UsageError
from accord.runtime import lineage
from accord.runtime.project import TODAY, Project

GIVEN = {"messages", "add_generation_prompt", "continue_final_message", "strftime_now", "raise_exception", "true", "false", "none"}
"""Names that every rendering has by itself."""
WRITTEN = re.compile(r"\{# accord: (.{0,4000}?) #\}", re.DOTALL)
SETTING = "[template] variables"


def open_tokenizer(project: Project, source: str | Path) -> Tokenizer:
    """Load a model's tokenizer, its template with the project's variables written in.

    A model that was trained here keeps those it was trained with.

    Raises:
        ModelError: there is none, or it cannot be read.
        UsageError: the template reads no variable of such a name, or the model was trained with other values.
    """
    tokenizer, section = load_tokenizer(source), project.template
    asked: Mapping[str, Any] = project.settings.get("template", {})
    own, trained = written_in(tokenizer), bool(lineage.read(Path(source)))
    if not (own or trained) or not tokenizer.chat_template:
        write_variables(tokenizer, section.variables, section.date)
        return tokenizer
    kept: dict[str, Any] = {"variables": own.get("variables", {}), "date": own.get("date", TODAY)}
    for name, value in asked.items():
        if value != kept[name] and (name == "variables" or "date" in own):
            what = f"[template] {name} is {json.dumps(value, ensure_ascii=False)}, but the model was trained with {_told(kept[name])}"
            raise UsageError(what, where=str(source), hint="set it back, or train the model again from its base")
    if not own:
        write_variables(tokenizer, {}, section.date)
    return tokenizer


def _told(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if value else "none"


def written_in(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what was written into a tokenizer's template: ``variables`` and ``date``; empty if nothing was."""
    found = WRITTEN.search(_source(tokenizer, {}) or "")
    return json.loads(found[1]) if found else {}


def write_variables(tokenizer: Tokenizer, variables: Mapping[str, Any], date: str) -> dict[str, Any]:
    """Write variables and the date into a tokenizer's template, and return what was written.

    A template that tells no date gets none; with neither it stays as it is.

    Args:
        date: the day that a template is told which asks for today's, such as ``2024-07-26``; ``today`` leaves it the clock.

    Raises:
        UsageError: the template reads no variable of such a name, or a value is no JSON value.
        InputError: a text among the values holds a control token.
    """
    source = _source(tokenizer, variables)
    if source is None:
        return {}
    read = variables_of(source)
    for name, value in variables.items():
        if name not in read:
            known = ", ".join(sorted(read - {each for each in read if each.endswith("_token")} - GIVEN)) or "none"
            raise UsageError(f"the chat template does not read {name!r}", where=SETTING, hint=f"it reads: {known}")
        _check_text(tokenizer, name, value)
    told: dict[str, Any] = {"variables": dict(variables)} if variables else {}
    if "strftime_now" in read and date != TODAY:
        told["date"] = date
    if not told:
        return {}
    lines = [f"{{% if {name} is not defined or {name} is none %}}{{% set {name} = {_literal(name, value)} %}}{{% endif %}}"
             for name, value in variables.items()]  # fmt: skip
    clock = _clock(datetime.date.fromisoformat(date)) if "date" in told else ""
    noted = json.dumps(told, ensure_ascii=True).replace("#}", "#\\u007d")
    tokenizer.chat_template = f"{{# accord: {noted} #}}{''.join(lines)}{clock}{source}"
    return told


def variables_of(source: str) -> set[str]:
    """Return the names that a template reads from outside; none of a template with a wrong syntax.

    A name that it sets itself is read from outside if the template asks whether it is defined.
    """
    from jinja2 import TemplateSyntaxError, meta, nodes

    try:
        tree = environment().parse(source)
    except TemplateSyntaxError:
        return set()  # its first rendering tells
    made = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    asked = {test.node.name for test in tree.find_all(nodes.Test) if isinstance(test.node, nodes.Name)}
    asked |= {each.node.name for each in tree.find_all(nodes.Filter) if isinstance(each.node, nodes.Name) and each.name in ("default", "d")}
    return set(meta.find_undeclared_variables(tree)) - (made - asked)


def _source(tokenizer: Tokenizer, variables: Mapping[str, Any]) -> str | None:
    """The template that transformers takes: of several, the one for tools if there are tools, else the default one."""
    template = tokenizer.chat_template
    if not isinstance(template, Mapping):
        return template if template and isinstance(template, str) else None
    named = cast("Mapping[str, str]", template)
    return named.get("tool_use" if variables.get("tools") else "default") or named.get("default")


def _literal(name: str, value: object) -> str:
    """A value as a jinja expression."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case int() | float() | str():
            return json.dumps(value, ensure_ascii=False)
        case Mapping():
            items = cast("Mapping[str, object]", value).items()
            return "{" + ", ".join(f"{json.dumps(str(key), ensure_ascii=False)}: {_literal(name, each)}" for key, each in items) + "}"
        case list() | tuple():
            return "[" + ", ".join(_literal(name, each) for each in cast("list[object]", value)) + "]"
        case _:
            hint = "use strings, numbers, true, false, lists and tables"
            raise UsageError(f"{name} holds a {type(value).__name__}, which a template cannot be given", where=SETTING, hint=hint)


def _check_text(tokenizer: Tokenizer, name: str, value: object) -> None:
    control = {*tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)}
    for text in _texts(value):
        found = next((token for token in sorted(control) if token in text), None)
        if found is not None:
            raise InputError(f"{name} holds the control token {found}", where=SETTING, hint="write it in other words")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in cast("Mapping[object, object]", value).items():
            yield str(key)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in cast("list[object]", value):
            yield from _texts(each)


def _clock(day: datetime.date) -> str:
    """A macro in place of ``strftime_now`` that tells one day, at midnight. Directives that it does not know stay as they are."""
    told = {
        "%Y": f"{day:%Y}", "%y": f"{day:%y}", "%m": f"{day:%m}", "%d": f"{day:%d}", "%e": f"{day.day:2}", "%j": f"{day:%j}",
        "%-d": str(day.day), "%-m": str(day.month), "%B": MONTHS[day.month - 1], "%b": MONTHS[day.month - 1][:3],
        "%A": DAYS[day.weekday()], "%a": DAYS[day.weekday()][:3], "%F": day.isoformat(), "%H": "00", "%I": "12", "%M": "00", "%S": "00",
        "%p": "AM", "%T": "00:00:00", "%Z": "",
    }  # fmt: skip
    replaced = "".join(f".replace({json.dumps(key)}, {json.dumps(value)})" for key, value in told.items())
    return f"{{% macro strftime_now(form) %}}{{{{ form{replaced} }}}}{{% endmacro %}}"


MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
