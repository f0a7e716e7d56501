"""What OpenAI's requests change in the logits of one row: a bias for named tokens, and penalties for what the answer has already.

    logit[t] - count[t] * frequency_penalty - (count[t] > 0) * presence_penalty + bias[t]

``count`` is how often the answer so far has the token t; the prompt's tokens do not count. It is done before temperature and filters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from accord.runtime.device import on_device


class Adjustment:
    """The changes of one row, with the counts of the tokens that it has drawn."""

    def __init__(
        self, vocabulary: int, device: torch.device, *, frequency: float, presence: float, bias: Sequence[tuple[int, float]]
    ) -> None:
        self.frequency, self.presence = frequency, presence
        self.counts = torch.zeros(vocabulary, device=device) if frequency or presence else None
        self.bias = None
        if bias:
            at = on_device([token for token, _ in bias], device)
            self.bias = torch.zeros(vocabulary, device=device).index_copy_(0, at, on_device([amount for _, amount in bias], device))

    def __call__(self, logits: Float[Tensor, " vocabulary"]) -> Tensor:
        """Return the row's logits with its changes."""
        if self.bias is not None:
            logits = logits + self.bias
        if self.counts is not None:
            logits = logits - self.counts * self.frequency - (self.counts > 0) * self.presence
        return logits

    def note(self, token: Int[Tensor, " 1"]) -> None:
        """Count a token that the row has drawn."""
        if self.counts is not None:
            self.counts.index_add_(0, token, self.counts.new_ones(1))
