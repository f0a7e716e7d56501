"""Overoptimisation: a larger reward model is worth more and is fooled later. Best of n, gold judge."""

from __future__ import annotations

from collections.abc import Sequence

from frame import Row, run
from rewarders import Draws, rankings, rows, settings, told, trained
from small_against_large import small_sft

from accord import Project, load_model
from accord.models.folders import load_scalar_model
from accord.runtime.device import pick_device


def curves(project: Project) -> tuple[list[float], list[float]]:
    """Gold reward over n by the demo's reward model, and by one a ninth its size that saw the same rankings."""
    sft = load_model(project, "sft")
    training, _ = rankings(project, sft, mismatched=settings(project).mismatched)
    draws = Draws(project, sft)
    large = draws.curve(load_scalar_model(project.model("reward")).to(pick_device()))
    small = draws.curve(trained(project, small_sft(project), training, "rankings-small"))
    return told(project, "1.28M", large), told(project, "0.14M", small)


def measure(given: Sequence[Project]) -> list[Row]:
    return rows("Reward model's size", "1.28M parameters", "0.14M", [curves(project) for project in given], "Gao et al. 2022, section 3.2")


if __name__ == "__main__":
    run(measure)
