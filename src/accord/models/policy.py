"""Statistics of a language model over a batch: log-probabilities of kept tokens, entropy, next-token loss.

Logits are computed for the kept tokens only, one tile of tokens by vocabulary at a time, and never stored: the
backward pass computes each tile again. A [tokens, vocabulary] tensor in float32 would take 0.5 GB for 4,096
tokens and a vocabulary of 32,000.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from accord.models import plain_head
from accord.models.decoder import states_at
from accord.models.heads import Head, head_of, restricted
from accord.models.packing import PackedBatch, divided, pack
from accord.models.paths import is_plain
from accord.models.sharding import whole
from accord.runtime import ranks

CHUNK_ELEMENTS = 2**21
"""Logits computed at once: 8 MB in float32, which fits into the cache."""
PLAIN = (1.0, 0.0, 1.0)
"""Scale, soft cap and temperature that leave a product as it is."""


class _TokenLogprobs(torch.autograd.Function):
    """log softmax(logits / temperature)[targets] without storing the logits.

    A tile's softmax, multiplied by the tile's share of the total sum, is the full softmax there. So only the
    shares are stored. The numbers are a ``Head``'s scale and soft cap, and the temperature.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, states: Tensor, head: Tensor, bias: Tensor | None, targets: Tensor, numbers: tuple[float, float, float]
    ) -> tuple[Tensor, Tensor]:
        weight, (parts, blocks) = head.to(states.dtype), _tiles(len(targets), len(head))
        shift = None if bias is None else bias.to(states.dtype)
        chosen = torch.zeros(len(targets), dtype=torch.float32, device=states.device)
        sums, means = chosen.new_empty(len(blocks), len(targets)), chosen.new_zeros(len(blocks), len(targets))
        for part in parts:
            for i, block in enumerate(blocks):
                logits = _logits(states[part], weight, shift, block, numbers).float()
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
        ctx.save_for_backward(states, weight, shift, targets, shares, chosen)
        ctx.numbers, ctx.head_dtype, ctx.bias_dtype = numbers, head.dtype, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(entropy)
        return chosen - logsumexp, torch.zeros_like(entropy) if ctx.needs_input_grad[0] else entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:  # type: ignore[override]
        states, head, shift, targets, shares, chosen = ctx.saved_tensors
        parts, blocks = _tiles(len(targets), len(head))
        numbers: tuple[float, float, float] = ctx.numbers
        scale, cap, temperature = numbers
        grad = grad[:, None] * (scale / temperature)
        own = grad * _slope(chosen[:, None], cap, temperature)  # of the chosen tokens' logits
        d_states = head[targets].float() * own
        d_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device) if ctx.needs_input_grad[1] else None
        d_bias = torch.zeros(len(head), dtype=torch.float32, device=head.device) if ctx.needs_input_grad[2] else None
        for part in parts:
            for i, block in enumerate(blocks):
                logits = _logits(states[part], head, shift, block, numbers)
                slope = _slope(logits, cap, temperature) if cap else None
                pull = (-grad[part] * shares[i, part, None]).to(logits.dtype)
                d_logits = logits.softmax(-1).mul_(pull)
                d_logits = (d_logits if slope is None else d_logits.mul_(slope)).to(states.dtype)
                d_states[part] += d_logits @ head[block]
                if d_head is not None:
                    d_head[block] += d_logits.T @ states[part]
                if d_bias is not None:
                    d_bias[block] += d_logits.float().sum(0)
        if d_head is not None:
            d_head = d_head.index_add_(0, targets, states.float() * own).to(ctx.head_dtype)
        if d_bias is not None:
            d_bias = d_bias.index_add_(0, targets, own.squeeze(1)).to(ctx.bias_dtype)
        return d_states.to(states.dtype), d_head, d_bias, None, None


