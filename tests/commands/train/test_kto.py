"""`accord kto` on a small project: what it leaves, where thumbs come from, resuming, and thumbs that it cannot use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, PLANNED, PROMPTS, labeled, learned, lineage_of, plain_model, rankings, written

from accord.commands.train.kto import kto
from accord.data.tokenizers import load_tokenizer
from accord.errors import InputError
from accord.records import Ranking
from accord.runtime.project import Project
from accord.settings import KtoConfig


@pytest.mark.parametrize("rank", [0, 2])
def test_it_leaves_a_model_that_opens_and_says_what_it_learned_from(rank: int, unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    words = ["kto", project.path, "--held-out-group", "far", "--lora-rank", rank, "--lr", "0.01", "--warmup-steps", 1, "--dtype", "float32"]
    summary = typed(*words)
    assert PLANNED | {"validation_accuracy", "heldout_accuracy"} <= summary.keys()
    assert (summary["thumbs_up"], summary["thumbs_down"]) == (7, 7)
    plain_model(project.model("kto"))
    learned(project, "kto")
    assert load_tokenizer(project.model("kto")).chat_template == load_tokenizer(project.model("sft")).chat_template
    assert lineage_of(project, "kto", parents=["sft"], snapshots=["thumbs"])["stage"] == "kto"
    files = written(project, "kto")
    assert typed(*words, "--resume") == summary
    assert written(project, "kto") == files


@pytest.mark.parametrize(
    ("given", "config", "part"),
    [
        ([], KtoConfig(), "nothing to make thumbs of"),
        (rankings([1, 1, 1]), KtoConfig(), "nothing to make thumbs of"),
        (rankings(), KtoConfig(thumbs="ratings"), "no ratings"),
        (rankings(qualities=[6, 7, 5]), KtoConfig(), "42 thumbs up and 0 down"),
        (rankings(prompts=PROMPTS[7:]), KtoConfig(), "0 thumbs up and 0 down"),
        (rankings(prompts=PROMPTS[:1], labelers="ann"), KtoConfig(), "on one prompt"),
        (rankings(), KtoConfig(max_tokens=6), "fits a window of 6"),
    ],
)
def test_thumbs_that_it_cannot_use_are_refused_before_training(
    given: list[Ranking], config: KtoConfig, part: str, unlabeled: Project, tmp_path: Path
) -> None:
    project = labeled(unlabeled, tmp_path / "p", given)
    with pytest.raises(InputError) as error:
        kto(project, name="new", config=config, flags=FLAGS)
    assert part in error.value.what
    assert error.value.hint
    assert not project.run("new").exists() or not any(project.run("new").iterdir())
    assert not project.model("new").exists()


def test_ratings_outvote_ranks(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings([1, 2, 3], [1, 4, 7]))
    run = kto(project, name="new", flags=FLAGS)
    thumbs = [json.loads(line) for line in (run.folder / "thumbs.jsonl").read_text().splitlines()]
    assert {(row["response"]["id"][-1], row["up"]) for row in thumbs} == {("0", False), ("2", True)}
