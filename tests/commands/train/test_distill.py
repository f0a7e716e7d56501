"""`accord distill` on a small project: what it leaves, that it comes nearer to its teacher, and teachers it cannot learn from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_project import ASKED, FLAGS, HELD_OUT, PLANNED, PRETRAIN, learned, lineage_of, plain_model, written

from accord.commands.train.distill import distill
from accord.commands.train.pretrain import pretrain
from accord.data.tokenizers import load_tokenizer
from accord.errors import InputError, ModelError, UsageError
from accord.feedback import schema
from accord.feedback.store import Store
from accord.models.folders import load_causal_lm
from accord.runtime.project import Project
from accord.settings import DistillConfig

SMALL: dict[str, Any] = {"batch_size": 6, "max_tokens": 6, "lr": 1e-2, "warmup_steps": 1}
LEFT = PLANNED | ASKED | {"loss", "forward_kl", "reverse_kl", "agreement"}


@pytest.fixture
def taught(project: Project) -> Project:
    """A project with a teacher: the SFT model with every weight moved, so that it says something else."""
    from transformers import AutoModelForCausalLM

    folder = project.model("teacher")
    model = AutoModelForCausalLM.from_pretrained(project.model("sft"))
    numbers = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=numbers))
    model.save_pretrained(folder)
    load_tokenizer(project.model("sft")).save_pretrained(folder)
    return project


def rows(project: Project, name: str = "distill") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.run(name) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "flags",
    [["--on-policy", 1, "--beta", 1], ["--on-policy", 0, "--beta", 0, "--lora-rank", 2], ["--on-policy", 0, "--otherwise", "teacher"]],
    ids=["on-policy", "written, lora", "teacher's own"],
)
def test_it_leaves_a_plain_model_nearer_to_its_teacher(flags: list[Any], taught: Project, typed: Any) -> None:
    words = ["distill", taught.path, "--steps", 8, "--evaluate-every", 4, "--dtype", "float32", *flags]
    for name, value in SMALL.items():
        words += [f"--{name.replace('_', '-')}", value]
    summary = typed(*words)
    shown = {"demonstrations"} if flags[1] == 0 and "--otherwise" not in flags else set[str]()
    assert summary.keys() == LEFT | HELD_OUT | shown
    first, *_, last = rows(taught)
    assert {row["on_policy"] for row in rows(taught)} == {float(flags[1])}
    assert last["loss"] < first["loss"]
    if flags[1] == 1:
        assert summary["held_out_best_step"] > 0, "it is evaluated by the divergence on its own responses, which it learns on"
    plain_model(taught.model("distill"))
    learned(taught, "distill")
    snapshots = ["prompts", *sorted(shown)]
    assert lineage_of(taught, "distill", parents=["sft", "teacher"], snapshots=snapshots)["stage"] == "distill"
    files = written(taught, "distill")
    assert typed(*words, "--resume") == summary
    assert written(taught, "distill") == files


def test_a_teacher_of_itself_teaches_nothing(project: Project) -> None:
    distill(project, teacher="sft", config=DistillConfig(**SMALL, steps=2, evaluate_every=0), flags=FLAGS)
    for row in rows(project):
        assert row["forward_kl"] == pytest.approx(0, abs=1e-6)
        assert row["agreement"] == 1


def test_a_teacher_of_another_tokenizer_is_refused_by_name(project: Project) -> None:
    pretrain(project, name="stranger", config=replace(PRETRAIN, vocab_size=320), flags=FLAGS)
    with pytest.raises(ModelError, match=r"the tokenizer of stranger \(320 entries\) is not that of sft \(300\)"):
        distill(project, teacher="stranger", config=DistillConfig(**SMALL), flags=FLAGS)
    assert not project.run("distill").exists()


def test_what_it_cannot_learn_from_is_refused(taught: Project) -> None:
    with pytest.raises(ModelError, match="no such model"):
        distill(taught, teacher="nobody", config=DistillConfig(**SMALL), flags=FLAGS)
    with pytest.raises(UsageError, match=r"on_policy is 1\.5"):
        DistillConfig(on_policy=1.5)
    with pytest.raises(UsageError, match="a student is evaluated by its divergence"):
        DistillConfig(evaluate_by="model")
    with Store.open(taught.store_url) as store, store.write() as connection:
        connection.execute(schema.demonstrations.delete())
    with pytest.raises(InputError, match="the store has no demonstrations"):
        distill(taught, config=DistillConfig(**SMALL), flags=FLAGS)
    distill(taught, config=DistillConfig(**SMALL, steps=1, on_policy=1), flags=FLAGS)


def test_the_teacher_stays_as_it_is(taught: Project) -> None:
    before = {name: value.clone() for name, value in load_causal_lm(taught.model("teacher")).state_dict().items()}
    distill(taught, config=DistillConfig(**SMALL, steps=1), flags=FLAGS)
    after = load_causal_lm(taught.model("teacher")).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
