"""The counts of docs/formats.md are those of a whole import of each format's excerpt, and the same rows again add nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_the_counts_on_the_page_are_those_of_an_import_of_every_format() -> None:
    path = PAGE.parent / "format_counts.py"
    spec = importlib.util.spec_from_file_location("format_counts", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    before = sys.path[:]
    spec.loader.exec_module(module)
    try:
        assert PAGE.read_text("utf-8") == module.page(), "run `python docs/format_counts.py` and look at what changed"
    finally:
        sys.path[:] = before
