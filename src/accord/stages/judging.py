"""Who says which answer is better: the world's gold judge, a reward model, or an LLM at an address. People: ``stages.blind``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch

from accord.data.templates import ChatFormat, chat_format
from accord.data.tokenizers import load_tokenizer
from accord.engine.remote import RemoteSpeaker
from accord.errors import UsageError
from accord.evaluation import llm_judge
from accord.evaluation.duels import from_pairs, from_scores
from accord.evaluation.statistics import Floats
from accord.evaluation.winrate import CRITERIA, judge_all
from accord.models.folders import load_scalar_model
from accord.models.scalar import RewardModel
from accord.records import Prompt, Sampling
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.settings import CompareConfig
from accord.stages.answering import FOLDER, Answered
from accord.stages.opening import locate
from accord.stages.queueing import world_of
from accord.world import GoldJudge


@dataclass(frozen=True)
class Judged:
    """The table of duels, and what else the judge had to say."""

    values: Floats
    """[prompts, systems, systems], see evaluation.duels."""
    criteria: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    """Such a table by criterion."""
    scores: Floats | None = None
    """[prompts, systems] utilities or rewards, of a judge that scores responses alone."""
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])


def by_gold(project: Project, said: Answered, config: CompareConfig) -> Judged:
    """Under the evaluation guidelines. Raises UsageError when the project has no world."""
    if "world" not in project.settings:
        hint = "judge --by reward, --by llm or --by people"
        raise UsageError("the project has no built-in world, so there is no gold judge", where=str(project.path), hint=hint)
    judge = GoldJudge(world_of(project), rules="evaluation")
    words = [judge_all(judge, said.prompts, texts) for texts in said.texts]
    tables = {name: np.array([[getattr(word, name) for word in row] for row in words]).T for name in CRITERIA}
    means = {name: {system: float(table[:, i].mean()) for i, system in enumerate(said.names)} for name, table in tables.items()}
    by_criterion = {name: from_scores(table, config.margin) for name, table in tables.items() if name != "utility"}
    return Judged(from_scores(tables["utility"], config.margin), by_criterion, tables["utility"], {"criteria": means})


def by_reward(project: Project, said: Answered, config: CompareConfig, reward: str, dtype: torch.dtype) -> Judged:
    """By a reward model of the project. Raises ModelError when it is missing."""
    rewarder = Rewarder.open(project, reward, dtype)
    scores = np.array([rewarder.scores(said.prompts, texts) for texts in said.texts]).T
    return Judged(from_scores(scores, config.margin), {}, scores, {"reward": dict(zip(said.names, scores.mean(0).tolist(), strict=True))})


def by_llm(project: Project, said: Answered, config: CompareConfig, address: str, model: str, criteria: Sequence[str]) -> Judged:
    """By a model behind an OpenAI-compatible address, in both orders; what it said is kept in the project.

    Raises:
        UsageError: no model is named, or an unknown criterion. RunError: the server does not answer.
    """
    if not model:
        raise UsageError("which model of that address judges?", where="compare", hint="--judge-model NAME")
    unknown = [name for name in criteria if name not in llm_judge.QUESTIONS]
    if unknown:
        raise UsageError(f"there is no criterion {unknown[0]!r}", where="compare", hint=f"known are {', '.join(llm_judge.QUESTIONS)}")
    speaker = RemoteSpeaker(address, model, keep=project.path / FOLDER / "judge")
    sampling = Sampling(temperature=0.0, max_tokens=config.judge_tokens)
    tables, asked = dict[str, Floats](), list[llm_judge.Opinion]()
    for name in ("overall", *(name for name in criteria if name != "overall")):
        judged: dict[tuple[int, int], list[float]] = {}
        for i, j in combinations(range(len(said.systems)), 2):
            one, other = said.texts[i], said.texts[j]
            found = llm_judge.ask(
                speaker, said.prompts, one, other, question=llm_judge.QUESTIONS[name], sampling=sampling, seed=config.seed
            )
            judged[i, j] = [opinion.worth for opinion in found]
            asked += [opinion for opinion, a, b in zip(found, one, other, strict=True) if a.strip() != b.strip()]
        tables[name] = from_pairs(len(said.prompts), len(said.systems), judged)
    bias = dataclasses.asdict(llm_judge.position_bias(asked))
    figures = {"judge_model": model, "position_bias": bias, "judge_spent": dataclasses.asdict(speaker.spent)}
    return Judged(tables.pop("overall"), tables, None, figures)


@dataclass(frozen=True)
class Rewarder:
    """A reward model that is spoken to in words."""

    model: RewardModel
    format: ChatFormat

    @classmethod
    def open(cls, project: Project, name: str, dtype: torch.dtype) -> Rewarder:
        """Opens a reward model of the project, or a folder. Raises ModelError when it is missing or none."""
        source = locate(project, name)
        tokenizer = load_tokenizer(source)
        return cls(RewardModel(load_scalar_model(source).to(pick_device()), dtype=dtype), chat_format(tokenizer))

    def scores(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        """The reward of ``texts[i]`` as a finished answer to ``prompts[i]``."""
        asked = [self.format.prompt(prompt.messages) for prompt in prompts]
        answered = [self.format.response(prompt.messages, text) for prompt, text in zip(prompts, texts, strict=True)]
        scores: list[float] = self.model.score(asked, answered).tolist()
        return scores
