"""More passes over each rollout do not make PPO diverge: six, where InstructGPT takes one and Accord two."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from frame import OUYANG, Row, above, below, preferred, row, run

from accord import CompareConfig, PpoConfig, Project, RunFlags, compare, ppo

PASSES = 6
NAME, TWO = "claims-passes-6", "ppo-no-ptx"
"""The demo's own PPO without the mix makes two passes."""


def last(project: Project, name: str, figure: str) -> float:
    """Mean of a logged figure over the last ten steps."""
    rows = [json.loads(line) for line in (project.run(name) / "metrics.jsonl").read_text("utf-8").splitlines()][-10:]
    return sum(line[figure] for line in rows) / len(rows)


def measured(project: Project) -> tuple[float, float, float]:
    """Win rates of six passes over SFT and over two passes, and how much further they went from SFT, in nats."""
    config = dataclasses.replace(PpoConfig(**project.settings.get("ppo", {})), epochs=PASSES, ptx_coef=0.0)
    ppo(project, name=NAME, config=config, flags=RunFlags(resume=True))
    systems = (NAME, "sft", TWO)
    found = compare(project, *systems, name="claims-passes", again=True, config=CompareConfig(prompts=300))["win_rate"]
    further = last(project, NAME, "kl_k3") - last(project, TWO, "kl_k3")
    return preferred(found, NAME, "sft"), preferred(found, NAME, TWO), further


def measure(given: Sequence[Project]) -> list[Row]:
    found = [measured(project) for project in given]
    source = f"{OUYANG}, appendix C.4"
    return [
        row("PPO with six passes is preferred to SFT", [each[0] for each in found], above(0.5), source=source),
        row("Six passes lose no more than 5 points to two", [each[1] for each in found], above(0.45), source=source, note="win rate"),
        row("Six passes go less than 5 nats further from SFT than two", [each[2] for each in found], below(5.0), source=source, note="KL"),
    ]


if __name__ == "__main__":
    run(measure)
