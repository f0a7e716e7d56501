"""`accord --help` is printed at once, and says what the library of the command line would."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from accord.commands import front_page

LOADED = """
import sys
from accord.__main__ import main
sys.argv = ["accord", *sys.argv[1:]]
main()
print(sorted({"cyclopts", "rich", "attrs", "sqlalchemy", "numpy", "torch"} & set(sys.modules)))
"""


@pytest.mark.parametrize("columns", [60, 80, 143])
def test_the_page_is_what_the_library_prints(columns: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in front_page.FORCED}
    environment |= {"ACCORD_LANG": "en", "COLUMNS": str(columns)}
    command = [sys.executable, "-c", "from accord.commands.app import main; main(['--help'])"]
    theirs = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    ours, coloured = (front_page.page(columns, colour=colour) for colour in (False, True))
    assert [line.rstrip() for line in ours.splitlines()] == [line.rstrip() for line in theirs.splitlines()]
    assert re.sub(r"\033\[\d+m", "", coloured) == ours
    assert "\033[36minit" in coloured


@pytest.mark.parametrize("words", front_page.ASKED)
def test_the_page_comes_without_the_libraries_of_a_command(words: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in front_page.FORCED} | {"ACCORD_LANG": "en"}
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True, env=environment, check=True)
    assert "Train: how it learns" in done.stdout
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("words", "environment"), [(["sft", "--help"], {}), (["--help"], {"ACCORD_LANG": "zh"}), (["--help"], {"FORCE_COLOR": "1"})]
)
def test_everything_else_is_left_to_the_library(words: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ({"ACCORD_LANG": "en"} | environment).items():
        monkeypatch.setenv(name, value)
    assert not front_page.wanted(words)
