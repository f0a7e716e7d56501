"""Overoptimisation: a reward model of more comparisons is worth more and is fooled later. Best of n, gold judge."""

from __future__ import annotations

from collections.abc import Sequence

from frame import Row, above, below, row, run
from rewarders import NS, Draws, lost, rankings, settings, told, trained

from accord.models.loading import load_scalar_model
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.stages.opening import load_model

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
    found, source = [curves(project) for project in given], "Gao et al. 2022, section 3.3"
    more, most = f"best of {NS[-1]} by all rankings is worth more than by an eighth", f"it loses less from the best n to {NS[-1]}"
    gained, fooled = [full[-1] - starved[-1] for full, starved in found], [lost(full) - lost(starved) for full, starved in found]
    return [
        row(f"Comparisons: {more}", gained, above(0.0), source=source, note="gold reward, difference"),
        row(f"Comparisons: {most}", fooled, below(0.0), source=source, note="gold reward, difference"),
    ]


if __name__ == "__main__":
    run(measure)
