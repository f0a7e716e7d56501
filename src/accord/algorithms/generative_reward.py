"""A reward model that writes: a reason first, then which of two responses people prefer. Its verdict is what is rewarded.

Follows Mahan et al. 2024 (GenRM) and Zhang et al. 2024 (generative verifiers), except: the reasons that it first learns by SFT are what
the labelers noted beside their rankings, where those sample them from a larger model; after that it learns by GRPO, with 1 for a verdict
that is people's, where Mahan et al. take DPO on verdicts that were right and wrong; a tie is worth one half, and a text without a certain
verdict nothing. The steps are those of sft.py and grpo.py: step 1 imitates written verdicts, step 2 draws reasons and keeps to those that
lead to people's order. Each pair is shown in one order, by chance, and judged in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from accord.records import PromptTokens

PEOPLE = "people"
"""Where a pair's prompt carries people's order: 1 if they prefer the response that is shown first, otherwise 0."""


@dataclass(frozen=True)
class Agrees:
    """The reward of a written verdict, as a ``Scorer``: 1 where it is people's, 0 where it is the opposite or cannot be read.

    Args:
        text: response tokens to text. read: a text's verdict, 1 for the response shown first, 0 for the second, NaN for none.
    """

    text: Callable[[Sequence[int]], str]
    read: Callable[[str], float]

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Float[Tensor, " rows"]:
        return torch.tensor([self._worth(prompt, response) for prompt, response in zip(prompts, responses, strict=True)])

    def _worth(self, prompt: Sequence[int], response: Sequence[int]) -> float:
        verdict = self.read(self.text(response))
        people = cast("float", cast("PromptTokens", prompt).prompt.extra[PEOPLE])
        return 0.0 if math.isnan(verdict) else 1 - abs(verdict - people)
