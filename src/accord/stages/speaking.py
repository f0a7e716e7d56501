"""A model of the project as a ``Speaker``: conversations in, words out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from accord.engine.local import LocalSampler
from accord.records import Message, Sampling
from accord.runtime.project import Project
from accord.runtime.seeds import generator
from accord.stages.opening import Model, compute_dtype, load_model

BATCH = 64
"""Conversations that are answered together."""


@dataclass(frozen=True)
class LocalSpeaker:
    """Answers with a loaded model; conversations of like length are sampled together."""

    model: Model
    dtype: torch.dtype

    @property
    def name(self) -> str:
        return self.model.name

    def answer(self, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int) -> list[list[str]]:
        """n answers to each conversation.

        Raises:
            InputError: a conversation is longer than the model's context.
        """
        sampler = LocalSampler(self.model.lm, stop=self.model.format.stop, dtype=self.dtype)
        prompts = [self.model.format.prompt(conversation) for conversation in conversations]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers: list[list[str]] = [[] for _ in prompts]
        for number, start in enumerate(range(0, len(order), BATCH)):
            places = order[start : start + BATCH]
            drawn = sampler.sample([prompts[i] for i in places], n=n, sampling=sampling, generator=generator(seed, "answer", number))
            texts = [self.model.format.text(row) for row in drawn.rows()]
            for k, i in enumerate(places):
                answers[i] = texts[k * n : (k + 1) * n]
        return answers


def local_speaker(project: Project, model: str, dtype: str = "auto") -> LocalSpeaker:
    """Opens a model of the project by name. Raises ModelError when it is missing."""
    return LocalSpeaker(load_model(project, model), compute_dtype(dtype))
