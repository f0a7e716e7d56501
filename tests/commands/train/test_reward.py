"""`accord reward`: a classifier that plain transformers opens, what it says of itself, resuming, and rankings that it cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, PLANNED, PROMPTS, WINDOW, labeled, lineage_of, plain_scores, rankings, written
from tiny import SENTENCES

from accord.commands.models import load_model
from accord.commands.train.reward import reward
from accord.errors import InputError
from accord.records import Prompt
from accord.runtime.project import Project
from accord.settings import RewardConfig

CONFIG = RewardConfig(epochs=8, lr=1e-2, warmup_steps=1, held_out_group="far")


def scored(project: Project, name: str, prompts: list[Prompt], text: str) -> list[float]:
    """The scores of a text as the answer to each prompt, by plain transformers."""
    chat = load_model(project, "sft").format
    return plain_scores(project.model(name), [[*chat.prompt(p.messages), *chat.response(p.messages, text)] for p in prompts])


def test_it_leaves_a_classifier_whose_accuracy_and_zero_it_says(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings([1, 2, 3], labelers="ann") + rankings([3, 2, 1], labelers="bob"))
    summary = reward(project, config=CONFIG, flags=FLAGS).summary
    assert summary.keys() == PLANNED | WINDOW | {
        "rankings",
        "validation_rankings",
        "reward_bias",
        "accuracy_labelers",
        "accuracy_heldout_group",
    }
    assert summary["rankings"] == 7
    best, middle, worst = (scored(project, "reward", PROMPTS[7:], text) for text in SENTENCES[:3])
    pairs = [(*both,) for pair in ((best, middle), (middle, worst), (best, worst)) for both in zip(*pair, strict=True)]
    assert summary["accuracy_labelers"] == pytest.approx(sum(a > b for a, b in pairs) / len(pairs))
    assert summary["accuracy_heldout_group"] == pytest.approx(1 - summary["accuracy_labelers"]), "bob ranks the other way round"
    assert summary["accuracy_labelers"] > 0.6
    demonstrated = scored(project, "reward", PROMPTS[:7], "At the market.")
    assert sum(demonstrated) / len(demonstrated) == pytest.approx(0, abs=1e-4)
    assert lineage_of(project, "reward", parents=["sft"], snapshots=["rankings", "demonstrations"])["stage"] == "reward"


def test_a_finished_run_is_resumed_by_doing_nothing(unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    words = ["reward", project.path, "--name", "judge", "--lora-rank", 2, "--dtype", "float32"]
    summary, files = typed(*words), written(project, "judge")
    assert summary["rankings"] == 14
    assert typed(*words, "--resume") == summary
    assert written(project, "judge") == files
    assert scored(project, "judge", PROMPTS[:1], "At home.")


@pytest.mark.parametrize(
    ("config", "part"),
    [(RewardConfig(kinds="model"), "no rankings by model"), (RewardConfig(criterion="harmless"), "no rankings by person simulated")],
)
def test_rankings_that_it_cannot_use_are_refused(config: RewardConfig, part: str, unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    with pytest.raises(InputError, match=part) as error:
        reward(project, name="judge", config=config, flags=FLAGS)
    assert "accord label" in error.value.hint
    assert not project.run("judge").exists()
    assert not project.model("judge").exists()
