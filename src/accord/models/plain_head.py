"""A model's own head on the plain path: whatever its forward pass does with its body's states, also what ``models.heads`` has no
numbers for.

The body is left out of a copy of the model that shares all other modules, and states that are there already take its place.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from accord.errors import ModelError
from accord.models.heads import Given, action_logits
from accord.models.sharding import without_hooks

TILE = 2**23
"""Logits computed at once."""


class PlainHead:
    """A model's own way from its body's states to logits, whatever it is: its forward pass with the body left out."""

    def __init__(self, model: Any) -> None:
        body, name = model.base_model, model.base_model_prefix
        if body is model or name not in dict(model.named_children()):
            raise ModelError("its body cannot be told from its head", where=str(model.config.model_type), hint="use another model")
        self._given = Given(body, torch.empty(0))
        self._twin = without_hooks(model)
        self._twin._modules = {**model._modules, name: self._given}

    def __call__(self, states: Float[Tensor, "n width"], dtype: torch.dtype) -> Float[Tensor, "n vocabulary"]:
        """Return the logits of each state, float32; products in ``dtype``."""
        self._given.states = states[None]
        ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        try:
            with torch.autocast(states.device.type, dtype, enabled=dtype != torch.float32):
                out = self._twin(input_ids=ids)
        finally:
            self._given.states = torch.empty(0)
        return out.logits[0].float()


def token_logprobs(
    model: Any, states: Float[Tensor, "kept width"], targets: Int[Tensor, " kept"], temperature: float = 1.0, *, drawn: bool = True
) -> tuple[Float[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Return what ``policy.token_logprobs`` returns, by the model's own head: log-probabilities, and entropies without a gradient.

    Logits are computed in tiles, and again in the backward pass.

    Args:
        drawn: whether the tokens were drawn, from those that are not banned.
    """
    head = PlainHead(model)

    def tile(part: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(part, part.dtype)
        relative = ((action_logits(model, logits) if drawn else logits) / temperature).log_softmax(-1)
        entropy = -(relative.detach().exp() * relative.detach()).nan_to_num().sum(-1)
        return relative.gather(1, wanted[:, None]).squeeze(1), entropy

    size = max(TILE // int(model.config.get_text_config().vocab_size), 1)
    pairs: list[tuple[Tensor, Tensor]] = []
    for part, wanted in zip(torch.split(states, size), torch.split(targets, size), strict=True):
        once = tile(part, wanted) if not torch.is_grad_enabled() else None
        again = cast("Any", checkpoint)
        pairs.append(once or again(tile, part, wanted, use_reentrant=False, preserve_rng_state=False))
    if not pairs:
        return states.sum(-1).float(), states.detach().sum(-1).float()
    return torch.cat([one for one, _ in pairs]), torch.cat([other for _, other in pairs])
