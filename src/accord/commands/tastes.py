"""A reward model with tastes, opened once for all that use it: `accord taste`, best-of-n by a person's own weights, the chat's page.

What a person chose is read from the database each time and their weights are fitted again, which takes no training. The names of
``models/tastes.py`` stand here for scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from accord.commands.models import TextScorer, locate
from accord.models.tastes import Floats as Floats
from accord.models.tastes import Taste as Taste
from accord.models.tastes import Tastes as Tastes
from accord.models.tastes import fit as fit
from accord.models.tastes import information as information
from accord.models.tastes import margins as margins
from accord.models.tastes import within_lines as within_lines
from accord.records import Message, RankedPrompt
from accord.runtime.project import Project

BATCH = 64
"""Rankings that are read together."""


@dataclass(frozen=True)
class PersonalScorer:
    """A reward model and its tastes: scores of answers for one person, within the lines that are the same for all."""

    name: str
    scorer: TextScorer
    tastes: Tastes

    @classmethod
    def open(cls, project: Project, name: str, dtype: torch.dtype) -> PersonalScorer:
        """Open a reward model that `accord reward --personal` made.

        Raises:
            ModelError: it is missing, is no reward model, or knows no tastes.
        """
        tastes = Tastes.load(Path(locate(project, name)))
        return cls(name, TextScorer.open(project, name, dtype), tastes)

    def read(self, conversations: Sequence[Sequence[Message]], texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Return the readings [n, K + 1] of answers, each to its conversation, and their risks [n, lines]."""
        prompts = [self.scorer.format.prompt(messages) for messages in conversations]
        responses = [self.scorer.format.response(messages, text) for messages, text in zip(conversations, texts, strict=True)]
        return self._read(prompts, responses)

    def read_rankings(self, rankings: Sequence[RankedPrompt]) -> list[tuple[Floats, Floats]]:
        """Return readings and risks of the responses of each ranking, by the tokens that were sampled."""
        chat_format = self.scorer.format
        prompts, responses = list[Sequence[int]](), list[Sequence[int]]()
        for row in rankings:
            asked = chat_format.asked(row.prompt)
            prompts += [asked] * len(row.responses)
            responses += [chat_format.tokens_of(row.prompt, response) for response in row.responses]
        readings, risks = self._read(prompts, responses)
        ends = np.cumsum([len(row.responses) for row in rankings])[:-1]
        return list(zip(np.split(readings, ends), np.split(risks, ends), strict=True))

    def _read(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> tuple[Floats, Floats]:
        shared, states = self.scorer.model.read(prompts, responses)
        read = states.double().numpy()
        return self.tastes.readings(read, shared.double().numpy()), self.tastes.risks(read)

    def fit(self, choices: Sequence[RankedPrompt], said: Mapping[str, int] | None = None) -> Taste:
        """Return the taste that a person's choices show, and what they said of it themselves; without either that of nobody."""
        differences, weights = [np.zeros((0, len(self.tastes.covariance)))], [np.zeros(0)]
        for start in range(0, len(choices), BATCH):
            part = choices[start : start + BATCH]
            for row, (readings, _) in zip(part, self.read_rankings(part), strict=True):
                pairs, weighed = margins(readings, row.ranks)
                differences.append(pairs)
                weights.append(weighed)
        taste = fit(np.concatenate(differences), self.tastes.covariance, np.concatenate(weights))
        return self.tastes.told(taste, said or {})

    def scores(self, conversation: Sequence[Message], replies: Sequence[str], taste: Taste) -> list[float]:
        """Return what each of several answers is worth to a person; minus infinity for those over a line (``within_lines``)."""
        readings, risks = self.read([conversation] * len(replies), replies)
        return within_lines(readings[:, 0], taste.scores(readings), risks).tolist()