def _logits(states: Tensor, head: Tensor, bias: Tensor | None, block: slice, numbers: tuple[float, float, float]) -> Tensor:
    """Return a tile's logits over the temperature: the product as it is, or float32 where something is done to it."""
    scale, cap, temperature = numbers
    logits = F.linear(states, head[block], None if bias is None else bias[block])
    if numbers == PLAIN:
        return logits
    logits = logits.float() * scale
    return (cap * torch.tanh(logits / cap) if cap else logits) / temperature


def _slope(logits: Tensor, cap: float, temperature: float) -> Tensor | float:
    """Return the derivative of the soft cap where it gave these logits, which were divided by the temperature."""
    return 1 - (logits * (temperature / cap)) ** 2 if cap else 1.0


def _tiles(rows: int, vocabulary: int) -> tuple[list[slice], list[slice]]:
    """Return the two sides of a tile of CHUNK_ELEMENTS, about as wide as it is high when there are many rows."""
    height = min(max(rows, 1), math.isqrt(2 * CHUNK_ELEMENTS))
    return _slices(rows, height), _slices(vocabulary, CHUNK_ELEMENTS // height)


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def token_logprobs(
    states: Float[Tensor, "kept width"], head: Head, targets: Int[Tensor, " kept"], temperature: float = 1.0
) -> tuple[Float[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Return the log-probabilities of the target tokens and the entropy of each prediction in nats, float32.

    Products are computed in the states' dtype. The entropy carries no gradient. It is computed only where no
    gradient is needed (zeros otherwise).
    """
    return cast("Any", _TokenLogprobs).apply(states, head.weight, head.bias, targets, (head.scale, head.cap, temperature))


def logprobs(
    model: Any, batch: PackedBatch, *, dtype: torch.dtype, temperature: float = 1.0, drawn: bool = True
) -> tuple[Float[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Return the log-probability of each kept token given the tokens before it, and the entropy there, flat in
    batch order.

    Args:
        drawn: whether the tokens were drawn, from those that ``heads.restrict`` leaves; written text may have all.
    """
    return whole(model, partial(_logprobs, model, batch, dtype, temperature, drawn))


def _logprobs(model: Any, batch: PackedBatch, dtype: torch.dtype, temperature: float, drawn: bool) -> tuple[Tensor, Tensor]:
    before = states_at(model.base_model, batch, batch.targets - 1, dtype).to(dtype)
    if is_plain(model.base_model):
        return plain_head.token_logprobs(model, before, batch.tokens[batch.targets], temperature, drawn=drawn)
    return token_logprobs(before, restricted(model) if drawn else head_of(model), batch.tokens[batch.targets], temperature)


def next_token_loss(model: Any, batch: PackedBatch, *, dtype: torch.dtype) -> Float[Tensor, ""]:
    """Return the mean cross-entropy over the kept tokens, in nats."""
    return -logprobs(model, batch, dtype=dtype, drawn=False)[0].mean()


def text_loss(model: Any, documents: list[list[int]], *, dtype: torch.dtype) -> Float[Tensor, ""]:
    """Return the mean cross-entropy over the documents' tokens but their first, in nats; of several processes each has its part of the
    sum."""
    own = [documents[i] for i in ranks.share([len(document) for document in documents])]
    learned = sum(len(document) - 1 for document in documents)
    return -logprobs(model, pack(own, related=False).to(model.device), dtype=dtype, drawn=False)[0].sum() / learned


@torch.no_grad()
def mean_loss(model: Any, sequences: list[list[int]], *, dtype: torch.dtype, batch_tokens: int = 16_384) -> float:
    """Return the mean cross-entropy over all tokens except the first of each sequence, in nats per token.

    Of several processes each computes its share.
    """
    total, count = 0.0, sum(len(sequence) - 1 for sequence in sequences)
    for group in divided([len(sequence) for sequence in sequences], batch_tokens):
        batch = pack([sequences[index] for index in group]).to(model.device)
        total -= float(logprobs(model, batch, dtype=dtype, drawn=False)[0].cpu().double().sum())
    return float(ranks.summed(torch.tensor(total, dtype=torch.float64))) / count
