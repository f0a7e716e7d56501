"""Overoptimisation: a reward model of more comparisons is worth more and is fooled later. Best of n, gold judge."""

from __future__ import annotations

from collections.abc import Sequence

from frame import Row, run
from rewarders import Draws, rankings, rows, settings, told, trained

from accord import Project, load_model
from accord.models.folders import load_scalar_model
from accord.runtime.device import pick_device

SHARE = 8
"""One in how many rankings the starved reward model sees."""


def curves(project: Project) -> tuple[list[float], list[float]]:
    """Gold reward over n by the demo's reward model, and by one that saw an eighth of its rankings."""
    sft = load_model(project, "sft")
    training, _ = rankings(project, sft, mismatched=settings(project).mismatched)
    draws = Draws(project, sft)
    full = draws.curve(load_scalar_model(project.model("reward")).to(pick_device()))
    starved = draws.curve(trained(project, sft, training[::SHARE], "rankings-eighth"))
    return told(project, "all", full), told(project, "an eighth", starved)


def measure(given: Sequence[Project]) -> list[Row]:
    return rows("Comparisons", "all rankings", "an eighth", [curves(project) for project in given], "Gao et al. 2022, section 3.3")


if __name__ == "__main__":
    run(measure)
