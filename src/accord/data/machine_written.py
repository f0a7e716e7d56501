"""Tell-tale wording of language models in English and Chinese: the classifier ``rules`` of the task ``written``. A hint, never a verdict.

Two kinds of evidence. A text that calls itself a model's ("As an AI language model, I", the marks of a chat template) gives itself away.
Otherwise habits of assistants are counted ("It is important to note", "In conclusion,", headings in bold within a list), each once: a text
with ``HABITS`` of them is flagged. People have each of these habits too, and some learned them from models. How often the hint is wrong
stands in its card, measured on texts of others (docs/classifiers.md). No pattern repeats without a limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HABITS = 3
"""Different habits from which a text is flagged."""
LEAST = 100
"""Characters below which nothing is said; a Chinese, Japanese or Korean character counts as ``WIDE``."""
WIDE = 2
LONGEST = 20_000
"""Characters that are read, from the beginning."""

_TABLES: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
"""Patterns written by hand: in which a text calls itself a model's, and those of each habit, in English and in Chinese."""


def _compiled(table: Mapping[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(pattern for pattern in table.values() if pattern), re.IGNORECASE | re.MULTILINE)


_OWN_WORDS = _compiled(_TABLES["gives_itself_away"])
_HABITS = {name: _compiled(table) for name, table in _TABLES["habits"].items()}
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def long_enough(text: str) -> bool:
    """Return whether a text is long enough for anything to be said about it."""
    return len(text) >= LEAST or len(text) + (WIDE - 1) * len(_WIDE.findall(text)) >= LEAST


def habits(text: str) -> list[str]:
    """Return the names of the habits of assistants that a text has."""
    plain = text[:LONGEST].replace("’", "'")
    return [name for name, pattern in _HABITS.items() if pattern.search(plain)]


def gives_itself_away(text: str) -> str:
    """Return the words in which a text calls itself a model's; empty where there are none."""
    found = _OWN_WORDS.search(text[:LONGEST].replace("’", "'"))
    return found[0].strip() if found else ""


def evidence(text: str) -> list[str]:
    """Return why a text may have been written by a model, in words; nothing where it is too short or the evidence too weak."""
    text = text.strip()
    if not long_enough(text):
        return []
    if words := gives_itself_away(text):
        return [f"says {words!r}"]
    found = habits(text)
    return found if len(found) >= HABITS else []
