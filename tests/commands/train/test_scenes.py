"""Training in scenes: prompts are asked with their scenes' system prompts, and rewarded by their scenes' weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
from small_project import FLAGS, SMALL

from accord.commands.app import Compute
from accord.commands.train.raft import raft
from accord.commands.train.sample import sample
from accord.commands.train.sft import sft
from accord.errors import RunError, UsageError
from accord.feedback.store import Store
from accord.records import Message, Prompt
from accord.runtime.project import Project
from accord.settings import RaftConfig, SampleConfig, SftConfig

CONFIG: dict[str, Any] = {**SMALL, "group_size": 2, "rounds": 1, "evaluate_every": 0}
SCENES = """
[scenes.poem]
use_cases = "rhyme"
system = "Write in rhymes."
rewards = "length=1"

[scenes.rest]
default = true
"""


@pytest.fixture
def staged(project: Project) -> Project:
    with Store.open(project.store_url) as store:
        store.add_prompts([Prompt(f"rhyme{i}", (Message("user", f"A rhyme {i}"),), "rhyme", user=f"r{i}") for i in range(3)])
    with (project.path / "accord.toml").open("a") as file:
        file.write(SCENES)
    return Project.open(project.path)


def lines(project: Project, run: str, file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.run(run) / file).read_text().splitlines()]


def test_a_policy_learns_from_prompts_as_they_are_asked_and_by_the_rewards_of_their_scenes(staged: Project) -> None:
    run = raft(staged, config=RaftConfig(**CONFIG, rewards="eos=1", save_every=1), flags=FLAGS)
    prompts = lines(staged, "raft", "prompts.jsonl")
    poems = [row for row in prompts if row["use_case"] == "rhyme"]
    assert len(poems) == 3
    assert all(row["messages"][0] == {"role": "system", "content": "Write in rhymes."} for row in poems)
    assert all(row["extra"]["scene"] == "poem" for row in poems)
    assert all(row["extra"]["scene"] == "rest" and row["messages"][0]["role"] == "user" for row in prompts if row not in poems)
    metrics = lines(staged, "raft", "metrics.jsonl")[0]
    found = {name for name in metrics if name.startswith("reward.in.")}
    assert found <= {"reward.in.poem", "reward.in.rest"}
    assert found
    if "reward.in.poem" in metrics:
        assert metrics["reward.in.poem"] == pytest.approx(metrics["reward.length"])
    assert "scenes" in json.loads((run.folder / "config.json").read_text())["inputs"]


def test_a_run_is_not_resumed_under_other_scenes(staged: Project) -> None:
    raft(staged, config=RaftConfig(**CONFIG, rewards="eos=1"), flags=FLAGS)
    text = (staged.path / "accord.toml").read_text()
    (staged.path / "accord.toml").write_text(text.replace("Write in rhymes.", "Write in prose."))
    from small_project import RESUME

    with pytest.raises(RunError, match="scenes"):
        raft(Project.open(staged.path), config=RaftConfig(**CONFIG, rewards="eos=1"), flags=RESUME)


def test_demonstrations_and_samples_carry_their_scenes(staged: Project) -> None:
    sft(staged, base="base", name="again", config=SftConfig(epochs=1, lr=1e-3, ptx_tokens=0), flags=FLAGS)
    assert {row["prompt"]["extra"].get("scene") for row in lines(staged, "again", "demonstrations.jsonl")} == {"rest"}
    run = sample(staged, config=SampleConfig(k=2, max_tokens=4), flags=Compute("float32"))
    assert run.summary["responses"] > 0


def test_rewards_that_do_not_go_together_are_refused(staged: Project) -> None:
    with pytest.raises(UsageError, match=r"\[scenes.poem\] rewards: a limit is on the mean over all prompts"):
        raft(staged, config=RaftConfig(**CONFIG, rewards="eos=1, length>=2"), flags=FLAGS)
    text = (staged.path / "accord.toml").read_text()
    (staged.path / "accord.toml").write_text(text.replace('"length=1"', '"length=much"'))
    with pytest.raises(UsageError, match=r"\[scenes.poem\] rewards: 'much' is no weight"):
        raft(Project.open(staged.path), config=RaftConfig(**CONFIG, rewards="eos=1"), flags=FLAGS)
