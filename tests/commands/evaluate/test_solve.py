"""`accord solve` on a model that cannot calculate, and its shares where the votes are given."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from evaluated import Answered, Typed

from accord.commands.app import main
from accord.commands.evaluate.solve import accuracy, solve
from accord.errors import InputError
from accord.runtime.project import Project
from accord.settings import SolveConfig

FEW = ("--max-tokens", "8", "--bootstrap", "50", "--dtype", "float32")


def test_held_out_problems_are_answered_alone_and_by_majority(answered: Answered, typed: Typed, town: Path) -> None:
    main(["problems", str(town), "--count", "60", "--solved", "4", "--most", "5", "--steps", "1"])
    found = answered("solve", town, "--model", "sft", "--votes", "3", "--temperature", "0.7", *FEW)
    assert (found["model"], found["votes"]) == ("sft", 3)
    assert found["problems"] > 2
    assert found["unanswered"] == 1.0, "a model of a small town writes no ####"
    assert found["accuracy"] == found["single"]
    assert found["accuracy"][:2] == [0.0, 0.0]
    assert "single" not in answered("solve", town, "--model", "sft", *FEW)
    code, out, _ = typed("solve", town, "--model", "sft", *FEW)
    assert code == 0
    assert "unanswered" in out


def test_a_majority_can_be_right_where_the_first_answer_is_not() -> None:
    two, three = Decimal(2), Decimal(3)
    votes, keys = [[three, two, two], [two, three, three], [None, None, two]], [two, two, two]
    config = SolveConfig(votes=3, temperature=0.7, bootstrap=10)
    assert accuracy(votes, keys, config)[0] == pytest.approx(2 / 3, abs=1e-4)
    assert accuracy([row[:1] for row in votes], keys, config)[0] == pytest.approx(1 / 3, abs=1e-4)


@pytest.mark.parametrize(("problems", "highest"), [(5, 0.5218), (100, 0.0362)])
def test_no_right_answer_is_no_proof_that_there_never_is_one(problems: int, highest: float) -> None:
    """The rule of three: none of 100 says that the share is below 0.036, and a bootstrap, which has nothing to vary, says 0."""
    found = accuracy([[None]] * problems, [Decimal(2)] * problems, SolveConfig())
    assert found == pytest.approx([0.0, 0.0, highest], abs=1e-4)


def test_without_problems_the_way_to_some_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="accord problems"):
        solve(Project.create(tmp_path / "bakery"))
