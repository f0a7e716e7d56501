"""Reward and value models: a decoder body with one number per token instead of a vocabulary.

On disk both are transformers' ``...ForSequenceClassification`` with one label, so any tool can open them. The
bias that sets the mean score of demonstrations to 0 is stored in config.json as ``reward_bias``, since those
heads have no bias; the longest row that the model learned from as ``reward_window``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from accord.models.decoder import context_of, states_at
from accord.models.folders import load_scalar_model
from accord.models.packing import PackedBatch, divided, pack
from accord.models.sharding import whole
from accord.runtime import ranks
from accord.runtime.pictures import shows

BIAS, WINDOW = "reward_bias", "reward_window"
"""What a reward model's config.json says beside its architecture."""


def new_head(width: int, generator: torch.Generator) -> Float[Tensor, "1 width"]:
    """Return an initial head weight, normal with std 1 / sqrt(width + 1) (Stiennon et al. 2020, appendix B)."""
    return torch.randn(1, width, generator=generator) * (width + 1) ** -0.5


def head_width(lm: Any) -> int:
    """Return the width of a causal LM's final states, which a scalar head reads. OPT-350m's are narrower than its layers."""
    return lm.get_output_embeddings().weight.shape[1]


def scalars(model: Any, batch: PackedBatch, at: Tensor, *, dtype: torch.dtype) -> Float[Tensor, " n"]:
    """Return the scalar head's float32 outputs at the token indices ``at`` of the batch, the model's bias added."""
    return whole(model, partial(_scalars, model, batch, at, dtype))


def _scalars(model: Any, batch: PackedBatch, at: Tensor, dtype: torch.dtype) -> Tensor:
    states = states_at(model.base_model, batch, at, dtype)
    weight: Tensor = model.score.weight
    return F.linear(states.float(), weight.float()).squeeze(1) + float(getattr(model.config, BIAS, 0.0))


def scores(model: Any, batch: PackedBatch, *, dtype: torch.dtype) -> Float[Tensor, " rows"]:
    """Return one score per sequence, read at its last token: the stop token of a finished response."""
    return scalars(model, batch, batch.last, dtype=dtype)


def last_states(model: Any, batch: PackedBatch, *, dtype: torch.dtype) -> Float[Tensor, "rows width"]:
    """Return the float32 state that the scalar head reads of each sequence, at its last token."""

    def computed(at: Tensor) -> Tensor:
        return states_at(model.base_model, batch, at, dtype).float()

    return whole(model, computed, batch.last)


def scores_of_states(model: Any, states: Tensor) -> Float[Tensor, " rows"]:
    """Return the scores that the scalar head gives to states, as ``scores`` does, the model's bias added."""
    weight = model.score.weight.detach().float()
    return F.linear(states.to(weight.device), weight).squeeze(1) + float(getattr(model.config, BIAS, 0.0))


class RewardModel:
    """A reward model as a ``Scorer``: the reward of each (prompt, response), in float32.

    Args:
        max_tokens: the window of a pair; 0 takes the one that the model was trained with, or else its context.
    """

    def __init__(self, model: Any, *, dtype: torch.dtype, max_tokens: int = 0, batch_tokens: int = 16_384) -> None:
        self.model, self.dtype, self.batch_tokens = model.eval(), dtype, batch_tokens
        self.max_tokens = max_tokens or trained_window(model)
        self.scored = self.cut = 0
        """Pairs that were scored, and those among them that exceeded the window."""

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype) -> RewardModel:
        """Open a folder that ``accord reward`` wrote.

        Raises:
            ModelError: it is missing or unreadable.
        """
        return cls(load_scalar_model(folder), dtype=dtype)

    @torch.no_grad()
    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Float[Tensor, " rows"]:
        """Score each pair. One that exceeds the window is counted and loses the left of its prompt, as ``scored_row`` says.

        Several processes, which all score the same pairs, divide them.
        """
        rows = self._rows(prompts, responses)
        out = torch.zeros(len(rows), dtype=torch.float32)
        for group in divided([len(row) for row in rows], self.batch_tokens, prompts):
            batch = pack([rows[index] for index in group]).to(self.model.device)
            out[group] = scores(self.model, batch, dtype=self.dtype).cpu()
        return ranks.summed(out)

    @torch.no_grad()
    def read(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return the scores [rows] of pairs as ``score`` does, and the states [rows, width] that they are read from."""
        rows = self._rows(prompts, responses)
        states = states_of_rows(self.model, rows, dtype=self.dtype, batch_tokens=self.batch_tokens)
        return scores_of_states(self.model, states).cpu(), states

    def _rows(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[list[int]]:
        pairs = list(zip(prompts, responses, strict=True))
        self.scored += len(pairs)
        if self.max_tokens:
            self.cut += sum(len(prompt) + len(response) > self.max_tokens for prompt, response in pairs)
        return [scored_row(prompt, response, self.max_tokens, context_of(self.model)) for prompt, response in pairs]


@torch.no_grad()
def states_of_rows(model: Any, rows: Sequence[list[int]], *, dtype: torch.dtype, batch_tokens: int = 16_384) -> Float[Tensor, "rows width"]:
    """Return the states that the head reads of token sequences, in the order given; of several processes each computes its share."""
    width = model.score.weight.shape[1]
    out = torch.zeros(len(rows), width)
    for group in divided([len(row) for row in rows], batch_tokens):
        out[group] = last_states(model, pack([rows[index] for index in group]).to(model.device), dtype=dtype).cpu()
    return ranks.summed(out)


def trained_window(model: Any) -> int:
    """Return the longest row that a reward model was trained with; that of a model that does not say is its context."""
    return int(getattr(getattr(model, "config", None), WINDOW, 0) or 0) or context_of(model)


def scored_row(prompt: Sequence[int], response: Sequence[int], window: int, context: int = 0) -> list[int]:
    """Return the tokens of a pair as they are scored within a window; with 0 there is none.

    The prompt keeps a quarter of the window, so that a response is never scored without one. The response stays whole, although it
    may then exceed the window, unless the model has no positions for its end. So does a prompt that would lose a picture: the response is
    about it.
    """
    over = len(prompt) + len(response) - window
    if not window or over <= 0:
        return [*prompt, *response]
    kept = min(len(prompt), max(len(prompt) - over, window // 4, 1))
    if shows(prompt[: len(prompt) - kept]):
        kept = len(prompt)
    return [*prompt[len(prompt) - kept :], *response][: context or None]
