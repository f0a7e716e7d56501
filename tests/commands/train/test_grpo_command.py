"""`accord grpo`, `raft`, `star` and `ilql` on a small project: what they leave, adapters in four bits, resuming, unusable data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from accord.stages.reasoning import problems_stage
from test_preferring_stages import rankings, typed, unlabeled
from tiny import weights

from accord.commands.app import RunFlags
from accord.commands.train.grpo import grpo
from accord.commands.train.star import star
from accord.errors import AccordError, InputError, ModelError, RunError, UsageError
from accord.feedback.store import Store
from accord.models.folders import load_causal_lm
from accord.runtime.project import Project
from accord.settings import GrpoConfig, IlqlConfig, ProblemsConfig, RaftConfig, StarConfig

__all__ = ["typed", "unlabeled"]
SMALL: dict[str, Any] = {"batch_size": 6, "max_tokens": 6, "group_size": 3, "minibatch_size": 3, "lr": 1e-2, "warmup_steps": 1}
ENDED: dict[str, Any] = {"truncation": "terminate"}
"""Without it every response of so unread a model is cut, gets the same, and teaches nothing."""
SHORT = "def short(prompts, responses):\n    return [-float(len(response)) for response in responses]\n"
FAILING = """
import pathlib
CALLS = pathlib.Path(__file__).with_name("calls")

def short(prompts, responses):
    CALLS.write_text(CALLS.read_text() + "x" if CALLS.exists() else "x")
    if len(CALLS.read_text()) > 3:
        raise OSError("the judge is out")
    return [-float(len(response)) for response in responses]
"""


@pytest.fixture
def project(unlabeled: Project, tmp_path: Path) -> Project:
    return Project(Path(shutil.copytree(unlabeled.path, tmp_path / "p")))


@pytest.mark.parametrize(
    "flags", [[], ["--lora-rank", 2], ["--lora-rank", 2, "--lora-bits", 4, "--recompute"]], ids=["all", "lora", "qlora"]
)
def test_grpo_leaves_a_plain_model_that_started_at_its_reference(flags: list[Any], project: Project, typed: Any) -> None:
    (project.path / "town_short.py").write_text(SHORT)
    given = [word for name, value in (SMALL | ENDED).items() for word in (f"--{name.replace('_', '-')}", value)]
    typed("grpo", project.path, "--rewards", "town_short:short", "--steps", 2, *given, *flags, "--dtype", "float32")
    first, second = map(json.loads, (project.run("grpo") / "metrics.jsonl").read_text().splitlines())
    assert first["kl_k3"] == pytest.approx(0, abs=1e-6)
    assert second["kl_k3"] > 1e-6
    assert {"reward.town_short:short", "weight.town_short:short"} <= first.keys()
    tuned, before = load_causal_lm(project.model("grpo")), load_causal_lm(project.model("sft"))
    assert {name: value.shape for name, value in weights(tuned).items()} == {name: value.shape for name, value in weights(before).items()}
    assert any(not bool((weights(tuned)[name] == value).all()) for name, value in weights(before).items())


def test_a_reward_that_fails_on_the_way_stops_a_run_that_goes_on_when_it_is_mended(project: Project) -> None:
    module = project.path / "town_failing.py"
    module.write_text(FAILING)
    config = GrpoConfig(**SMALL, steps=4, save_every=1, rewards="town_failing:short")
    asked: dict[str, Any] = {"sft_model": "sft", "reward_model": "reward", "name": "new", "dtype": "float32"}
    with pytest.raises(RunError, match=r"town_failing:short: raised OSError: the judge is out"):
        grpo(project, config=config, **asked)
    assert not project.model("new").exists()
    (project.path / "calls").unlink()
    run = grpo(project, config=config, **asked, flags=RunFlags(resume=True))
    assert "resumed after step" in (run.folder / "log.txt").read_text()
    assert project.model("new").exists()


def refused(project: Project, config: Any) -> AccordError:
    stages: dict[type, Any] = {GrpoConfig: grpo_stage, RaftConfig: raft_stage, StarConfig: star_stage, IlqlConfig: ilql_stage}
    rewarded = {"reward_model": "reward"} if isinstance(config, GrpoConfig | RaftConfig) else {}
    with pytest.raises(AccordError) as error:
        stages[type(config)](project, config, sft_model="sft", name="new", resume=False, dtype="float32", **rewarded)
    assert not project.model("new").exists()
    assert not (project.run("new") / "metrics.jsonl").exists()
    return error.value


@pytest.mark.parametrize(
    ("config", "kind", "part"),
    [
        (GrpoConfig(**SMALL), ModelError, "no such model"),
        (RaftConfig(rewards="harmless"), UsageError, "there is no reward 'harmless'"),
        (GrpoConfig(**SMALL, rewards="exact"), InputError, "end in ####"),
        (GrpoConfig(**SMALL, rewards="ratings"), InputError, "rated responses"),
        (GrpoConfig(**SMALL, rewards="town_nowhere:f"), UsageError, "cannot be imported"),
        (GrpoConfig(**SMALL, rewards="town_bad:nan"), RunError, "nan"),
        (GrpoConfig(**SMALL, rewards="town_bad:one"), RunError, "rewards for 2 responses"),
        (GrpoConfig(**SMALL, rewards="town_bad:hang", reward_seconds=1), RunError, "did not come back"),
        (StarConfig(), InputError, "no problems with an answer"),
        (IlqlConfig(), InputError, "no rated or ranked responses"),
        (IlqlConfig(returns="ratings"), InputError, "no ratings"),
    ],
)
def test_what_a_method_cannot_use_is_refused_before_its_first_step(config: Any, kind: Any, part: str, project: Project) -> None:
    (project.path / "town_bad.py").write_text(
        "import time\n"
        "def nan(prompts, responses): return [float('nan')] * len(responses)\n"
        "def one(prompts, responses): return [1.0]\n"
        "def hang(prompts, responses): time.sleep(5)\n"
    )
    error = refused(project, config)
    assert isinstance(error, kind)
    assert part in str(error)


def test_labels_that_are_all_alike_teach_no_values(project: Project) -> None:
    with Store.open(project.store_url) as store:
        store.add_rankings(rankings([1, 1, 1], [4, 4, 4]))
    assert "none worth more than another" in str(refused(project, IlqlConfig()))


def test_star_learns_from_problems_of_the_world(project: Project) -> None:
    problems_stage(project, ProblemsConfig(count=40, solved=4, most=5, steps=1))
    config = StarConfig(rounds=1, batch_size=8, attempts=2, max_tokens=6)
    run = star(project, config=config, sft="sft", name="star", flags=RunFlags(dtype="float32"))
    assert run.summary["problems"] == 24
    assert load_causal_lm(project.model("star"))
