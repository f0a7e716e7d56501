"""Held-out data in training: measured once and not again, and never the test users'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_project import FLAGS, PROMPTS, labeled, rankings
from torch.overrides import TorchFunctionMode

from accord.commands.models import load_model
from accord.commands.train.dpo import dpo
from accord.commands.train.ilql import ilql
from accord.commands.train.kto import kto
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.feedback.store import Store
from accord.records import Demonstration, Message
from accord.runtime.project import Project
from accord.settings import DpoConfig, IlqlConfig, KtoConfig, RewardConfig, SftConfig


class Passes(TorchFunctionMode):
    """Counts forward passes, by the embedding that each begins with: those that learn, and those that measure."""

    def __init__(self) -> None:
        super().__init__()
        self.learning = self.measuring = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.embedding:
            self.learning += torch.is_grad_enabled()
            self.measuring += not torch.is_grad_enabled()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("train", "besides"),
    [
        (lambda project: sft(project, name="new", config=SftConfig(epochs=1, ptx_tokens=0), flags=FLAGS), 0),
        (lambda project: dpo(project, name="new", config=DpoConfig(batch_size=16), flags=FLAGS), 1),  # the reference
        (lambda project: kto(project, name="new", config=KtoConfig(thumbs="ranks"), flags=FLAGS), 3),  # two references, strangers
        (lambda project: reward(project, name="new", config=RewardConfig(batch_size=16), flags=FLAGS), 1),  # the bias
        (lambda project: ilql(project, name="new", config=IlqlConfig(returns="ranks", batch_size=64), flags=FLAGS), 1),  # the target
    ],
    ids=["sft", "dpo", "kto", "reward", "ilql"],
)
def test_a_run_of_one_step_measures_held_out_data_once(
    train: Callable[[Project], Any], besides: int, unlabeled: Project, tmp_path: Path
) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    for name in ("base", "sft"):
        load_model(project, name)  # a model's first use is checked by passes of its own
    with Passes() as passes:
        train(project)
    assert passes.learning == 1
    assert passes.measuring == besides + 1


def test_the_epoch_is_chosen_without_the_test_users(project: Project) -> None:
    test = [
        replace(prompt, id=f"t{i}", user=f"t{i}", split="test", messages=(Message("user", f"Say {i}."),))
        for i, prompt in enumerate(PROMPTS)
    ]
    config = SftConfig(epochs=2, ptx_tokens=0)
    before = sft(project, name="before", config=config, flags=FLAGS).summary["validation_loss"]
    with Store.open(project.store_url) as store:
        store.add_demonstrations(Demonstration(f"t{i}", prompt, "La la la la.", "ann") for i, prompt in enumerate(test))
    assert sft(project, name="after", config=config, flags=FLAGS).summary["validation_loss"] == before
