"""Log-probabilities of whole responses under a language model, given their prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.models.packing import PackedBatch, divided, pack
from accord.models.policy import logprobs
from accord.runtime import ranks


def response_logprobs(model: Any, batch: PackedBatch, *, dtype: torch.dtype) -> Float[Tensor, " rows"]:
    """Return the summed log-probability of each row's kept tokens, in nats. No row's sum depends on the other rows."""
    flat, _ = logprobs(model, batch, dtype=dtype)
    if not batch.kept_counts:
        return flat
    return torch.stack([part.sum() for part in torch.split(flat, batch.kept_counts)])


@torch.no_grad()
def all_response_logprobs(
    model: Any, rows: Sequence[list[int]], kept: Sequence[int], *, dtype: torch.dtype, batch_tokens: int = 16_384
) -> Float[Tensor, " rows"]:
    """Return the log-probabilities of the last ``kept[i]`` tokens of each row, without gradient, in the rows' order, on the model's
    device. Of several processes, which all give the same rows, each computes its share."""
    out = torch.zeros(len(rows), device=model.device)
    prompts = [row[: len(row) - count] for row, count in zip(rows, kept, strict=True)]
    for group in divided([len(row) for row in rows], batch_tokens, prompts):
        batch = pack([rows[i] for i in group], [kept[i] for i in group]).to(model.device)
        out[group] = response_logprobs(model, batch, dtype=dtype)
    return ranks.summed(out)
