"""The answers that `accord evaluate` judges: one per model and prompt, and the best of n by the reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from accord.commands.evaluate.evaluate_metrics import JudgedSystem
from accord.commands.evaluate.held_out import shown_prompt
from accord.commands.models import Model, respond
from accord.engine.local import LocalSampler
from accord.evaluation.best_of_n import best_of_n
from accord.evaluation.reward_accuracy import gold_accuracy
from accord.evaluation.statistics import Interval
from accord.evaluation.win_rate import judge_all
from accord.models.scalar import RewardModel
from accord.protocols import Judge
from accord.records import Prompt, Response, Sampling
from accord.settings import EvaluateConfig

GROUPS_FOR_GOLD = 4
"""Responses per prompt on which the reward model is checked against gold."""


@dataclass(frozen=True)
class Asker:
    """Lets models answer the held-out prompts, and the judge judge."""

    judge: Judge
    prompts: Sequence[Prompt]
    config: EvaluateConfig
    dtype: torch.dtype

    def answered(self, model: Model) -> JudgedSystem:
        """Return one response to each prompt, with the judge's word on it."""
        groups = self._responses(model, n=1, seed=self.config.seed, batch_size=128)
        return self._judged([group[0] for group in groups])

    def best_of_n(self, sft: Model, scorer: RewardModel) -> tuple[JudgedSystem, Interval]:
        """Return the SFT model's best of n by the reward model, and how often that orders the first few of the n as gold does."""
        n = self.config.best_of
        groups = self._responses(sft, n=n, seed=self.config.seed + 1, batch_size=32)
        responses: list[Response] = []
        ids: list[list[int]] = []
        for prompt, group in zip(self.prompts, groups, strict=True):
            responses += group
            ids += [sft.format.asked(prompt)] * n
        scores: list[float] = scorer.score(ids, [list(response.tokens) for response in responses]).tolist()
        best = [responses[i] for i in best_of_n(scores, n)]

        # The gold judge reads only the first few of the n responses: enough for an accuracy, at a fraction of the time.
        few = min(GROUPS_FOR_GOLD, n)
        gold: list[list[float]] = []
        for prompt, group in zip(self.prompts, groups, strict=True):
            gold.append([self.judge.judge(prompt, response.text).utility for response in group[:few]])
        rewards = [scores[start : start + few] for start in range(0, len(scores), n)]
        accuracy = gold_accuracy(rewards, gold, resamples=self.config.bootstrap, seed=self.config.seed)
        return self._judged(best), accuracy

    def _responses(self, model: Model, *, n: int, seed: int, batch_size: int) -> list[list[Response]]:
        sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=self.dtype)
        sampling = Sampling(temperature=self.config.temperature, max_tokens=self.config.max_tokens)
        groups, _ = respond(model, sampler, self.prompts, n=n, sampling=sampling, seed=seed, batch_size=batch_size)
        return groups

    def _judged(self, responses: list[Response]) -> JudgedSystem:
        return JudgedSystem(responses, judge_all(self.judge, self.prompts, [response.text for response in responses]))


def side_by_side(prompts: Sequence[Prompt], systems: dict[str, JudgedSystem]) -> list[dict[str, Any]]:
    """Return a row per prompt: every system's response and its utility."""
    rows: list[dict[str, Any]] = []
    for i, prompt in enumerate(prompts):
        responses, utilities = dict[str, str](), dict[str, float]()
        for name, system in systems.items():
            responses[name] = system.responses[i].text
            utilities[name] = round(system.judgements[i].utility, 4)
        asked = shown_prompt(prompt)
        rows.append({"prompt": asked, "use_case": prompt.use_case, "responses": responses, "utilities": utilities})
    return rows
