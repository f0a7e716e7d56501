"""How likely a model makes given texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from accord.commands.evaluate.kl import BATCH_TOKENS
from accord.commands.models import Model
from accord.models.packing import by_tokens, pack
from accord.models.policy import logprobs


@torch.no_grad()
def summed_logprobs(model: Model, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]], dtype: torch.dtype) -> list[float]:
    """Return the log-probability of ``texts[i]`` after ``prompts[i]``, summed over its tokens."""
    rows = [[*prompt, *text] for prompt, text in zip(prompts, texts, strict=True)]
    sums = [0.0] * len(rows)
    for group in by_tokens([len(row) for row in rows], BATCH_TOKENS):
        counts = [len(texts[i]) for i in group]
        batch = pack([rows[i] for i in group], counts).to(model.lm.device)
        parts = torch.split(logprobs(model.lm, batch, dtype=dtype)[0].cpu().double(), counts)
        for i, part in zip(group, parts, strict=True):
            sums[i] = float(part.sum())
    return sums
