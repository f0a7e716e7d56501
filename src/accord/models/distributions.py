"""Two language models' whole distributions over the vocabulary at the same places of a text, compared tile by tile.

A [tokens, vocabulary] tensor of a batch is never stored: the logits of a tile are computed, compared, and computed again in the backward
pass. The two vocabularies may be padded to different widths; what both have is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from accord.models.decoder import states_at
from accord.models.heads import head_of
from accord.models.packing import PackedBatch
from accord.models.paths import is_plain
from accord.models.plain_head import TILE, PlainHead

Compare = Callable[[Tensor, Tensor], Tensor]
"""Makes numbers [n, columns] of two models' log-probabilities [n, vocabulary]."""


def compared(
    model: Any, other: Any, batch: PackedBatch, compare: Compare, *, dtype: torch.dtype, temperature: float = 1.0
) -> Float[Tensor, "kept columns"]:
    """Return what ``compare`` makes of the two models' distributions where each kept token of a batch was predicted.

    Gradients reach ``model`` alone.

    Args:
        temperature: both models' logits are divided by it.
    """
    places = batch.targets - 1
    own = states_at(model.base_model, batch, places, dtype).to(dtype)
    with torch.no_grad():
        given = states_at(other.base_model, batch, places, dtype).to(dtype)
    width = min(vocabulary_of(model), vocabulary_of(other))
    ours, theirs = _logits_of(model), _logits_of(other)

    def tile(mine: Tensor, its: Tensor) -> Tensor:
        with torch.no_grad():
            second = (theirs(its)[:, :width] / temperature).log_softmax(-1)
        return compare((ours(mine)[:, :width] / temperature).log_softmax(-1), second)

    size, rows = max(TILE // width, 1), list[Tensor]()
    for mine, its in zip(torch.split(own, size), torch.split(given, size), strict=True):
        if torch.is_grad_enabled():
            rows.append(cast("Any", checkpoint)(tile, mine, its, use_reentrant=False, preserve_rng_state=False))
        else:
            rows.append(tile(mine, its))
    return torch.cat(rows)


def vocabulary_of(model: Any) -> int:
    """Return the number of a model's logits."""
    return int(model.config.get_text_config().vocab_size)


def _logits_of(model: Any) -> Callable[[Tensor], Tensor]:
    """Return what turns states into float32 logits; products are computed in the states' dtype."""
    if is_plain(model.base_model):
        own = PlainHead(model)
        return lambda states: own(states, states.dtype)
    head = head_of(model)

    def logits(states: Tensor) -> Tensor:
        bias = None if head.bias is None else head.bias.to(states.dtype)
        return replace(head, weight=head.weight.to(states.dtype), bias=bias).logits(states)

    return logits
