"""The KL coefficient: 0.02 is preferred to 0 and to 2."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from frame import OUYANG, Row, above, row, run

from accord.runtime.project import Project
from accord.settings import CompareConfig, PpoConfig
from accord.stages.comparing import compare_stage
from accord.stages.training import ppo_stage

BETAS = (0.0, 0.02, 2.0)


def policy(project: Project, beta: float) -> tuple[str, float]:
    """Trains it (or finds it trained); its name and its KL to SFT over the last ten steps."""
    name = f"claims-beta-{beta:g}"
    config = dataclasses.replace(PpoConfig(**project.settings.get("ppo", {})), kl_coef=beta, ptx_coef=0.0)
    done = ppo_stage(project, config, sft_model="sft", reward_model="reward", name=name, resume=True, dtype="auto")
    rows = [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text("utf-8").splitlines()][-10:]
    return name, sum(line["kl_k3"] for line in rows) / len(rows)


def measured(project: Project) -> tuple[float, float, float, float]:
    """Win rates of 0.02 over 0 and over 2, and the KL at 0 and at 2."""
    names, distances = zip(*(policy(project, beta) for beta in BETAS), strict=True)
    asked = {"systems": names, "by": "gold", "name": "claims-beta", "dtype": "auto", "again": True}
    found = compare_stage(project, CompareConfig(prompts=300), **asked)["win_rate"]
    over = [
        found[f"{names[1]}_vs_{other}"][0] if f"{names[1]}_vs_{other}" in found else 1 - found[f"{other}_vs_{names[1]}"][0]
        for other in (names[0], names[2])
    ]
    return over[0], over[1], distances[0], distances[2]


def measure(given: Sequence[Project]) -> list[Row]:
    found = [measured(project) for project in given]
    source = f"{OUYANG}, appendix E"
    return [
        row("beta 0.02 is preferred to 0", [each[0] for each in found], above(0.5), source=source),
        row("beta 0.02 is preferred to 2", [each[1] for each in found], above(0.5), source=source),
        row("beta 0 goes further from SFT than 2", [each[2] - each[3] for each in found], above(0.0), source=source, note="KL in nats"),
    ]


if __name__ == "__main__":
    run(measure)
