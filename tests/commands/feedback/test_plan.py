"""`accord plan` on a project that the world's labelers answered, without any model."""

from __future__ import annotations

from pathlib import Path

import pytest
from ranked_town import metrics, ranked_town, typed

from accord.runtime.project import Project


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ranked_town(tmp_path_factory.mktemp("town") / "town")


@pytest.mark.parametrize("source", ["answers", "world"])
def test_a_budget_is_told_what_it_reaches(capsys: pytest.CaptureFixture[str], town: Path, source: str) -> None:
    found = metrics(capsys, "plan", town, "--by", source, "--labels", "1200", "--pilot", "100")
    assert found["from"] == source
    assert (found["labels"], found["prompts"]) == (1200, 1000)
    assert 0.5 < found["reward_accuracy"] < found["ceiling"] < 1
    assert 0 < found["agreement_width"] < 0.1
    assert [row["labels_a_prompt"] for row in found["redundancy"]] == [1, 3, 5, 7]


def test_a_width_is_told_what_it_takes(capsys: pytest.CaptureFixture[str], town: Path) -> None:
    wide, narrow = (metrics(capsys, "plan", town, "--width", width) for width in (0.08, 0.04))
    for key in ("labels_for_agreement", "labels_for_reward_accuracy", "prompts_for_win_rate"):
        assert narrow[key] == pytest.approx(4 * wide[key], rel=0.02), key
    assert "plan, from" in typed(capsys, "plan", town, "--width", "0.05")[1]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["plan", "TOWN"], 2, "--width 0.04"),
        (["plan", "TOWN", "--labels", "9", "--width", "0.1"], 2, "either"),
        (["plan", "TOWN", "--labels", "-5"], 2, "labels is -5"),
        (["plan", "TOWN", "--labels", "9", "--overlap", "0"], 2, "overlap is 0"),
        (["plan", "EMPTY", "--labels", "9", "--by", "answers"], 1, "--by world"),
        (["plan", "EMPTY", "--labels", "9"], 2, "no built-in world"),
    ],
)
def test_a_refusal_is_one_line(
    capsys: pytest.CaptureFixture[str], town: Path, tmp_path: Path, words: list[str], code: int, part: str
) -> None:
    empty = Project.create(tmp_path / "empty").path
    folders: dict[str, str] = {"TOWN": str(town), "EMPTY": str(empty)}
    found, _, complaint = typed(capsys, *[folders.get(word, word) for word in words])
    assert found == code
    assert complaint.startswith("accord: ")
    assert part in complaint
    assert complaint.count("\n") == 1
