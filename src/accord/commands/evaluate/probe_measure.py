"""A probe under way: its systems, answers and run, and how it writes shares and samples down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from accord.commands.evaluate.answers import Answers
from accord.commands.evaluate.held_out import shown_prompt
from accord.data.classifiers.project_set import DEFAULT, ClassifierSet
from accord.evaluation.statistics import Interval, rate
from accord.evaluation.systems import System
from accord.records import Prompt
from accord.runtime.jsonable import jsonable
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ProbeConfig

Measure = Literal["tax", "truth", "safety", "fairness", "knowledge", "scenes"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
USUAL = MEASURES[:4]
"""Measures that are taken when none is named; `knowledge` asks every question several times, and `scenes` is about no model."""
SHOWN = 20
"""Responses of each kind that are written down for a system."""


@dataclass(frozen=True)
class Probing:
    """A probe under way: the systems, their answers, and the run that it is written to."""

    project: Project
    config: ProbeConfig
    systems: tuple[System, ...]
    answers: Answers
    dtype: torch.dtype
    run: Run
    classifiers: ClassifierSet = DEFAULT
    """What tells refusals, admissions and insults."""

    @property
    def models(self) -> list[str]:
        """Local models, each once."""
        return list(dict.fromkeys(system.model for system in self.systems if not system.remote))

    @property
    def draw(self) -> dict[str, int]:
        """How intervals are resampled."""
        return {"resamples": self.config.bootstrap, "seed": self.config.seed}

    def some(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return as many of the prompts as a measure takes."""
        return list(prompts[: self.config.prompts or None])

    def shares(self, columns: Mapping[str, Sequence[bool]]) -> dict[str, Interval]:
        """Return the share of each column that holds, with its interval over prompts; nothing for an empty column."""
        found: dict[str, Interval] = {}
        for name, column in columns.items():
            if column:
                found[name] = rate([float(holds) for holds in column], **self.draw)
        return found


def sample_row(kind: str, system: System, prompt: Prompt, text: str, **more: Any) -> dict[str, Any]:
    """Return a response as a row of samples.jsonl."""
    asked = shown_prompt(prompt)
    return jsonable({"kind": kind, "model": system.name, "prompt_id": prompt.id, "prompt": asked, "response": text} | more)
