"""The command line in Chinese: help and the most frequent errors, from locales/zh_CN.json. What it does not have stays English.

``ACCORD_LANG`` decides (en, zh), else the locale: LC_ALL, LC_MESSAGES, LANG. Metrics, ``--json`` and logs are English everywhere.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal

VARIABLE = "ACCORD_LANG"
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
TRADITIONAL = re.compile(r"zh[-_](tw|hk|mo|hant)", re.IGNORECASE)


def chosen(environment: Mapping[str, str] = os.environ) -> Literal["en", "zh"]:
    """Return the language: of ``ACCORD_LANG`` when it is set, else of the first locale variable that is."""
    name = next((value for key in (VARIABLE, *LOCALE) if (value := environment.get(key, ""))), "")
    return "zh" if name.lower().startswith("zh") and not TRADITIONAL.match(name) else "en"


def said(text: str) -> str:
    """Return a help text in Chinese; one that the catalogue lacks stays as it is."""
    return _catalogue()["texts"].get(first_paragraph(text), text)


def first_paragraph(text: str) -> str:
    """Return the first paragraph of a help text on one line: the catalogue's key."""
    return " ".join(text.split("\n\n")[0].split())


def error(message: str) -> str:
    """Return an error, ``where: what (hint)``, in Chinese as far as the catalogue has its parts."""
    parts = re.fullmatch(r"(.*?)(?: \((.*)\))?", message, re.DOTALL)
    assert parts  # anything matches
    what, hint = _what(parts[1]), parts[2]
    return what if hint is None else f"{what}（{_filled(hint) or hint}）"


def _what(text: str) -> str:
    """Translate what follows the place that a message begins with (``FILE: ...``), or all of it when it begins with none."""
    starts = [0, *(colon.end() for colon in re.finditer(": ", text))]
    for start in reversed(starts):
        if found := _filled(text[start:]):
            return text[:start] + found
    return text


def _filled(text: str) -> str:
    for pattern, chinese in _templates():
        if found := pattern.fullmatch(text):
            return chinese.format(**found.groupdict())
    return ""


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    made = list[tuple[re.Pattern[str], str]]()
    for english, chinese in _catalogue()["errors"].items():
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(english))
        made.append((re.compile(pattern, re.DOTALL), chinese))
    return made


@cache
def _catalogue() -> dict[str, dict[str, str]]:
    return json.loads(resources.files("accord.commands").joinpath("locales", "zh_CN.json").read_text("utf-8"))
