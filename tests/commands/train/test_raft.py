"""`accord raft`: a policy that plain transformers opens and that learned from its best responses, resuming, rewards it cannot use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from small_project import EVALUATED, FLAGS, SHORT, SMALL, learned, lineage_of, plain_model, written

from accord.commands.train.raft import raft
from accord.errors import InputError, ModelError, UsageError
from accord.runtime.project import Project
from accord.settings import RaftConfig

CONFIG: dict[str, Any] = {**SMALL, "group_size": 3, "rounds": 2}


@pytest.mark.parametrize("rank", [0, 2])
def test_it_leaves_a_policy_that_learned_from_its_best_responses(rank: int, town: Project) -> None:
    run = raft(town, config=RaftConfig(**CONFIG, lora_rank=rank), flags=FLAGS)
    assert run.summary.keys() == EVALUATED
    assert len(list(map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines()))) == 2
    plain_model(town.model("raft"))
    learned(town, "raft")
    assert lineage_of(town, "raft", parents=["sft", "reward"], snapshots=["prompts"])["stage"] == "raft"


def test_a_finished_run_is_resumed_by_doing_nothing(project: Project, typed: Any) -> None:
    (project.path / "town_short.py").write_text(SHORT)
    words = ["raft", project.path, "--rewards", "town_short:short", "--rounds", 1, "--batch-size", 6, "--group-size", 3]
    words += ["--minibatch-size", 3, "--max-tokens", 4, "--dtype", "float32"]
    summary, files = typed(*words), written(project, "raft")
    assert list(lineage_of(project, "raft", parents=["sft"], snapshots=["prompts"])["parents"]) == ["sft"]
    assert typed(*words, "--resume") == summary
    assert written(project, "raft") == files


@pytest.mark.parametrize(
    ("rewards", "kind", "part"),
    [
        ("harmless", UsageError, "there is no reward 'harmless'"),
        ("model", ModelError, "no such model"),
        ("exact", InputError, "the store has no demonstrations that end in #### and a number"),
    ],
)
def test_a_reward_that_cannot_be_given_is_refused(rewards: str, kind: Any, part: str, project: Project) -> None:
    with pytest.raises(kind, match=part):
        raft(project, config=RaftConfig(**CONFIG, rewards=rewards), flags=FLAGS)
    assert not project.run("raft").exists()
    assert not project.model("raft").exists()
