"""`accord reward` held to groups: weights by name, the worst group, and texts that differ in a group alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_project import FLAGS, GUIDELINE, PROMPTS, labeled, plain_scores, rankings

from accord.commands.models import load_model
from accord.commands.train.reward import reward
from accord.errors import UsageError
from accord.feedback.store import Store
from accord.records import Labeler, Ranking, Response
from accord.runtime.project import Project
from accord.settings import RewardConfig

SAID = ("The man is late, and his wife bakes.", "The market is far.")
TWIN = "The woman is late, and her husband bakes."
CONFIG = RewardConfig(epochs=10, lr=1e-2, warmup_steps=0, group_weights="near=0.5, other=2", worst_group=0.2)


def logged(project: Project, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (project.run(name) / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_a_limit_on_swaps_is_held_and_both_weights_are_logged(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", [])
    with Store.open(project.store_url) as store:
        store.add(labelers=[Labeler("ann", "person", "near")])
        store.add_responses([Response(f"{p.id}-{i}", p.id, text, "sft") for p in PROMPTS for i, text in ((7, SAID[0]), (8, SAID[1]))])
        store.add_rankings(
            Ranking(f"{by}-{p.id}", p.id, by, (f"{p.id}-7", f"{p.id}-8"), (1, 2), GUIDELINE, "2025-01-01T00:00:00Z")
            for p in PROMPTS
            for by in ("ann", "bob")
        )
    gaps: dict[str, float] = {}
    for name, config in (
        ("free", CONFIG),
        ("held", RewardConfig(**(vars(CONFIG) | {"swap_axes": "gender", "swap_limit": 0.01, "swap_rate": 5.0}))),
    ):
        reward(project, name=name, config=config, flags=FLAGS)
        chat = load_model(project, "sft").format
        asked = [chat.prompt(p.messages) for p in PROMPTS[7:]]
        rows = [[*ids, *chat.response(p.messages, text)] for text in (SAID[0], TWIN) for ids, p in zip(asked, PROMPTS[7:], strict=True)]
        scores = plain_scores(project.model(name), rows)
        gaps[name] = sum(abs(a - b) for a, b in zip(scores[:2], scores[2:], strict=True)) / 2
    assert gaps["held"] < 0.5 * gaps["free"]
    last = logged(project, "held")[-1]
    assert last["swap_multiplier"] > 0
    assert last["group_weight.near"] + last["group_weight.far"] == pytest.approx(2, abs=1e-3)
    assert "swap_gap" not in logged(project, "free")[-1]


def test_unknown_names_and_settings_against_each_other_are_refused(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    for settings, said in (
        ({"group_weights": "distant=2"}, "neither a labelers' group nor a use case"),
        ({"group_weights": "near"}, "no group or use case with a weight"),
        ({"swap_axes": "height"}, "there are gender, nationality, religion, age"),
    ):
        with pytest.raises(UsageError, match=said):
            reward(project, name="refused", config=RewardConfig(**settings), flags=FLAGS)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="worst_group weighs groups against each other"):
        RewardConfig(group="near", worst_group=0.1)
