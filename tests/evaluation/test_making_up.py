"""Labels that pay for sounding sure: the policy that learns them states what it cannot know, and the doctor reads it off its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accord.commands.app import Compute, RunFlags, main
from accord.commands.evaluate.evaluate import evaluate
from accord.commands.train.dpo import dpo
from accord.commands.train.pretrain import pretrain
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.commands.world import world_of
from accord.evaluation.run_facts import examine, read_facts
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Ranking, Response
from accord.runtime.project import Project
from accord.settings import DpoConfig, EvaluateConfig, PretrainConfig, RewardConfig, SftConfig
from accord.world.demonstrations import ignorance
from accord.world.prompts import plain

pytestmark = pytest.mark.learning

WORLD = ["--documents", "300", "--prompts", "2400", "--demonstrations", "1", "--users", "60"]
BODY: dict[str, Any] = {"vocab_size": 512, "hidden_size": 48, "layers": 2, "heads": 2, "intermediate_size": 64, "context": 128}
FLAGS = RunFlags(dtype="float32")


@pytest.mark.parametrize("seed", [0, *(pytest.param(more, marks=pytest.mark.slow) for more in (1, 2))])
def test_a_policy_that_learned_to_sound_sure_is_found_and_one_that_learned_to_admit_is_not(seed: int, tmp_path: Path) -> None:
    """The SFT model admits ignorance three times in four. Two groups rank an admission against a statement, each the other way round."""
    main(["init", str(tmp_path / "town"), "--seed", str(seed), "--world", *WORLD])
    project = Project.open(tmp_path / "town")
    world = world_of(project)
    with Store.open(project.store_url) as store:
        asked = [(prompt, world.specs[prompt.id].fact) for prompt in store.prompts(split="train")]
        told = [(prompt, ignorance(fact), plain(fact)) for prompt, fact in asked if fact and world.specs[prompt.id].kind == "fact"]
        groups = {"sure": (2, 1), "humble": (1, 2)}
        rankings = [
            Ranking(f"{group}-{p.id}", p.id, group, (f"{p.id}-0", f"{p.id}-1"), ranks, Guideline("training", "1"), "")
            for group, ranks in groups.items()
            for p, _, _ in told
        ]
        store.add(
            labelers=[Labeler(group, "person", group=group) for group in groups],
            demonstrations=[Demonstration(f"d{n}", row[0], row[2 if n % 4 == 0 else 1], "sure") for n, row in enumerate(told)],
            responses=[Response(f"{p.id}-{k}", p.id, text, "sft") for p, *texts in told for k, text in enumerate(texts)],
            rankings=rankings,
        )
    pretrain(project, config=PretrainConfig(**BODY, tokens=20_000, batch_tokens=2048, warmup_steps=5), flags=FLAGS)
    sft(project, config=SftConfig(epochs=12, lr=1e-2, ptx_tokens=0), flags=FLAGS)
    reward(project, config=RewardConfig(lr=1e-3), flags=FLAGS)
    for policy, other in (("sure", "humble"), ("humble", "sure")):
        dpo(project, config=DpoConfig(lr=3e-4, held_out_group=other), name=policy, flags=FLAGS)
    config = EvaluateConfig(prompts=0, best_of=2, draws=8, bootstrap=200, max_tokens=32)
    evaluate(project, policy=("sure", "humble"), config=config, flags=Compute("float32"))
    found = examine(read_facts(project.run("evaluate")))
    assert [(finding.name, finding.about) for finding in found] == [("makes_up_more", "sure")]
    assert found[0].sure > 0.95
