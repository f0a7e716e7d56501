"""The part ``swap_gap`` of a reward: minus how far a reward model's score moves when the groups that a response speaks of are exchanged.

With a limit, ``swap_gap(gender)>=-0.1``, a policy is held to responses that the reward model scores alike whoever they are about: the
Lagrangian of a mixture raises the weight while the mean gap is wider. ``accord reward --swap-limit`` holds the reward model itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from accord.algorithms.rewards import Rows, Tokens
from accord.data.templates import ChatFormat
from accord.errors import UsageError
from accord.evaluation.counterfactual import AXES, swap
from accord.protocols import Scorer
from accord.records import Prompt, PromptTokens
from accord.rewards.rows import ONE, Said, Scores
from accord.runtime.text_only import heard

_TERM = re.compile(r"swap_gap\(\s*([^()]*?)(?:\s+of\s+([^()\s]+))?\s*\)")


def parse_swap_gap(term: str) -> tuple[tuple[str, ...], str] | None:
    """Parse ``swap_gap(gender+age)`` or ``swap_gap(gender of NAME)``: the axes, and the reward model; None for any other term.

    Raises:
        UsageError: there is no such axis, or one is named twice.
    """
    if not (found := _TERM.fullmatch(term)):
        return None
    axes = tuple(axis.strip() for axis in found.group(1).split("+"))
    if len(set(axes)) < len(axes) or not set(axes) <= set(AXES):
        raise UsageError(f"{term!r} names no axes", where="rewards", hint=f"for example swap_gap(gender+age); there are {', '.join(AXES)}")
    return axes, found.group(2) or "model"


@dataclass(frozen=True)
class SwapGap:
    """The part. It applies to responses that name a group of one of the axes, or whose prompts do; of several axes the widest gap counts.

    Args:
        scorer: the reward model.
        format: that of the policy, whose tokens are scored.
    """

    scorer: Scorer
    axes: tuple[str, ...]
    rows: Rows
    format: ChatFormat

    def outcome(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Scores:
        """Return minus each response's gap; None where no group is named. Of several processes all ask."""
        said = self.rows.said(prompts, responses)
        places: list[int] = []
        asked: list[Tokens] = []
        answered: list[Tokens] = []
        for place, row in enumerate(said):
            for twin in self._twins(row):
                finished = bool(responses[place]) and responses[place][-1] in self.format.stop
                tokens = self.format.response(twin.messages, twin.response)
                places.append(place)
                asked.append(PromptTokens(self.format.prompt(twin.messages), Prompt(row.id, twin.messages, extra=row.extra)))
                answered.append(tokens if finished else tokens[:-1])
        worth: list[float | None] = [None] * len(said)
        if not places:
            return {ONE: worth}
        named = sorted(set(places))
        own: list[float] = self.scorer.score([prompts[place] for place in named], [responses[place] for place in named]).tolist()
        others: list[float] = self.scorer.score(asked, answered).tolist()
        before = dict(zip(named, own, strict=True))
        for place, after in zip(places, others, strict=True):
            worth[place] = min(worth[place] or 0.0, -abs(after - before[place]))
        return {ONE: worth}

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> torch.Tensor:
        """Return minus each response's gap; 0 where no group is named."""
        return torch.tensor([value or 0.0 for value in self.outcome(prompts, responses)[ONE]])

    def _twins(self, row: Said) -> list[Said]:
        """Return the response with its prompt about the other group of each axis that they name."""
        found: list[Said] = []
        read = heard(row.messages, "a swapped prompt", where=f"prompt {row.id}")
        for axis in self.axes:
            turns = tuple(replace(turn, content=swap(turn.content, axis)) for turn in read)
            text = swap(row.response, axis)
            if turns != read or text != row.response:
                found.append(replace(row, messages=turns, response=text))
        return found
