"""`accord compare` takes the judge that the project has, and refuses before anything is generated where it has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.commands.evaluate.compare import compare
from accord.commands.evaluate.compare_judges import judge_at_hand
from accord.commands.evaluate.held_out import held_out_prompts
from accord.errors import InputError, ModelError, UsageError
from accord.feedback.store import Store
from accord.records import Labeler, Message, Prompt
from accord.runtime.language_models import reward_models
from accord.runtime.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "p")


def model(project: Project, name: str, kind: str, *, stage: str = "", at: str = "") -> None:
    folder = project.model(name)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": [f"Llama{kind}"]}))
    if stage:
        (folder / "lineage.json").write_text(json.dumps({"name": name, "stage": stage, "at": at}))


def test_the_newest_reward_model_and_no_value_model(project: Project) -> None:
    model(project, "sft", "ForCausalLM", stage="sft", at="2026-03-01T00:00:00Z")
    model(project, "reward", "ForSequenceClassification", stage="reward", at="2026-01-01T00:00:00Z")
    model(project, "second", "ForSequenceClassification", stage="reward", at="2026-02-01T00:00:00Z")
    model(project, "ppo-value", "ForSequenceClassification", stage="ppo", at="2026-03-01T00:00:00Z")
    assert reward_models(project) == ["second", "reward"]
    assert judge_at_hand(project, "auto", "") == ("reward", "second")
    assert judge_at_hand(project, "reward", "reward") == ("reward", "reward")
    with pytest.raises(ModelError, match="third"):
        judge_at_hand(project, "reward", "third")


def test_people_where_there_are_no_models(project: Project) -> None:
    with Store.open(project.store_url) as store:
        store.add(labelers=[Labeler("model-x", "model", "ai")])
    with pytest.raises(UsageError, match="nobody can judge"):
        judge_at_hand(project, "auto", "")
    with Store.open(project.store_url) as store:
        store.add(labelers=[Labeler("ann", "person", "near")])
    assert judge_at_hand(project, "auto", "") == ("people", "")


def test_a_world_has_its_gold_judge(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", settings={"world": {"seed": 1}})
    model(project, "reward", "ForSequenceClassification", stage="reward", at="2026-01-01T00:00:00Z")
    assert judge_at_hand(project, "auto", "") == ("gold", "")
    assert judge_at_hand(project, "reward", "") == ("reward", "reward")


@pytest.mark.parametrize("by", ["auto", "gold", "reward"])
def test_without_a_judge_it_refuses_at_once_with_the_ways_out(project: Project, by: str) -> None:
    """There are no prompts and no models either: the judge is looked for first."""
    with pytest.raises(UsageError, match=r"--by reward .*accord reward.*--by people.*--by llm --judge"):
        compare(project, "sft", "dpo", by=by)
    assert not (project.path / "cache").exists()
    assert project.runs() == []


def test_other_splits_are_named_by_what_they_have(project: Project) -> None:
    with Store.open(project.store_url) as store:
        store.add_prompts([Prompt(f"p{n}", (Message("user", str(n)),), split="train" if n else "validation") for n in range(3)])
    with pytest.raises(InputError, match=r"no test prompts.*--split train has 2, --split validation has 1"):
        held_out_prompts(project)
