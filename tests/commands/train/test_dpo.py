"""`accord dpo` on a small project: what it leaves, LoRA, its losses, resuming, and rankings that it cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, PLANNED, PROMPTS, labeled, learned, lineage_of, plain_model, rankings, written

from accord.commands import language
from accord.commands.train.dpo import dpo
from accord.data.tokenizers import load_tokenizer
from accord.errors import InputError
from accord.records import Ranking
from accord.runtime.project import Project
from accord.settings import DpoConfig


@pytest.mark.parametrize("rank", [0, 2])
def test_it_leaves_a_model_that_opens_and_says_what_it_learned_from(rank: int, unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    words = ["dpo", project.path, "--held-out-group", "far", "--lora-rank", rank, "--lr", "0.01", "--warmup-steps", 1, "--dtype", "float32"]
    summary = typed(*words)
    assert PLANNED | {"validation_accuracy", "heldout_accuracy"} <= summary.keys()
    assert summary["rankings"] == 7
    plain_model(project.model("dpo"))
    learned(project, "dpo")
    assert load_tokenizer(project.model("dpo")).chat_template == load_tokenizer(project.model("sft")).chat_template
    assert lineage_of(project, "dpo", parents=["sft"], snapshots=["rankings"])["stage"] == "dpo"
    # Of 18 rankings 14 are of prompts to train on, half of them by the group that is held out.
    learned_from = "| rankings | 18 | 9 | 7 | 14 | 4 | 0 | 9 |"
    assert learned_from in (project.run("dpo") / "data-card.md").read_text("utf-8")
    assert learned_from in (project.model("dpo") / "README.md").read_text("utf-8")
    files = written(project, "dpo")
    assert typed(*words, "--resume") == summary
    assert written(project, "dpo") == files


def test_adapters_over_four_bits_are_flags_too(unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    summary = typed("dpo", project.path, "--lora-rank", 2, "--lora-bits", 4, "--recompute", "--lr", "0.01", "--warmup-steps", 1)
    assert summary["rankings"] == 14
    learned(project, "dpo")


@pytest.mark.parametrize("loss", ["robust", "ipo", "orpo", "simpo", "plackett-luce"])
def test_every_loss_is_a_flag(loss: str, unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    summary = typed("dpo", project.path, "--loss", loss, *(["--label-smoothing", 0.1] if loss == "robust" else []))
    assert summary["validation_loss"] is not None


@pytest.mark.parametrize(
    ("given", "config", "part"),
    [
        ([], DpoConfig(), "no rankings"),
        (rankings([1, 1, 1]), DpoConfig(), "none of the 18 rankings"),
        (rankings(prompts=PROMPTS[7:]), DpoConfig(), "none of the 4 rankings"),
        (rankings(labelers="bob"), DpoConfig(held_out_group="far"), "none of the 9 rankings"),
        (rankings(), DpoConfig(max_tokens=6), "window of 6"),
    ],
)
def test_rankings_that_it_cannot_use_are_refused_before_training(
    given: list[Ranking], config: DpoConfig, part: str, unlabeled: Project, tmp_path: Path
) -> None:
    project = labeled(unlabeled, tmp_path / "p", given)
    with pytest.raises(InputError) as error:
        dpo(project, name="new", config=config, flags=FLAGS)
    assert part in error.value.what
    ties = all(len(set(ranking.ranks)) == 1 for ranking in given) and bool(given)
    assert ("--max-tokens" in (error.value.hint or "")) == ties, "who has ties alone is told to sample more; nobody else is"
    assert error.value.hint
    assert ("没有可学的一对回复" in language.error(str(error.value))) == ("none of the" in part)
    assert not project.run("new").exists() or not any(project.run("new").iterdir())
    assert not project.model("new").exists()


def test_ties_alone_are_data_where_ties_are_modelled(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings([1, 1, 1]))
    assert dpo(project, name="new", config=DpoConfig(ties="model"), flags=FLAGS).summary["rankings"] == 14
