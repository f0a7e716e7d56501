"""OpenAI's own clients, in Python and in JavaScript, against a real `accord serve`: the page's table is what they get."""

from __future__ import annotations

from pathlib import Path

from idioms import IDIOMS, outcomes
from openai_table import in_javascript, served, told


def test_the_table_in_the_docs_is_what_openais_clients_get(tmp_path: Path) -> None:
    table = told()
    assert list(table) == list(IDIOMS), "write it anew: python tests/serving/openai_table.py"
    with served(tmp_path / "p") as url:
        python, javascript = outcomes(url), in_javascript(url)
    assert python == {idiom: cells[0] for idiom, cells in table.items()}
    assert javascript in (None, {idiom: cells[1] for idiom, cells in table.items()})
    assert not [idiom for idiom, outcome in python.items() if outcome.startswith("fails")]
