"""The KL coefficient: 0.02 is preferred to 0 and to 2; and no coefficient does against the alignment tax what the mix does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from frame import OUYANG, Row, above, preferred, row, run, summary

from accord import CompareConfig, PpoConfig, Project, RunFlags, compare, load_model, ppo
from accord.commands.evaluate.held_out import held_out_raw_text
from accord.commands.models import compute_dtype
from accord.evaluation.tax import alignment_tax
from accord.models.policy import mean_loss

BETAS = (0.0, 0.02, 2.0)


def policy(project: Project, beta: float) -> tuple[str, float]:
    """Trains it (or finds it trained); its name and its KL to SFT over the last ten steps."""
    name = f"claims-beta-{beta:g}"
    config = dataclasses.replace(PpoConfig(**project.settings.get("ppo", {})), kl_coef=beta, ptx_coef=0.0)
    done = ppo(project, name=name, config=config, flags=RunFlags(resume=True))
    rows = [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text("utf-8").splitlines()][-10:]
    return name, sum(line["kl_k3"] for line in rows) / len(rows)


def tax(project: Project, name: str) -> float:
    """Relative rise of the loss on held-out raw text over the base model's, as `accord evaluate` measures it."""
    base, model, dtype = load_model(project, "base"), load_model(project, name), compute_dtype("auto")
    raw_text = held_out_raw_text(project, base)
    return alignment_tax(mean_loss(base.lm, raw_text, dtype=dtype), mean_loss(model.lm, raw_text, dtype=dtype)).tax


def measured(project: Project) -> dict[str, float]:
    """Win rates of 0.02 over 0 and over 2, the KL at 0 and at 2, and what is left of the tax at 2."""
    names, distances = zip(*(policy(project, beta) for beta in BETAS), strict=True)
    found = compare(project, *names, name="claims-beta", again=True, config=CompareConfig(prompts=300))["win_rate"]
    over = [preferred(found, names[1], other) for other in (names[0], names[2])]
    left = tax(project, names[2]) - summary(project)["alignment_tax"]["ppo_ptx"]
    return {"over_0": over[0], "over_2": over[1], "further": distances[0] - distances[2], "left": left}


def measure(given: Sequence[Project]) -> list[Row]:
    found = [measured(project) for project in given]
    source = f"{OUYANG}, appendix E"
    left = "beta 2 without the mix pays more alignment tax than beta 0.1 with it"
    return [
        row("beta 0.02 is preferred to 0", [each["over_0"] for each in found], above(0.5), source=source),
        row("beta 0.02 is preferred to 2", [each["over_2"] for each in found], above(0.5), source=source),
        row("beta 0 goes further from SFT than 2", [each["further"] for each in found], above(0.0), source=source, note="KL in nats"),
        row(left, [each["left"] for each in found], above(0.0), source=f"{OUYANG}, appendix E.6 and figure 34", note="tax, difference"),
    ]


if __name__ == "__main__":
    run(measure)
