"""Rows that are too long, by every command that learns from written rows: left out and counted, cut, or refused, as `long_rows` says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, PROMPTS, labeled, rankings
from tiny import FP32

from accord.commands.models import TextScorer
from accord.commands.train.dpo import dpo
from accord.commands.train.ilql import ilql
from accord.commands.train.kto import kto
from accord.commands.train.ppo import ppo
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.errors import InputError, UsageError
from accord.feedback.store import Store
from accord.records import Demonstration, Message, Ranking, Response
from accord.runtime.project import Project
from accord.settings import DpoConfig, IlqlConfig, KtoConfig, PpoConfig, RewardConfig, SftConfig

LONG = replace(PROMPTS[0], id="long", user="long", messages=(Message("user", "Where is bread? " * 30),))
Train = Callable[[Project, dict[str, Any]], Any]
COMMANDS: dict[str, Train] = {
    "sft": lambda project, asked: sft(project, name="new", config=SftConfig(epochs=1, ptx_tokens=0, **asked), flags=FLAGS),
    "reward": lambda project, asked: reward(project, name="new", config=RewardConfig(mismatched=0, **asked), flags=FLAGS),
    "dpo": lambda project, asked: dpo(project, name="new", config=DpoConfig(**asked), flags=FLAGS),
    "kto": lambda project, asked: kto(project, name="new", config=KtoConfig(thumbs="ranks", **asked), flags=FLAGS),
    "ilql": lambda project, asked: ilql(project, name="new", config=IlqlConfig(returns="ranks", **asked), flags=FLAGS),
}


@pytest.fixture
def long(unlabeled: Project, tmp_path: Path) -> Project:
    """A project with rankings and demonstrations, one of each for a prompt of many tokens."""
    project = labeled(unlabeled, tmp_path / "p", rankings())
    with Store.open(project.store_url) as store:
        store.add_demonstrations([Demonstration("dlong", LONG, "At the market.", "ann")])
        store.add_responses(Response(f"long-{i}", "long", text, "sft") for i, text in enumerate(("At home.", "No.", "At the mill.")))
        one = rankings(prompts=PROMPTS[:1], labelers="ann")[0]
        given: Ranking = replace(one, id="rlong", prompt_id="long", response_ids=tuple(f"long-{i}" for i in range(3)))
        store.add_rankings([given])
    return project


@pytest.mark.parametrize("command", COMMANDS)
def test_one_row_that_is_too_long_is_left_out_counted_and_named(command: str, long: Project) -> None:
    run = COMMANDS[command](long, {"max_tokens": 128})
    assert run.summary["window"] == 128
    left_out = {"sft": 1, "kto": 2, "ilql": 3, "reward": 2, "dpo": 1}  # the reward model is centred on demonstrations
    assert run.summary["rows_left_out"] == left_out[command]
    assert run.summary["rows_cut"] == 0
    log = (run.folder / "log.txt").read_text()
    assert "left out" in log
    assert "in a window of 128" in log


@pytest.mark.parametrize("command", COMMANDS)
def test_its_prompt_may_be_cut_instead_or_the_run_stopped(command: str, long: Project) -> None:
    with pytest.raises(InputError, match="in a window of 128") as refused:
        COMMANDS[command](long, {"max_tokens": 128, "long_rows": "refuse"})
    assert any(word in refused.value.where for word in ("long", "response"))
    assert not (long.run("new") / "config.json").exists()
    summary = COMMANDS[command](long, {"max_tokens": 128, "long_rows": "cut_prompt"}).summary
    assert summary["rows_left_out"] == 0
    assert summary["rows_cut"] > 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_window_beyond_the_models_context_is_refused(command: str, long: Project) -> None:
    with pytest.raises(UsageError, match=f"{command}: max_tokens is 1025, but the model's context holds 1024"):
        COMMANDS[command](long, {"max_tokens": 1025})


def test_without_a_setting_the_window_is_the_models_context(long: Project) -> None:
    summary = COMMANDS["sft"](long, {}).summary
    assert (summary["window"], summary["rows_left_out"]) == (1024, 0)


def test_ppo_reads_a_pair_within_the_window_that_the_reward_model_was_trained_with(long: Project) -> None:
    COMMANDS["reward"](long, {"max_tokens": 128})
    scorer = TextScorer.open(long, "new", FP32)
    assert scorer.model.max_tokens == 128
    scorer.scores([LONG, PROMPTS[0]], ["At home.", "At home."])
    assert (scorer.model.scored, scorer.model.cut) == (2, 1)
    config = PpoConfig(steps=1, batch_size=9, minibatch_size=9, epochs=1, max_tokens=4, ptx_coef=0)
    run = ppo(long, reward="new", name="ppo", config=config, flags=FLAGS)
    (row,) = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert row["over_window.model"] >= 1 / 9, "each of the eight training prompts is asked"
