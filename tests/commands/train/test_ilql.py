"""`accord ilql`: the SFT model with a network that guides it, what it learned from, resuming, and labels that it cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_project import CLOCK, FLAGS, labeled, lineage_of, plain_model, rankings, written
from tiny import weights

from accord.commands.models import load_model
from accord.commands.serve.rules import rules_of
from accord.commands.train.ilql import ilql
from accord.errors import InputError
from accord.models.folders import load_causal_lm
from accord.records import Message, Ranking
from accord.runtime.project import Project
from accord.settings import IlqlConfig, ServeConfig


@pytest.mark.parametrize("rank", [0, 2])
def test_it_leaves_the_sft_model_as_it_is_with_a_network_that_guides_it(rank: int, unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    config = IlqlConfig(lr=1e-2, warmup_steps=1, beta=8, held_out_group="far", lora_rank=rank)
    summary = ilql(project, config=config, flags=FLAGS).summary
    assert CLOCK | {"responses"} <= summary.keys()
    assert summary["responses"] == 21
    plain_model(project.model("ilql"))
    old, new = (weights(load_causal_lm(project.model(name))) for name in ("sft", "ilql"))
    assert all(torch.equal(new[key], value) for key, value in old.items())
    assert load_model(project, "ilql").lm.guide.beta == 8
    assert not hasattr(load_model(project, "sft").lm, "guide")
    assert lineage_of(project, "ilql", parents=["sft"], snapshots=["returns"])["stage"] == "ilql"


def test_the_chat_chooses_among_replies_by_q(unlabeled: Project, tmp_path: Path) -> None:
    """Each reply is worth the smaller of the two heads' products with the state before its last token, by transformers' own forward."""
    project = labeled(unlabeled, tmp_path / "p", rankings())
    ilql(project, config=IlqlConfig(lr=1e-2, warmup_steps=1), flags=FLAGS)
    rules = rules_of(project, ServeConfig(best_of=2, reward="ilql"), dtype="float32")
    asked, replies = [Message("user", "Where is bread number 3?")], ["At the market.", "The clock on the tower is always late."]
    assert rules.score
    found = rules.score(asked, replies)
    model = load_model(project, "ilql")
    network = model.lm.guide.network
    body = plain_model(project.model("ilql"))[0].base_model
    body.load_state_dict(network.body.state_dict())
    for reply, worth in zip(replies, found, strict=True):
        ids = [*model.format.prompt(asked), *model.format.response(asked, reply)]
        with torch.no_grad():
            state = body(torch.tensor([ids])).last_hidden_state[0, -2]
        assert worth == pytest.approx(float((network.q.detach()[:, ids[-1]] @ state).min()), abs=1e-4)
    assert found[0] != found[1]


def test_a_finished_run_is_resumed_by_doing_nothing(unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    words = ["ilql", project.path, "--name", "guided", "--returns", "ranks", "--dtype", "float32"]
    summary, files = typed(*words), written(project, "guided")
    assert summary["responses"] == 42
    assert typed(*words, "--resume") == summary
    assert written(project, "guided") == files


@pytest.mark.parametrize(
    ("given", "config", "part"),
    [
        ([], IlqlConfig(), "no rated or ranked responses by person simulated"),
        (rankings(), IlqlConfig(returns="ratings"), "no ratings to learn from by person simulated"),
        (rankings([1, 1, 1], [4, 4, 4]), IlqlConfig(), "none worth more than another"),
    ],
)
def test_labels_that_it_cannot_use_are_refused_before_training(
    given: list[Ranking], config: IlqlConfig, part: str, unlabeled: Project, tmp_path: Path
) -> None:
    project = labeled(unlabeled, tmp_path / "p", given)
    with pytest.raises(InputError, match=part) as error:
        ilql(project, config=config, flags=FLAGS)
    assert error.value.hint
    assert not project.run("ilql").exists()
    assert not project.model("ilql").exists()
