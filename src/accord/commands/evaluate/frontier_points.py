"""The rewards and the KL of policies on held-out prompts, by the proxy that was optimised and by the gold reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from accord.commands.evaluate.frontier_curves import Point
from accord.commands.evaluate.kl import response_kl
from accord.commands.models import Model, TextScorer, respond
from accord.commands.world import world_of
from accord.engine.local import LocalSampler
from accord.evaluation.statistics import Floats
from accord.records import Prompt, Response, Sampling
from accord.runtime.jsonable import jsonable
from accord.runtime.project import Project
from accord.settings import FrontierConfig
from accord.world import GoldJudge

GOLD = "gold"
"""The name under which the world's judge stands for the truth."""
SHOWN = 40
"""Prompts whose responses are written down for each policy."""


@dataclass(frozen=True)
class Judges:
    """The two scorers: the proxy that was optimised, and the gold reward that stands for the truth."""

    proxy: TextScorer
    gold: GoldJudge | TextScorer | None

    def proxy_rewards(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> Floats:
        return np.array(self.proxy.score_responses(prompts, responses))

    def gold_rewards(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> Floats | None:
        """Return the gold rewards; None where nothing stands for the truth."""
        if isinstance(self.gold, GoldJudge):
            return np.array([self.gold.judge(prompt, said.text).utility for prompt, said in zip(prompts, responses, strict=True)])
        return None if self.gold is None else np.array(self.gold.score_responses(prompts, responses))


def open_judges(project: Project, proxy: str, truth: str, dtype: torch.dtype) -> Judges:
    """Open the proxy, and the truth by its name: the world's judge, a reward model, or none."""
    gold: GoldJudge | TextScorer | None = None
    if truth:
        gold = GoldJudge(world_of(project)) if truth == GOLD else TextScorer.open(project, truth, dtype)
    return Judges(TextScorer.open(project, proxy, dtype), gold)


def policy_point(
    policy: Model, step: int, reference: Model, judges: Judges, prompts: Sequence[Prompt], config: FrontierConfig, dtype: torch.dtype
) -> Point:
    """Return a policy's KL and rewards, from one response to each prompt."""
    responses = [group[0] for group in _sampled(policy, prompts, config, dtype, n=1, seed=config.seed, batch_size=64)]
    texts = [response.text for response in responses]
    kl = response_kl(policy, reference, prompts, responses, temperature=config.temperature, dtype=dtype)
    return Point(step, kl, judges.proxy_rewards(prompts, responses), judges.gold_rewards(prompts, responses), _words(texts), texts)


def best_of_n_point(
    sft: Model, judges: Judges, prompts: Sequence[Prompt], config: FrontierConfig, dtype: torch.dtype
) -> tuple[Point, dict[str, Floats]]:
    """Return the SFT model as step 0, averaged over its n responses per prompt, and their rewards by name: [prompts, n]."""
    groups = _sampled(sft, prompts, config, dtype, n=config.best_of, seed=config.seed + 1, batch_size=32)
    responses: list[Response] = []
    repeated: list[Prompt] = []
    for prompt, group in zip(prompts, groups, strict=True):
        responses += group
        repeated += [prompt] * len(group)
    texts = [response.text for response in responses]
    shape = (len(prompts), config.best_of)
    rewards = {"proxy": judges.proxy_rewards(repeated, responses).reshape(shape)}
    gold = judges.gold_rewards(repeated, responses)
    if gold is not None:
        rewards["gold"] = gold.reshape(shape)
    mean_gold = rewards["gold"].mean(1) if gold is not None else None
    words = _words(texts).reshape(shape).mean(1)
    return Point(0, np.zeros(len(prompts)), rewards["proxy"].mean(1), mean_gold, words, [group[0].text for group in groups]), rewards


def _sampled(
    model: Model, prompts: Sequence[Prompt], config: FrontierConfig, dtype: torch.dtype, *, n: int, seed: int, batch_size: int
) -> list[list[Response]]:
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    groups, _ = respond(model, sampler, prompts, n=n, sampling=sampling, seed=seed, batch_size=batch_size)
    return groups


def _words(texts: Sequence[str]) -> Floats:
    return np.array([len(text.split()) for text in texts], dtype=np.float64)


def sample_rows(point: Point, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Return the first prompts with a policy's responses and rewards."""
    rows: list[dict[str, Any]] = []
    for i, (prompt, text) in enumerate(zip(prompts[:SHOWN], point.texts, strict=False)):
        row: dict[str, Any] = {"prompt_id": prompt.id, "prompt": prompt.messages[-1].content, "response": text}
        row |= {"kl": float(point.kl[i]), "proxy": float(point.proxy[i])}
        if point.gold is not None:
            row["gold"] = float(point.gold[i])
        rows.append(jsonable(row))
    return rows
