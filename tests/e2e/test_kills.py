"""Commands killed at random moments, and faults of PostgreSQL, in miniature; and a command that loses something is caught."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import kills
import postgres_faults
import pytest
from forked import Forked


@pytest.mark.slow
@pytest.mark.parametrize("kind", kills.KINDS)
def test_nothing_is_lost_doubled_or_wrong(kind: str) -> None:
    found = kills.killed(kind, "sqlite", 4, seed=1)
    assert found["kills"] == 4
    assert not any(found[name] for name in (*kills.WRONG, "left")), found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["import", "undo", "label", "serve", "move", "migration"])
def test_nor_on_postgresql(kind: str) -> None:
    found = kills.killed(kind, "postgresql", 3, seed=1)
    assert found["kills"] == 3
    assert not any(found[name] for name in (*kills.WRONG, "left")), found


@pytest.mark.slow
def test_nor_by_faults_of_postgresql() -> None:
    found = postgres_faults.measure(8, seed=1)
    assert found["faults"] >= 8
    assert found["answers_acknowledged"] > 0
    assert not any(found[name] for name in kills.WRONG), found


def ground(forked: Forked, folder: Path) -> kills.Ground:
    return kills.Ground(forked, folder, 1, random.Random(0), lambda: "sqlite")


def test_a_loss_a_double_and_a_change_are_counted(tmp_path: Path) -> None:
    with Forked(tmp_path, ()) as forked:
        judge = ground(forked, tmp_path)
        judge.compare(Counter({"kept": 1, "twice": 2, "other": 1}), Counter({"kept": 1, "twice": 1, "gone": 1}), "rows")
        assert {name: judge.found[name] for name in kills.WRONG} == {"lost": 1, "doubled": 1, "wrong": 1}
        judge.must(forked.run("import", str(tmp_path / "none"), "nothing.jsonl"))
        assert judge.found["wrong"] == 2, "a command that cannot be run again"


def test_a_command_dies_in_the_middle(tmp_path: Path) -> None:
    with Forked(tmp_path, ()) as forked:
        ended = forked.run("!signal:pause", seconds=0.2)
        assert ended.killed
        assert not forked.run("config", str(tmp_path)).killed
