"""Subsets of prompts: by use case, by language and by scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accord.data.scenes import scene_of
from accord.evaluation.statistics import Floats, Interval, rate
from accord.records import Prompt
from accord.settings.scenes import NONE


def language_of(text: str) -> str:
    """Return ``zh`` if a fifth or more of the letters are Chinese characters, ``en`` if most are Latin, else ``other``."""
    letters = [char for char in text if char.isalpha()]
    han = sum("\u3400" <= char <= "\u9fff" for char in letters)
    latin = sum(char.isascii() for char in letters)
    if letters and han >= 0.2 * len(letters):
        return "zh"
    return "en" if latin >= 0.8 * len(letters) else "other"


def by_language(prompts: Sequence[Prompt]) -> list[str]:
    """Return the language of each prompt's last turn."""
    return [language_of(prompt.messages[-1].content) for prompt in prompts]


def by_scene(prompts: Sequence[Prompt]) -> list[str]:
    """Return the scene that each prompt carries, ``none`` for those that carry none."""
    return [scene_of(prompt) or NONE for prompt in prompts]


def sliced(keys: Sequence[str], values: Floats, *, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Return one interval per key over [prompts] values between 0 and 1, keys in alphabetical order. NaN values are left out."""
    names, known = np.asarray(keys), ~np.isnan(values)
    kept = sorted(set(names[known].tolist()))
    return {key: rate(values[known & (names == key)], resamples=resamples, seed=seed) for key in kept}
