"""The reward model orders pairs as its labelers do in 72.4% of cases, and as labelers of held-out groups do in 69.6%."""

from __future__ import annotations

from collections.abc import Sequence

from frame import OUYANG, Row, above, row, run, summary

from accord import Project


def measure(given: Sequence[Project]) -> list[Row]:
    found = [summary(project)["reward_model"] for project in given]
    inside, outside = ([each[key] for each in found] for key in ("accuracy_labelers", "accuracy_heldout_group"))
    gap, source = [one - other for one, other in zip(inside, outside, strict=True)], f"{OUYANG}, section 4.1"
    return [
        row("Accuracy on training labelers is above chance", inside, above(0.5), source=source, theirs=0.724),
        row("Accuracy on a held-out group is above chance", outside, above(0.5), source=source, theirs=0.696),
        row("Accuracy on training labelers is above that on a held-out group", gap, above(0.0), source=source, theirs=0.028),
    ]


if __name__ == "__main__":
    run(measure)
