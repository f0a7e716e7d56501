"""Breaks that have gone stale show at once: each quotes the source as it is, and names a test that exists."""

from __future__ import annotations

import ast
import re

import pytest
from breaks import BREAKS, PAGE, ROOT, Break


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: f"{broken.test}-{broken.law}")
def test_a_break_quotes_one_place_of_the_source_and_names_one_test(broken: Break) -> None:
    text = (ROOT / "src" / "accord" / broken.file).read_text("utf-8")
    assert text.count(broken.old) == 1
    assert broken.old != broken.new
    ast.parse(text.replace(broken.old, broken.new))
    functions = [node for node in ast.parse((ROOT / broken.tests).read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    assert len([function.name for function in functions if function.name.startswith(f"test_{broken.test}")]) == 1


def test_the_page_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text("utf-8"))
    assert len(named) > 30
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / file).read_text("utf-8")]
    assert not missing
