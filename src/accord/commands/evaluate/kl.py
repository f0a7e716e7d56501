"""How far a policy's responses are from the model it started from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from accord.commands.models import Model
from accord.evaluation.statistics import Floats
from accord.models.packing import by_tokens, pack
from accord.models.policy import logprobs
from accord.records import Prompt, Response

BATCH_TOKENS = 16_384
"""Tokens that a forward pass reads at once."""


@torch.no_grad()
def response_kl(
    policy: Model, reference: Model, prompts: Sequence[Prompt], responses: Sequence[Response], *, temperature: float, dtype: torch.dtype
) -> Floats:
    """Return for each of the policy's responses the sum over its tokens of log policy - log reference, in nats.

    This is k1: its mean over responses estimates the KL without bias.
    """
    rows = [[*policy.format.asked(prompt), *said.tokens] for prompt, said in zip(prompts, responses, strict=True)]
    kl = np.zeros(len(rows))
    for group in by_tokens([len(row) for row in rows], BATCH_TOKENS):
        counts = [len(responses[i].tokens) for i in group]
        batch = pack([rows[i] for i in group], counts).to(policy.lm.device)
        ours, _ = logprobs(policy.lm, batch, dtype=dtype, temperature=temperature)
        theirs, _ = logprobs(reference.lm, batch, dtype=dtype, temperature=temperature)
        parts = torch.split((ours - theirs).cpu().double(), counts)
        kl[group] = [float(part.sum()) for part in parts]
    return kl
