"""What a language model says of a batch: log-probabilities of kept tokens, entropy, next-token loss.

Logits are made for the kept tokens alone, in chunks, and never kept: the backward pass makes each chunk again. A [tokens, vocabulary]
tensor in float32 would be 0.5 GB for 4,096 tokens and a vocabulary of 32,000.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from accord.models.attention import RaggedAttention
from accord.models.decoder import hidden
from accord.models.ragged import Ragged, by_tokens, pack

CHUNK_ELEMENTS = 2**21
"""Logits made at once: 8 MB in float32, which stays in cache."""


class _TokenLogprobs(torch.autograd.Function):
    """log softmax(states @ head.T / temperature)[targets] without keeping the logits."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, states: Tensor, head: Tensor, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(targets), dtype=torch.float32, device=states.device)
        entropy = torch.zeros_like(logprobs)
        for part in _chunks(len(targets), len(head)):
            logits = _logits(states[part], head, temperature).float()
            logsumexp = logits.logsumexp(-1)
            logprobs[part] = logits.gather(1, targets[part, None]).squeeze(1) - logsumexp
            if not ctx.needs_input_grad[0]:
                entropy[part] = logsumexp - (logits.softmax(-1) * logits).sum(-1)
        ctx.save_for_backward(states, head, targets)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        states, head, targets = ctx.saved_tensors
        grad = (grad / ctx.temperature).to(states.dtype)
        d_states, d_head = torch.empty_like(states), torch.zeros(head.shape, dtype=torch.float32, device=head.device)
        for part in _chunks(len(targets), len(head)):
            d_logits = _logits(states[part], head, ctx.temperature).softmax(-1).mul_(-grad[part, None])
            d_logits.scatter_add_(1, targets[part, None], grad[part, None])
            torch.mm(d_logits, head, out=d_states[part])
            d_head += d_logits.T @ states[part]
        return d_states, d_head.to(head.dtype), None, None


def _logits(states: Tensor, head: Tensor, temperature: float) -> Tensor:
    logits = states @ head.T
    return logits if temperature == 1.0 else logits / temperature


def _chunks(rows: int, vocabulary: int) -> list[slice]:
    size = max(1, CHUNK_ELEMENTS // vocabulary)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def token_logprobs(
    states: Float[Tensor, "kept width"],
    head: Float[Tensor, "vocabulary width"],
    targets: Int[Tensor, " kept"],
    temperature: float = 1.0,
) -> tuple[Float[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Log-probabilities of the target tokens and the entropy of each prediction in nats, float32.

    The entropy carries no gradient, and is computed only where none is asked for (zeros otherwise).
    """
    return _TokenLogprobs.apply(states, head, targets, temperature)  # pyright: ignore[reportReturnType]


def head_weight(model: Any) -> Tensor:
    """The weight [vocabulary, width] of a causal LM's head.

    Raises:
        ModelError: its logits are more than states times this matrix.
    """
    from accord.errors import ModelError

    head, config = model.get_output_embeddings(), model.config
    odd = [key for key in ("final_logit_softcapping", "logits_scaling", "logit_scale") if getattr(config, key, None)]
    if odd or getattr(head, "bias", None) is not None:
        raise ModelError(
            f"this architecture's head has {', '.join(odd) or 'a bias'}, which accord does not support", where=config.model_type
        )
    return head.weight


def logprobs(
    model: Any, batch: Ragged, *, dtype: torch.dtype, temperature: float = 1.0
) -> tuple[Float[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Log-probability of each kept token given what precedes it, and the entropy there, flat in batch order."""
    states = hidden(model.base_model, batch.tokens, batch.positions, RaggedAttention(batch.lengths), dtype)
    before = states.index_select(0, batch.targets - 1).to(dtype)
    return token_logprobs(before, head_weight(model).to(dtype), batch.tokens[batch.targets], temperature)


def next_token_loss(model: Any, batch: Ragged, *, dtype: torch.dtype) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats over the kept tokens."""
    return -logprobs(model, batch, dtype=dtype)[0].mean()


@torch.no_grad()
def mean_loss(model: Any, sequences: list[list[int]], *, dtype: torch.dtype, batch_tokens: int = 16_384) -> float:
    """Mean cross-entropy in nats a token over all tokens of the sequences but each one's first."""
    total, count = 0.0, 0
    for group in by_tokens([len(sequence) for sequence in sequences], batch_tokens):
        batch = pack([sequences[index] for index in group]).to(model.device)
        total -= float(logprobs(model, batch, dtype=dtype)[0].double().sum())
        count += len(batch.targets)
    return total / count
