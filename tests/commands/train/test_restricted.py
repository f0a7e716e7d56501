"""`banned_words` in training: the policy never draws them, and sampler and trainer have one distribution."""

from __future__ import annotations

import json

import pytest
from small_project import FLAGS, SHORT, SMALL

from accord.commands.train.grpo import grpo
from accord.errors import UsageError
from accord.runtime.project import Project
from accord.settings import GrpoConfig


def test_a_policy_learns_in_a_restricted_action_space(project: Project) -> None:
    """All tokens but a few are banned: what is sampled is these few, and the ratio of the first minibatch is still one."""
    (project.path / "town_short.py").write_text(SHORT)
    words = ", ".join(f"id:{token}" for token in range(20, 290))
    config = GrpoConfig(**SMALL, steps=1, group_size=3, rewards="town_short:short", banned_words=words, evaluate_every=0)
    run = grpo(project, config=config, flags=FLAGS)
    row = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[0])
    assert row["logprob_gap"] < 1e-3
    assert "270 tokens are never drawn" in (run.folder / "log.txt").read_text()


def test_what_cannot_be_banned_stops_the_command(project: Project) -> None:
    (project.path / "town_short.py").write_text(SHORT)
    config = GrpoConfig(**SMALL, steps=1, group_size=3, rewards="town_short:short", banned_words="id:9999", evaluate_every=0)
    with pytest.raises(UsageError, match="banned_words: there is no token '9999'"):
        grpo(project, config=config, flags=FLAGS)
    with pytest.raises(UsageError, match="banned_words need sampler local"):
        GrpoConfig(banned_words="yes", sampler="vllm")
