"""A reward model is trained for one epoch: more overfit. Four epochs against one, on the same rankings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from frame import OUYANG, Row, below, row, run

from accord.runtime.project import Project
from accord.settings import RewardConfig
from accord.stages.training import reward_stage
from accord.world import HELD_OUT_GROUP


def accuracy(project: Project, epochs: int) -> float:
    """On labelers of the training groups and prompts that were held out."""
    config = RewardConfig(**{**project.settings.get("reward", {}), "held_out_group": HELD_OUT_GROUP})
    asked = {"sft_model": "sft", "name": f"claims-reward-epochs-{epochs}", "resume": True, "dtype": "auto"}
    found = reward_stage(project, dataclasses.replace(config, epochs=epochs), **asked)
    return float(found.summary["accuracy_labelers"])


def measure(given: Sequence[Project]) -> list[Row]:
    differences = [accuracy(project, 4) - accuracy(project, 1) for project in given]
    note = "held-out accuracy, four epochs minus one"
    return [row("Four epochs are worse than one", differences, below(0.0), source=f"{OUYANG}, appendix C.2", note=note)]


if __name__ == "__main__":
    run(measure)
