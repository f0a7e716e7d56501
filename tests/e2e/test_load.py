"""The load benchmark in miniature: many at once, servers killed under them, nothing lost, doubled or over its overlap."""

from __future__ import annotations

import json
from pathlib import Path

import labeling_load
import pytest

FIELDS = {
    "labelers",
    "answers",
    "requests_per_s",
    "p50_ms",
    "p99_ms",
    "lost",
    "doubled",
    "over_overlap",
    "kills",
    "next_task_ms_1k",
    "next_task_ms_1m",
}


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_nothing_is_lost_under_load_and_kills(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert labeling_load.main(["--short", "--stores", store, "--out", str(tmp_path / "load.json")]) == 0
    figures = json.loads((tmp_path / "load.json").read_text())[store]
    assert set(figures) >= FIELDS
    assert figures["answers"] > 20
    assert figures["kills"] == 2
    assert figures["lost"] == figures["doubled"] == figures["over_overlap"] == figures["server_errors"] == 0
    assert "database is locked" not in capsys.readouterr().out
