"""The frame of runs/claims: verdicts rest on intervals, intervals on seeds, and the page says what the rows say."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SHARED = ("frame", "rewarders", "small")
CLAIMS = sorted(path for path in (ROOT / "runs" / "claims").glob("*.py") if path.stem not in SHARED)
KEYS = {"claim", "source", "theirs", "ours", "low", "high", "seeds", "verdict"}


@pytest.fixture
def frame(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("frame", ROOT / "runs" / "claims" / "frame.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "frame", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["some_claim.py"])
    return module


def test_an_interval_over_three_seeds_covers_as_often_as_it_says(frame: Any) -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.1, (2000, 3)).tolist()
    covered = np.mean([low <= 0.3 <= high for _, low, high in map(frame.interval, draws)])
    assert 0.93 < covered < 0.97


def test_one_seed_decides_nothing(frame: Any) -> None:
    assert frame.row("a", [0.9], frame.above(0.5), source="s").verdict == "undecided"


@pytest.mark.parametrize(
    ("rule", "limit", "values", "verdict"),
    [
        ("above", 0.5, [0.7, 0.71, 0.69], "holds"),
        ("above", 0.5, [0.3, 0.31, 0.29], "fails"),
        ("above", 0.5, [0.3, 0.7, 0.5], "undecided"),
        ("below", 0.0, [-0.2, -0.21, -0.19], "holds"),
        ("below", 0.0, [0.2, 0.21, 0.19], "fails"),
        ("within", 0.05, [0.01, 0.0, -0.01], "holds"),
        ("within", 0.05, [-0.2, -0.21, -0.19], "fails"),
        ("within", 0.05, [0.0, 0.1, -0.1], "undecided"),
    ],
)
def test_a_verdict_takes_the_whole_interval(frame: Any, rule: str, limit: float, values: list[float], verdict: str) -> None:
    assert frame.row("a", values, getattr(frame, rule)(limit), source="s").verdict == verdict


def test_rows_of_one_script_take_the_place_of_its_earlier_ones(frame: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "claims.md"
    page.write_text(f"before\n{frame.START}\n{frame.END}\nafter\n")
    monkeypatch.setattr(frame, "RESULTS", tmp_path / "results" / "claims.json")
    monkeypatch.setattr(frame, "PAGE", page)
    for values in ([0.1, 0.2], [0.7, 0.71, 0.7]):
        frame.save([frame.row("PPO wins", values, frame.above(0.5), source="s", theirs=0.73)])
    (found,) = frame.read()
    assert set(found) >= KEYS
    assert (found["seeds"], found["verdict"]) == (3, "holds")
    assert page.read_text().count("PPO wins") == 1
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert "Not run for this table yet: `asking_back.py`, `batch_element.py`, `best_of_n.py`" in page.read_text()
    assert frame.page(page.read_text(), frame.read()) == page.read_text()


def test_the_page_in_docs_is_made_of_the_rows_that_are_kept(frame: Any) -> None:
    text = frame.PAGE.read_text("utf-8")
    assert frame.page(text, frame.read()) == text
    rows: list[dict[str, Any]] = json.loads(frame.RESULTS.read_text("utf-8"))
    assert rows
    assert all(set(row) >= KEYS and row["seeds"] == len(row["by_seed"]) for row in rows)


@pytest.mark.parametrize("path", CLAIMS, ids=lambda path: path.stem)
def test_every_script_is_run_by_make_claims_and_told_of_in_the_docs(path: Path) -> None:
    assert path.stem in (ROOT / "runs" / "claims" / "all.sh").read_text("utf-8")
    assert f"`{path.name}`" in (ROOT / "docs" / "claims.md").read_text("utf-8")
