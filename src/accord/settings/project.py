"""Settings for creating a project."""

from __future__ import annotations

from typing import Annotated

from accord.settings.mixins import Seed, section
from accord.settings.ranges import Count, Natural, Range


@section
class WorldConfig(Seed):
    """`accord init --world`: the amount of built-in world data that a new project gets."""

    documents: Count = 72_000
    """Documents of raw text."""
    prompts: Annotated[int, Range(least=1, why="without a prompt there is nothing to ask")] = 6_000
    """Prompts, over all splits."""
    demonstrations: Natural = 4_400
    """Demonstrations that the simulated labelers write for training prompts."""
    users: Count = 120
    """Simulated users who wrote the prompts; splits go by user."""
    pictures: bool = False
    """Picture town instead of the town's texts: drawn scenes to describe, and an untrained vision-language model."""
