"""A reward model with tastes, opened once for all that use it: `accord taste`, best-of-n by a person's own weights, the chat's page.

What a person chose is read from the database each time and their weights are fitted again, which takes no training. The model reads each
choice once. The names of ``models/tastes.py`` stand here for scripts.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

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
MOST_KEPT = 20_000
"""Choices of which the readings are kept, those that were needed last: some megabytes."""


class Kept:
    """What a model read of choices, by their content; the choices that were not needed for longest give way."""

    def __init__(self) -> None:
        self._found, self._lock = OrderedDict[bytes, tuple[Floats, Floats]](), Lock()

    def get(self, key: bytes) -> tuple[Floats, Floats] | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def put(self, key: bytes, read: tuple[Floats, Floats]) -> None:
        with self._lock:
            self._found[key] = read
            while len(self._found) > MOST_KEPT:
                self._found.popitem(last=False)

    def __len__(self) -> int:
        return len(self._found)


@dataclass(frozen=True)
class PersonalScorer:
    """A reward model and its tastes: scores of answers for one person, within the lines that are the same for all."""

    name: str
    scorer: TextScorer
    tastes: Tastes
    kept: Kept = field(default_factory=Kept, repr=False)

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
        for pairs, weighed in self._margins(choices):
            differences.append(pairs)
            weights.append(weighed)
        taste = fit(np.concatenate(differences), self.tastes.covariance, np.concatenate(weights))
        return self.tastes.told(taste, said or {})

    def _margins(self, choices: Sequence[RankedPrompt]) -> list[tuple[Floats, Floats]]:
        """Return the differences of readings in each choice, and their weights; the model reads those alone that it has not read yet."""
        keys = [_content(row) for row in choices]
        found = {key: known for key in keys if (known := self.kept.get(key)) is not None}
        new = [(key, row) for key, row in dict(zip(keys, choices, strict=True)).items() if key not in found]
        for start in range(0, len(new), BATCH):
            part = new[start : start + BATCH]
            for (key, row), (readings, _) in zip(part, self.read_rankings([row for _, row in part]), strict=True):
                found[key] = margins(readings, row.ranks)
                self.kept.put(key, found[key])
        return [found[key] for key in keys]

    def scores(self, conversation: Sequence[Message], replies: Sequence[str], taste: Taste) -> list[float]:
        """Return what each of several answers is worth to a person; minus infinity for those over a line (``within_lines``)."""
        readings, risks = self.read([conversation] * len(replies), replies)
        return within_lines(readings[:, 0], taste.scores(readings), risks).tolist()


def _content(row: RankedPrompt) -> bytes:
    """Return a digest of all that a model reads of a choice."""
    read = (row.prompt.messages, [(response.text, response.tokens, response.finished) for response in row.responses], row.ranks)
    return hashlib.sha256(repr(read).encode("utf-8", "surrogatepass")).digest()
