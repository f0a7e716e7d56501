"""Reward models on chosen rankings with the demo's learning rates, and what the best of n by them is worth; several claims need these."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from frame import Row, above, below, row

from accord import LocalSampler, Model, Project, RankedPrompt, RewardConfig, RewardModel, Run, Sampling, Store
from accord.algorithms import reward
from accord.commands.evaluate.held_out import held_out_prompts
from accord.commands.models import compute_dtype, respond
from accord.commands.world import world_of
from accord.data.token_rows import RowWindow
from accord.evaluation.frontier import best_of_n_values
from accord.evaluation.statistics import Floats
from accord.models.folders import scalar_from
from accord.models.scalar import new_head
from accord.runtime.device import pick_device
from accord.runtime.seeds import generator
from accord.world import HELD_OUT_GROUP, GoldJudge

Rows = list[reward.RankedRows]
PROMPTS, NS = 150, (1, 2, 4, 8, 16, 32)
"""Held-out prompts, and the n of best-of-n; the last is how many responses each prompt gets."""


def settings(project: Project) -> RewardConfig:
    """The demo's own."""
    return RewardConfig(**project.settings.get("reward", {}))


def rankings(project: Project, model: Model, *, mismatched: float = 0.0) -> tuple[Rows, Rows]:
    """Of labelers of the training groups: those of training prompts, and those of held-out prompts, in the model's tokens.

    Args:
        mismatched: share of the training prompts that get a stranger's best response as their worst; the demo's is 1, 0 is labels alone.
    """
    with Store.open(project.store_url) as store:
        ranked = [each for each in store.ranked_prompts() if each.group != HELD_OUT_GROUP]
    training = reward.with_mismatched([each for each in ranked if each.prompt.split == "train"], mismatched, settings(project).seed)
    return _rows(model, training), _rows(model, [each for each in ranked if each.prompt.split != "train"])


def _rows(model: Model, ranked: Sequence[RankedPrompt]) -> Rows:
    window = RowWindow(256)
    return [
        reward.ranked_rows(
            model.format.prompt(each.prompt.messages), [list(r.tokens) for r in each.responses], each.ranks, window, each.prompt.id
        )
        for each in ranked
        if all(response.tokens for response in each.responses)
    ]


def shuffled(given: Rows) -> Rows:
    """Each untied pair an element of its own; training draws them in any order."""
    return [
        reward.RankedRows([each.rows[i], each.rows[j]], [each.ranks[i], each.ranks[j]])
        for each in given
        for i, j in combinations(range(len(each.rows)), 2)
        if each.ranks[i] != each.ranks[j]
    ]


def trained(project: Project, start: Model, training: Rows, name: str, **changes: Any) -> Any:
    """A reward model that began as ``start`` and learned from these rankings, with the demo's settings but for ``changes``."""
    scalar = scalar_from(start.lm, new_head(start.lm.config.hidden_size, generator(0, "reward", "head"))).to(pick_device())
    config = dataclasses.replace(settings(project), save_every=100_000, **changes)
    folder = project.run(f"claims-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    run = Run.start(folder, stage="reward", config=config, inputs={}, resume=False, seed=config.seed)
    reward.train(config, model=scalar, rankings=training, validation=[], demonstrations=[], run=run, dtype=compute_dtype("auto"))
    run.finish()
    return scalar


def accuracy(model: Any, held_out: Rows) -> float:
    """On untied pairs, a mean over prompts."""
    return reward.accuracy(model, held_out, dtype=compute_dtype("auto"))


class Draws:
    """The SFT model's responses to held-out prompts, and what the gold judge gives them: [prompts, draws]."""

    def __init__(self, project: Project, sft: Model) -> None:
        prompts, sampling = held_out_prompts(project, PROMPTS), Sampling(temperature=1.0, max_tokens=48)
        sampler = LocalSampler(sft.lm, stop=sft.format.stop, dtype=compute_dtype("auto"))
        groups, _ = respond(sft, sampler, prompts, n=NS[-1], sampling=sampling, seed=0, batch_size=8)
        judge = GoldJudge(world_of(project))
        self.asked = [sft.format.prompt(prompt.messages) for prompt in prompts for _ in range(NS[-1])]
        self.said = [list(response.tokens) for group in groups for response in group]
        worth = [judge.judge(prompt, r.text).utility for prompt, group in zip(prompts, groups, strict=True) for r in group]
        self.gold: Floats = np.array(worth).reshape(len(prompts), NS[-1])

    def curve(self, reward_model: Any) -> list[float]:
        """Mean gold reward of the best of n by this reward model, for every n."""
        proxy = RewardModel(reward_model, dtype=compute_dtype("auto")).score(self.asked, self.said)
        table: Floats = proxy.double().numpy().reshape(self.gold.shape)
        return [float(best_of_n_values(table, self.gold, n).mean()) for n in NS]


def rows(subject: str, first: str, second: str, found: Sequence[tuple[list[float], list[float]]], source: str) -> list[Row]:
    """Of two reward models' curves on every seed: the first is worth more at the last n, and has lost less since its best one."""
    gained = [one[-1] - other[-1] for one, other in found]
    fooled = [(max(one) - one[-1]) - (max(other) - other[-1]) for one, other in found]
    more, most = f"best of {NS[-1]} by {first} is worth more than by {second}", f"it loses less from the best n to {NS[-1]}"
    return [
        row(f"{subject}: {more}", gained, above(0.0), source=source, note="gold reward, difference"),
        row(f"{subject}: {most}", fooled, below(0.0), source=source, note="gold reward, difference"),
    ]


def told(project: Project, name: str, curve: list[float]) -> list[float]:
    """The curve, printed."""
    print(f"{project.path.name} {name}: {', '.join(f'{n}: {gold:.3f}' for n, gold in zip(NS, curve, strict=True))}", flush=True)
    return curve
