"""A reward model is trained for one epoch: more overfit. Four epochs against one, on the same rankings."""

from __future__ import annotations

from collections.abc import Sequence

from frame import OUYANG, Row, below, row, run
from rewarders import accuracy, rankings, trained

from accord import Project, load_model

PROMPTS = 1000
"""Rankings that both learn from; the fewer, the sooner more epochs overfit."""


def difference(project: Project) -> float:
    """Held-out accuracy after four epochs minus that after one, each with its whole learning-rate schedule."""
    sft = load_model(project, "sft")
    training, held_out = rankings(project, sft)
    one, four = (accuracy(trained(project, sft, training[:PROMPTS], f"epochs-{n}", epochs=n), held_out) for n in (1, 4))
    return four - one


def measure(given: Sequence[Project]) -> list[Row]:
    values, note = [difference(project) for project in given], "held-out accuracy, four epochs minus one"
    return [row("Four epochs are worse than one", values, below(0.0), source=f"{OUYANG}, appendix C.2", note=note)]


if __name__ == "__main__":
    run(measure)
