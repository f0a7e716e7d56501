"""`accord reward`: a classifier that plain transformers opens, what it says of itself, resuming, and rankings that it cannot use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_project import FLAGS, PLANNED, PROMPTS, WINDOW, labeled, lineage_of, plain_scores, rankings, written
from tiny import SENTENCES

from accord.commands.models import load_model
from accord.commands.train.reward import reward
from accord.errors import InputError, UsageError
from accord.models.folders import load_causal_lm, load_scalar_model
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


def test_from_scratch_it_takes_the_architecture_and_no_weight(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    config, before = replace(CONFIG, from_scratch=True, lr=1e-9, epochs=1), torch.random.get_rng_state()
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        reward(project, name=name, config=replace(config, seed=seed), flags=FLAGS)
    assert torch.equal(torch.random.get_rng_state(), before)
    parent = load_causal_lm(project.model("sft")).base_model.state_dict()
    one, again, other = (load_scalar_model(project.model(name)).base_model.state_dict() for name in ("one", "again", "other"))
    matrices = [key for key, value in parent.items() if value.ndim == 2 and "norm" not in key]
    assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in parent.items()}
    for key in matrices:
        assert torch.allclose(one[key], again[key], atol=1e-6)
        assert not torch.allclose(one[key], other[key], atol=1e-3)
        assert not torch.allclose(one[key], parent[key], atol=1e-3)
    assert lineage_of(project, "one", parents=[], snapshots=["rankings", "demonstrations"])["parents"] == {}


@pytest.mark.parametrize(("how", "part"), [({"lora_rank": 2}, "adapters on random ones"), ({"lr": 0.0}, "name lr")])
def test_from_scratch_is_refused_where_it_cannot_work(how: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        RewardConfig(**{"lr": 1e-3, "from_scratch": True} | how)


def test_a_finished_run_is_resumed_by_doing_nothing(unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    words = ["reward", project.path, "--name", "judge", "--lora-rank", 2, "--dtype", "float32"]
    summary, files = typed(*words), written(project, "judge")
    assert summary["rankings"] == 14
    assert typed(*words, "--resume") == summary
    assert written(project, "judge") == files
    assert scored(project, "judge", PROMPTS[:1], "At home.")


def test_ratings_are_learned_on_their_own_scale(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings([1, 2, 3], qualities=[7, 4, 1]))
    config = replace(CONFIG, learn_from="ratings", epochs=8, mismatched=0.0, held_out_group="")
    summary = reward(project, name="rated", config=config, flags=FLAGS).summary
    assert summary["reward_bias"] == 0
    assert lineage_of(project, "rated", parents=["sft"], snapshots=["ratings", "demonstrations"])["stage"] == "reward"
    best, middle, worst = (sum(scored(project, "rated", PROMPTS[:7], text)) / 7 for text in SENTENCES[:3])
    assert abs(best - 1) + abs(middle) + abs(worst + 1) < 1.2, "near 1, 0 and -1"
    assert best > middle > worst


def test_a_group_of_labelers_and_the_flag_for_hallucination_have_reward_models_of_their_own(unlabeled: Project, tmp_path: Path) -> None:
    mine = [replace(each, ratings=tuple(replace(r, flags=("hallucination",) if i < 2 else ()) for i, r in enumerate(each.ratings)))
            for each in rankings([1, 2, 3], qualities=[4, 4, 4], labelers="ann")]  # fmt: skip
    project = labeled(unlabeled, tmp_path / "p", mine + rankings([3, 2, 1], labelers="bob"))
    far = reward(project, name="far", config=replace(CONFIG, group="far", held_out_group=""), flags=FLAGS).summary
    assert far["rankings"] == 7
    assert sum(scored(project, "far", PROMPTS[:7], SENTENCES[2])) > sum(scored(project, "far", PROMPTS[:7], SENTENCES[0]))
    reward(project, name="truthful", config=replace(CONFIG, criterion="truthful", mismatched=0.0, held_out_group=""), flags=FLAGS)
    good, bad = (sum(scored(project, "truthful", PROMPTS[:7], SENTENCES[i])) for i in (2, 0))
    assert good > bad, "though everybody ranked it last"
    with pytest.raises(InputError, match="no rankings by person simulated of the group nobody"):
        reward(project, name="nobody", config=replace(CONFIG, group="nobody", held_out_group=""), flags=FLAGS)


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


def test_ties_alone_are_refused_before_a_model_is_opened(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings([1, 1, 1]))
    with pytest.raises(InputError, match="none of the 14 rankings has a pair to learn from") as error:
        reward(project, name="judge", config=RewardConfig(), flags=FLAGS)
    assert "--max-tokens" in (error.value.hint or "")
    assert not project.model("judge").exists()
    assert reward(project, name="ties", config=RewardConfig(ties="model", epochs=1), flags=FLAGS).summary["rankings"] == 14
