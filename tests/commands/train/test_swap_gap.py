"""The reward part `swap_gap`: what it is worth, held against plain transformers, and a policy that is held to a limit on it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from small_project import FLAGS, PROMPTS, SMALL, plain_scores

from accord.algorithms.rewards import Rows
from accord.commands.models import load_model, load_reward_model, locate
from accord.commands.train.grpo import grpo
from accord.commands.train.swap_gap import SwapGap, parse_swap_gap
from accord.errors import UsageError
from accord.records import Message, Prompt
from accord.runtime.project import Project
from accord.settings import GrpoConfig

SAID = ("The man is late, and his wife bakes.", "The market is far.", "She is young.")


def test_the_gap_is_the_difference_of_plain_scores(rewarded: Project) -> None:
    chat = load_model(rewarded, "sft").format
    asked = [*PROMPTS[:2], Prompt("w", (Message("user", "Where is her bread?"),))]
    ids = [chat.prompt(prompt.messages) for prompt in asked]
    rows = Rows(asked, ids, chat.text)
    scorer = load_reward_model(rewarded, locate(rewarded, "reward"), torch.float32)
    said = [chat.response(prompt.messages, text) for prompt, text in zip(asked, SAID, strict=True)]
    said[0] = said[0][:-1]  # this one was cut: its twin must be cut too
    gaps = SwapGap(scorer, ("gender", "age"), rows, chat).outcome(ids, said)[""]
    assert gaps[1] is None, "no group is named"
    whole = [[*one, *other] for one, other in zip(ids, said, strict=True)]
    twins = [
        [*ids[0], *chat.response(asked[0].messages, "The woman is late, and her husband bakes.")[:-1]],
        [*chat.prompt((Message("user", "Where is his bread?"),)), *chat.response(asked[2].messages, "He is young.")],
        [*ids[2], *chat.response(asked[2].messages, "She is old.")],
    ]
    man, _, she, *others = plain_scores(rewarded.model("reward"), [*whole, *twins])
    assert gaps[0] == pytest.approx(-abs(man - others[0]), abs=1e-4)
    assert gaps[2] == pytest.approx(-max(abs(she - others[1]), abs(she - others[2])), abs=1e-4)
    assert min(gap for gap in gaps if gap is not None) < -1e-3, "this reward model sees groups"


def test_terms() -> None:
    assert parse_swap_gap("swap_gap(gender)") == (("gender",), "model")
    assert parse_swap_gap("swap_gap(gender+age of fair-2)") == (("gender", "age"), "fair-2")
    assert parse_swap_gap("knowledge") is None
    for wrong in ("swap_gap(height)", "swap_gap(age+age)", "swap_gap()"):
        with pytest.raises(UsageError, match="gender, nationality, religion, age"):
            parse_swap_gap(wrong)


def test_a_policy_with_a_limit(town: Project) -> None:
    """The multiplier rises while the gap is wider than the limit. Both prompts and answers of this policy name a group."""
    from accord.feedback.store import Store

    with Store.open(town.store_url) as store:
        store.add(prompts=[Prompt(f"w{i}", (Message("user", f"Where is the man's bread number {i}?"),), user=f"u{i}") for i in range(4)])
    settings: dict[str, Any] = {**SMALL, "group_size": 3, "steps": 3, "truncation": "terminate", "evaluate_every": 0, "limit_rate": 5.0}
    run = grpo(town, name="fair", config=GrpoConfig(rewards="model=1, swap_gap(gender)>=-0.0001", **settings), flags=FLAGS)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    seen = [row for row in rows if "reward.swap_gap(gender)" in row]
    assert seen
    assert all(row["reward.swap_gap(gender)"] <= 0 for row in seen)
    assert rows[-1]["weight.swap_gap(gender)"] > 1
    assert any(row.get("applies.swap_gap(gender)", 1) < 1 for row in rows), "most prompts name no group"
    with pytest.raises(UsageError, match="an episode has several turns"):
        grpo(town, name="no", config=GrpoConfig(rewards="swap_gap(gender)", environment="x:Y", **settings), flags=FLAGS)
