"""The pretraining mix removes the alignment tax: the loss on raw text rises without it and does not with it."""

from __future__ import annotations

from collections.abc import Sequence

from frame import OUYANG, Row, above, below, row, run, summary

from accord import Project


def measure(given: Sequence[Project]) -> list[Row]:
    found = [summary(project) for project in given]
    taxes = [each["alignment_tax"] for each in found]
    source, note = f"{OUYANG}, section 4.2 and figure 33", "relative rise of the loss on raw text over the base model's"
    spared = [tax["ppo_no_ptx"] - tax["ppo_ptx"] for tax in taxes]
    return [
        row("PPO without the mix pays a tax", [tax["ppo_no_ptx"] for tax in taxes], above(0.0), source=source, note=note),
        row("The mix lowers it", spared, above(0.0), source=source, note="tax without minus tax with"),
        row("With the mix it is below the SFT model's", [t["ppo_ptx"] - t["sft"] for t in taxes], below(0.0), source=source),
        row("The mix costs no preference", _cost(found), above(-0.05), source=source, note="win rate over SFT, with minus without"),
    ]


def _cost(found: Sequence[dict[str, dict[str, list[float]]]]) -> list[float]:
    rates = [each["win_rate"] for each in found]
    return [rate["ppo_vs_sft"][0] - rate["ppo_no_ptx_vs_sft"][0] for rate in rates]


if __name__ == "__main__":
    run(measure)
