"""All K-choose-2 pairs of a prompt as one batch element, against the same pairs shuffled: these overfit in one epoch."""

from __future__ import annotations

from collections.abc import Sequence

from frame import OUYANG, Row, above, row, run
from rewarders import accuracy, rankings, settings, shuffled, trained

from accord import Project, load_model

PROMPTS = 1000
"""Rankings that both learn from."""


def difference(project: Project) -> float:
    """Grouped minus shuffled; as many pairs an optimiser step in both."""
    sft = load_model(project, "sft")
    training, held_out = rankings(project, sft)
    grouped, size = training[:PROMPTS], settings(project).batch_size
    pairs = shuffled(grouped)
    one = trained(project, sft, grouped, "grouped", epochs=1)
    other = trained(project, sft, pairs, "shuffled", epochs=1, batch_size=max(1, round(size * len(pairs) / len(grouped))))
    return accuracy(one, held_out) - accuracy(other, held_out)


def measure(given: Sequence[Project]) -> list[Row]:
    note = "held-out accuracy after one epoch, grouped minus shuffled"
    values = [difference(project) for project in given]
    return [row("One batch element a prompt beats shuffled pairs", values, above(0.0), source=f"{OUYANG}, section 3.5", note=note)]


if __name__ == "__main__":
    run(measure)
