"""Files of public benchmarks for reward models: RewardBench (Lambert et al. 2024) and RM-Bench (Liu et al. 2024).

A row of RewardBench has ``prompt``, ``chosen``, ``rejected`` and ``subset``. One of RM-Bench has three chosen and three rejected answers,
from plain to embellished: short, detailed, detailed with markup. A reward model that likes embellishment fails where the right answer is
the plainer one (``hard``), and shines where it is the richer one (``easy``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from accord.errors import InputError
from accord.records import Message

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard",
        "llmbar-natural",
        "llmbar-adver-neighbor",
        "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
    ),
    "Safety": ("refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond", "donotanswer"),
    "Reasoning": ("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
}
"""The subsets of RewardBench by section."""
STYLES = 3
"""Answers per side of a row of RM-Bench."""


@dataclass(frozen=True)
class Trial:
    """A prompt whose chosen answers should all score higher than its rejected ones."""

    id: str
    messages: tuple[Message, ...]
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    part: str
    """The subset of RewardBench, or the domain of RM-Bench."""


def is_reward_benchmark(row: Mapping[str, Any]) -> bool:
    """Return whether a row has the fields of one of the two formats."""
    return {"prompt", "chosen", "rejected"} <= row.keys() and ("subset" in row or isinstance(row["chosen"], list))


def read_trial(row: Mapping[str, Any], number: int, where: str) -> Trial:
    """Read a row of either format.

    Raises:
        InputError: an answer is missing or no text, or there are not three on each side.
    """
    chosen, rejected = _texts(row["chosen"]), _texts(row["rejected"])
    several = isinstance(row["chosen"], list)
    if not chosen or not rejected or (several and not len(chosen) == len(rejected) == STYLES):
        hint = "RewardBench has one text on each side, RM-Bench a list of three"
        raise InputError("chosen and rejected must be texts", where=f"{where}, row {number}", hint=hint)
    prompt = row["prompt"]
    if isinstance(prompt, list):
        messages = tuple(Message(turn["role"], turn["content"]) for turn in cast("list[dict[str, Any]]", prompt))
    else:
        messages = (Message("user", str(prompt)),)
    part = str(row.get("subset") or row.get("domain") or "all")
    return Trial(str(row.get("id", number)), messages, chosen, rejected, part)


def _texts(value: Any) -> tuple[str, ...]:
    found = cast("list[Any]", value) if isinstance(value, list) else [value]
    return tuple(found) if all(isinstance(each, str) for each in found) else ()


Figures = dict[str, dict[str, float]]
"""By metric, the value of each item."""


def figures(trials: Sequence[Trial], scores: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Figures:
    """Return the accuracies by item: overall, by part, and for RM-Bench ``easy``, ``normal`` and ``hard``. Equal scores count one half.

    Args:
        scores: of each trial's chosen and rejected answers.
    """
    found: Figures = {"accuracy": {}}
    for place, (trial, (chosen, rejected)) in enumerate(zip(trials, scores, strict=True)):
        key, kinds = f"{place}:{trial.id}", dict[str, list[float]]()
        for (i, one), (j, other) in product(enumerate(chosen), enumerate(rejected)):
            won = 1.0 if one > other else 0.5 if one == other else 0.0
            kinds.setdefault("accuracy", []).append(won)
            if len(chosen) == STYLES:
                kinds.setdefault("hard" if i < j else "normal" if i == j else "easy", []).append(won)
        for kind, values in kinds.items():
            found.setdefault(kind, {})[key] = sum(values) / len(values)
        found.setdefault(f"accuracy, {trial.part}", {})[key] = found["accuracy"][key]
    return found


def section_scores(found: Figures) -> dict[str, float]:
    """Return RewardBench's score by section, and their mean as ``score``; empty where no subset is RewardBench's.

    A section is the mean over its prompts. In Reasoning mathematics and code weigh the same.
    """
    by_subset: dict[str, list[float]] = {}
    for metric, values in found.items():
        if metric.startswith("accuracy, "):
            by_subset[metric.removeprefix("accuracy, ")] = list(values.values())
    scores: dict[str, float] = {}
    for section, subsets in SECTIONS.items():
        groups = [("math-prm",), subsets[1:]] if section == "Reasoning" else [subsets]
        means: list[float] = []
        for group in groups:
            values = [value for subset in group for value in by_subset.get(subset, ())]
            if values:
                means.append(sum(values) / len(values))
        if means:
            scores[section] = sum(means) / len(means)
    return scores | ({"score": sum(scores.values()) / len(scores)} if scores else {})
