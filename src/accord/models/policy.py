"""Statistics of a language model over a batch: log-probabilities of kept tokens, entropy, next-token loss.

Logits are computed for the kept tokens only, one tile of tokens by vocabulary at a time, and never stored: the
backward pass computes each tile again. A [tokens, vocabulary] tensor in float32 would take 0.5 GB for 4,096
tokens and a vocabulary of 32,000.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from accord.models.attention import PackedAttention
from accord.models.decoder import hidden
from accord.models.packing import PackedBatch, by_tokens, pack

CHUNK_ELEMENTS = 2**21
"""Logits computed at once: 8 MB in float32, which fits into the cache."""


class _TokenLogprobs(torch.autograd.Function):
    """log softmax(states @ head.T / temperature)[targets] without storing the logits.

    A tile's softmax, multiplied by the tile's share of the total sum, is the full softmax there. So only the
    shares are stored.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, states: Tensor, head: Tensor, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        weight, (parts, blocks) = head.to(states.dtype), _tiles(len(targets), len(head))
        chosen = torch.zeros(len(targets), dtype=torch.float32, device=states.device)
        sums, means = chosen.new_empty(len(blocks), len(targets)), chosen.new_zeros(len(blocks), len(targets))
        for part in parts:
            for i, block in enumerate(blocks):
                logits = _logits(states[part], weight[block], temperature).float()
                relative = logits.log_softmax(-1)
                sums[i, part] = logits[:, 0] - relative[:, 0]
                at = targets[part] - block.start
                inside = (at >= 0) & (at < logits.shape[1])
                chosen[part] += logits.gather(1, at.clamp(0, logits.shape[1] - 1)[:, None]).squeeze(1).masked_fill(~inside, 0.0)
                if not ctx.needs_input_grad[0]:
                    means[i, part] = (relative.exp_() * logits).sum(-1)
        logsumexp = sums.logsumexp(0)
        shares = (sums - logsumexp).exp()
        entropy = logsumexp - (shares * means).sum(0)
        ctx.save_for_backward(states, weight, targets, shares)
        ctx.temperature, ctx.head_dtype = temperature, head.dtype
        ctx.mark_non_differentiable(entropy)
        return chosen - logsumexp, torch.zeros_like(entropy) if ctx.needs_input_grad[0] else entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor | None, None, None]:  # type: ignore[override]
        states, head, targets, shares = ctx.saved_tensors
        parts, blocks = _tiles(len(targets), len(head))
        grad = grad[:, None] / ctx.temperature
        d_states = head[targets].float() * grad
        d_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device) if ctx.needs_input_grad[1] else None
        for part in parts:
            for i, block in enumerate(blocks):
                pull = (-grad[part] * shares[i, part, None]).to(states.dtype)
                d_logits = _logits(states[part], head[block], ctx.temperature).softmax(-1).mul_(pull)
                d_states[part] += d_logits @ head[block]
                if d_head is not None:
                    d_head[block] += d_logits.T @ states[part]
        if d_head is not None:
            d_head = d_head.index_add_(0, targets, states.float() * grad).to(ctx.head_dtype)
        return d_states.to(states.dtype), d_head, None, None


def _logits(states: Tensor, head: Tensor, temperature: float) -> Tensor:
    logits = states @ head.T
    return logits if temperature == 1.0 else logits / temperature


def _tiles(rows: int, vocabulary: int) -> tuple[list[slice], list[slice]]:
    """Return the two sides of a tile of CHUNK_ELEMENTS, about as wide as it is high when there are many rows."""
    height = min(max(rows, 1), math.isqrt(2 * CHUNK_ELEMENTS))
    return _slices(rows, height), _slices(vocabulary, CHUNK_ELEMENTS // height)


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def token_logprobs(
    states: Float[Tensor, "kept width"],
    head: Float[Tensor, "vocabulary width"],
    targets: Int[Tensor, " kept"],
    temperature: float = 1.0,
) -> tuple[Float[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Return the log-probabilities of the target tokens and the entropy of each prediction in nats, float32.

    Products are computed in the states' dtype. The entropy carries no gradient. It is computed only where no
    gradient is needed (zeros otherwise).
    """
    return cast("Any", _TokenLogprobs).apply(states, head, targets, temperature)


def head_weight(model: Any) -> Tensor:
    """Return the weight [vocabulary, width] of a causal LM's head.

    Raises:
        ModelError: its logits are not simply states times this matrix.
    """
    from accord.errors import ModelError

    head, config = model.get_output_embeddings(), model.config
    odd = [key for key in ("final_logit_softcapping", "logits_scaling", "logit_scale") if getattr(config, key, None)]
    if odd or getattr(head, "bias", None) is not None:
        raise ModelError(
            f"this architecture's head has {', '.join(odd) or 'a bias'}, which Accord does not support", where=config.model_type
        )
    return head.weight


def logprobs(
    model: Any, batch: PackedBatch, *, dtype: torch.dtype, temperature: float = 1.0
) -> tuple[Float[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Return the log-probability of each kept token given the tokens before it, and the entropy there, flat in
    batch order."""
    states = hidden(model.base_model, batch.tokens, batch.positions, PackedAttention(batch.lengths), dtype)
    before = states.index_select(0, batch.targets - 1).to(dtype)
    return token_logprobs(before, head_weight(model), batch.tokens[batch.targets], temperature)


def next_token_loss(model: Any, batch: PackedBatch, *, dtype: torch.dtype) -> Float[Tensor, ""]:
    """Return the mean cross-entropy over the kept tokens, in nats."""
    return -logprobs(model, batch, dtype=dtype)[0].mean()


@torch.no_grad()
def mean_loss(model: Any, sequences: list[list[int]], *, dtype: torch.dtype, batch_tokens: int = 16_384) -> float:
    """Return the mean cross-entropy over all tokens except the first of each sequence, in nats per token."""
    total, count = 0.0, 0
    for group in by_tokens([len(sequence) for sequence in sequences], batch_tokens):
        batch = pack([sequences[index] for index in group]).to(model.device)
        total -= float(logprobs(model, batch, dtype=dtype)[0].cpu().double().sum())
        count += len(batch.targets)
    return total / count
