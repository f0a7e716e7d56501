"""What every probe works with, and how it writes shares and samples down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from accord.commands.evaluate.answers import Answers
from accord.evaluation.statistics import Interval, interval
from accord.evaluation.systems import System
from accord.records import Prompt
from accord.runtime.jsonable import jsonable
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ProbeConfig

Measure = Literal["tax", "truth", "safety", "fairness"]
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
        return {name: interval([float(value) for value in column], **self.draw) for name, column in columns.items() if column}


def sample_row(kind: str, system: System, prompt: Prompt, text: str, **more: Any) -> dict[str, Any]:
    """Return a response as a row of samples.jsonl."""
    asked = "\n".join(message.content for message in prompt.messages)
    return jsonable({"kind": kind, "model": system.name, "prompt_id": prompt.id, "prompt": asked, "response": text} | more)
