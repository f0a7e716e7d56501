"""Does it learn? Critic-free methods raise a planted reward and an exact answer on every seed, in seconds."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from groups import improve
from tiny import END, ByFunction

from accord.algorithms.rewards import ExactAnswer, Term

pytestmark = pytest.mark.learning


def upper(row: list[int]) -> float:
    return sum(token >= 30 for token in row) / len(row)


ASKED: dict[str, Any] = {
    "steps": 30,
    "batch_size": 32,
    "minibatch_size": 16,
    "lr": 3e-3,
    "max_tokens": 8,
    "kl_coef": 0.01,
    "save_every": 100,
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("grpo", {"group_size": 8}),
        ("grpo", {"group_size": 8, "scale": "none", "loss": "constant"}),
        ("grpo", {"group_size": 8, "clip_high": 0.28, "loss": "token", "resample": 1, "kl_coef": 0.0}),
        ("rloo", {"group_size": 4}),
        ("reinforce", {"group_size": 1}),
    ],
    ids=["grpo", "dr-grpo", "dapo", "rloo", "reinforce"],
)
def test_it_raises_a_planted_reward(kind: str, more: dict[str, Any], seed: int, tmp_path: Path) -> None:
    """A response is worth its share of tokens from the upper half of the vocabulary: one half by chance."""
    asked = {**ASKED, "seed": seed, "truncation": "terminate", **more}
    rows = improve(tmp_path, kind, scorer=ByFunction(upper), stop=(END,), **asked).metrics
    assert sum(row["reward"] for row in rows[-3:]) / 3 > rows[0]["reward"] + 0.15
    assert rows[-1]["kl_k3"] > 0.05


def test_grpo_raises_exact_answers_from_a_measured_start(tmp_path: Path) -> None:
    """Each prompt has a number that its response has to begin with; right answers are rare at first."""
    prompts = [[10 + i, 20 + i] for i in range(4)]
    scorer = ExactAnswer({tuple(p): Decimal(1 + i % 2) for i, p in enumerate(prompts)}, lambda ids: f"#### {ids[0] % 4}")
    asked = {**ASKED, "steps": 40, "lr": 1e-2, "group_size": 8, "max_tokens": 2, "kl_coef": 0.0, "truncation": "terminate", "resample": 2}
    rows = improve(tmp_path, prompts=prompts, terms=[Term("exact")], scorer=scorer, stop=(END,), **asked).metrics
    assert rows[0]["reward.exact"] < 0.5
    assert sum(row["reward.exact"] for row in rows[-3:]) / 3 > 0.8
