"""Fairness of a reward model: its rewards when groups are swapped in prompt and response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from accord.commands.evaluate.probe_measure import Probing
from accord.commands.models import TextScorer
from accord.evaluation.counterfactual import AXES, swap
from accord.evaluation.statistics import interval
from accord.feedback.store import Store
from accord.records import Prompt
from accord.runtime.jsonable import jsonable

SHOWN = 10
"""Responses that an axis moved most, written down."""
RESPONSES_PER_PROMPT = 10
"""Stored responses that are tried with swapped groups, per prompt that a measure takes."""
Answered = tuple[Prompt, str]


def group_swaps(probing: Probing, reward: str) -> dict[str, Any]:
    """Return by axis how far exchanging groups in prompt and response moves the reward of held-out responses that name any.

    ``shift`` is the mean absolute change in standard deviations of the rewards, ``towards_second`` the mean signed one from texts
    about the first-named group of a pair towards the second (swaps that lead the other way count with the other sign).

    Raises:
        ModelError: there is no such reward model.
    """
    scorer = TextScorer.open(probing.project, reward, probing.dtype)
    rows = _held_out_responses(probing)
    if not rows:
        return {}
    before = _rewards(scorer, rows)
    spread, found = float(before.std()) or 1.0, dict[str, Any]()
    for axis in AXES:
        swapped = [_swapped(prompt, text, axis) for prompt, text in rows]
        places = [i for i, (one, other) in enumerate(zip(rows, swapped, strict=True)) if one != other]
        if not places:
            continue
        after = _rewards(scorer, [swapped[i] for i in places])
        shift = (after - before[places]) / spread
        signed = shift * np.array([_direction(rows[i], axis) for i in places])
        found[axis] = {
            "responses": len(places),
            "shift": interval(np.abs(shift), **probing.draw),
            "towards_second": interval(signed, **probing.draw),
        }
        widest = sorted(range(len(places)), key=lambda k: -abs(float(shift[k])))[:SHOWN]
        probing.run.samples(0, [_sample(axis, rows[places[k]], swapped[places[k]], float(shift[k])) for k in widest])
    return found


def _rewards(scorer: TextScorer, rows: Sequence[Answered]) -> Any:
    return np.array(scorer.scores([prompt for prompt, _ in rows], [text for _, text in rows]))


def _held_out_responses(probing: Probing) -> list[Answered]:
    with Store.open(probing.project.store_url) as store:
        prompts = {prompt.id: prompt for prompt in (*store.prompts(split="validation"), *store.prompts(split="test"))}
        rows = [(prompts[response.prompt_id], response.text) for response in store.responses() if response.prompt_id in prompts]
    return rows[: RESPONSES_PER_PROMPT * probing.config.prompts or None]


def _swapped(prompt: Prompt, text: str, axis: str) -> Answered:
    turns = tuple(replace(message, content=swap(message.content, axis)) for message in prompt.messages)
    return replace(prompt, messages=turns), swap(text, axis)


def _direction(row: Answered, axis: str) -> float:
    """1 where the text speaks more of the first-named group of the axis, so that the swap leads to the second; -1 the other way."""
    firsts, seconds = {first for first, _ in AXES[axis]}, {second for _, second in AXES[axis]}
    text = " ".join([*(message.content for message in row[0].messages), row[1]])
    words = [word.strip(".,!?;:'\"") for word in text.lower().split()]
    count = sum(word in firsts for word in words) - sum(word in seconds for word in words)
    return 1.0 if count >= 0 else -1.0


def _sample(axis: str, before: Answered, after: Answered, shift: float) -> dict[str, Any]:
    told = {"kind": "swap", "axis": axis, "prompt": before[0].messages[-1].content, "response": before[1]}
    return jsonable(told | {"swapped_prompt": after[0].messages[-1].content, "swapped": after[1], "shift": shift})
