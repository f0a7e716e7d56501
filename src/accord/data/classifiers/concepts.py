"""The words by which the tasks are told apart, as named concepts in English and Chinese, written by hand in concepts.json.

The rules are combinations of concepts. The trained models read which concepts a text has, and which pairs of them, beside its letters.
Texts come in their plain spelling (``accord.data.spelling``). No pattern repeats without a limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

_TABLES: Mapping[str, Mapping[str, tuple[str, str]]] = json.loads(Path(__file__).with_name("concepts.json").read_text("utf-8"))
"""By task: concepts, each with a pattern of its English words and one of its Chinese words."""


def _compiled(english: str, chinese: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z0-9])(?:{english})(?![a-z0-9])|{chinese}")


CONCEPTS: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    task: {name: _compiled(*words) for name, words in table.items()} for task, table in _TABLES.items()
}


def concepts_in(task: str, text: str) -> list[str]:
    """Return the names of a task's concepts that a text in its plain spelling has."""
    return [name for name, pattern in CONCEPTS[task].items() if pattern.search(text)]
