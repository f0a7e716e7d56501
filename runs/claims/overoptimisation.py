"""Overoptimisation: a reward model of more comparisons, or a larger one, is worth more and is fooled later. Best of n, gold judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from frame import Row, above, below, row, run
from rewarders import rankings, settings, trained
from small_against_large import small_sft

from accord.engine.local import LocalSampler
from accord.evaluation.frontier import best_of_n_values
from accord.evaluation.statistics import Floats
from accord.models.loading import load_scalar_model
from accord.models.scalar import RewardModel
from accord.records import Sampling
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.stages.answering import held_out
from accord.stages.asking import respond
from accord.stages.opening import Model, compute_dtype, load_model
from accord.stages.queueing import world_of
from accord.world import GoldJudge

PROMPTS, DRAWS, SHARE = 150, 64, 8
"""Held-out prompts, responses to each, and one in how many rankings the starved reward model sees."""
NS = (1, 2, 4, 8, 16, 32, 64)


class Draws:
    """The SFT model's responses to held-out prompts, and what the gold judge gives them: [prompts, draws]."""

    def __init__(self, project: Project, sft: Model) -> None:
        prompts, sampling = held_out(project, split="test", limit=PROMPTS), Sampling(temperature=1.0, max_tokens=48)
        sampler = LocalSampler(sft.lm, stop=sft.format.stop, dtype=compute_dtype("auto"))
        groups, _ = respond(sft, sampler, prompts, n=DRAWS, sampling=sampling, seed=0, batch_size=8)
        judge = GoldJudge(world_of(project))
        self.asked = [sft.format.prompt(prompt.messages) for prompt in prompts for _ in range(DRAWS)]
        self.said = [list(response.tokens) for group in groups for response in group]
        worth = [judge.judge(prompt, r.text).utility for prompt, group in zip(prompts, groups, strict=True) for r in group]
        self.gold: Floats = np.array(worth).reshape(PROMPTS, DRAWS)

    def curve(self, reward_model: Any) -> list[float]:
        """Mean gold reward of the best of n by this reward model, for every n."""
        proxy = RewardModel(reward_model, dtype=compute_dtype("auto")).score(self.asked, self.said)
        table: Floats = proxy.double().numpy().reshape(PROMPTS, DRAWS)
        return [float(best_of_n_values(table, self.gold, n).mean()) for n in NS]


def curves(project: Project) -> dict[str, list[float]]:
    """By reward model: the demo's, one that saw an eighth of its rankings, and a smaller one that saw them all."""
    sft, small = load_model(project, "sft"), small_sft(project)
    training, _ = rankings(project, sft, mismatched=settings(project).mismatched)
    draws = Draws(project, sft)
    found = {
        "all": draws.curve(load_scalar_model(project.model("reward")).to(pick_device())),
        "eighth": draws.curve(trained(project, sft, training[::SHARE], "rankings-eighth")),
        "small": draws.curve(trained(project, small, training, "rankings-small")),
    }
    for name, curve in found.items():
        print(f"{project.path.name} {name}: {', '.join(f'{n}: {gold:.3f}' for n, gold in zip(NS, curve, strict=True))}", flush=True)
    return found


def lost(curve: Sequence[float]) -> float:
    """What the last n has lost since the best one."""
    return max(curve) - curve[-1]


def measure(given: Sequence[Project]) -> list[Row]:
    found = [curves(project) for project in given]
    rows: list[Row] = []
    for other, better, source in (
        ("eighth", "All rankings against an eighth of them", "Gao et al. 2022, section 3.3"),
        ("small", "A reward model against one a ninth its size", "Gao et al. 2022, section 3.2"),
    ):
        gained = [each["all"][-1] - each[other][-1] for each in found]
        fooled = [lost(each["all"]) - lost(each[other]) for each in found]
        rows.append(row(f"{better}: best of {DRAWS} is worth more", gained, above(0.0), source=source, note="gold reward, difference"))
        rows.append(row(f"{better}: it loses less from the best n to {DRAWS}", fooled, below(0.0), source=source, note="gold reward"))
    return rows


if __name__ == "__main__":
    run(measure)
