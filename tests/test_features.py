"""docs/features.md: every statement has an answer, and every command, option and page behind it is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest

from accord.commands.app import app

PAGE = (Path(__file__).parents[1] / "docs" / "features.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| \d", line)]


def test_every_statement_is_answered_once() -> None:
    numbers = [row[0] for row in ROWS]
    assert len(numbers) == len(set(numbers)) == 78
    assert {row[2] for row in ROWS} == {"yes", "partly"}
    assert all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_shows_it_is_there(row: list[str]) -> None:
    shown = re.findall(r"`accord ([^`]+)`", row[3])
    assert shown, "no command shows it"
    for words in shown:
        name = words.split()[0]
        assert name in app, f"there is no accord {name}"
        options = re.findall(r"--[a-z][a-z-]*", words)
        command = app[name]
        known = set[str]()
        for each in (command, *(command[inner] for inner in command if not inner.startswith("-"))):
            if each.default_command:
                for argument in each.assemble_argument_collection(parse_docstring=True):
                    known.update(cast("tuple[str, ...]", argument.names))
        assert set(options) <= known, f"accord {name} has no {sorted(set(options) - known)}"
    for name in re.findall(r"`(examples/[^`]+)`", row[3]):
        assert (Path(__file__).parents[1] / name).is_file()
    if row[2] == "partly":
        assert len(row[3]) > 60, "say what is missing"
