"""`accord problems`: some problems are solved, the others have their answer alone; the same again adds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.algorithms.rewards import is_answer_key
from accord.commands.data.problems import problems
from accord.errors import InputError
from accord.feedback.answer_keys import with_answer_keys
from accord.feedback.store import Store
from accord.records import final_answer
from accord.runtime.project import Project
from accord.settings import ProblemsConfig

CONFIG = ProblemsConfig(count=40, solved=4, most=5, steps=1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "p")


def test_training_problems_are_solved_and_the_rest_can_be_checked(project: Project) -> None:
    assert problems(project, config=CONFIG) == {"problems": 40, "solved": 4, "prompts": 40, "demonstrations": 40}
    with Store.open(project.store_url) as store:
        written = list(store.demonstrations())
    solved = [row for row in written if not is_answer_key(row.text)]
    assert {row.prompt.split for row in solved} == {"train"}
    assert {row.labeler for row in solved} == {"teacher"}
    assert len(solved) == 4
    assert all(final_answer(row.text) is not None for row in written)
    again = problems(project, config=CONFIG)
    assert (again["prompts"], again["demonstrations"]) == (0, 0)


def test_answer_keys_are_found_by_split_and_kind_of_labeler(project: Project) -> None:
    problems(project, config=CONFIG)
    with Store.open(project.store_url) as store:
        assert len(with_answer_keys(store, "train", "simulated")) == 24
        assert len(with_answer_keys(store, "test", "person simulated")) == 8
        assert with_answer_keys(store, "train", "person") == []


def test_more_problems_than_there_are_is_an_error(project: Project) -> None:
    with pytest.raises(InputError, match="raise --most above 3, or lower --count below 50000"):
        problems(project, config=ProblemsConfig(count=50_000, most=3, steps=1))
