"""A causal language model's head in numbers: logits are cap tanh(scale (W h + b) / cap), where most models have W alone.

Which of a configuration's settings a head heeds, and how, differs by architecture: Granite divides by ``logits_scaling``, HyperCLOVA X
multiplies by it. So the numbers are tried on the model's own forward pass, with its body left out, and a head that none of them fits
is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from accord.errors import ModelError
from accord.models.paths import is_plain
from accord.models.sharding import without_hooks

CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
FACTORS = ("logit_scale", "logits_scaling", "lm_head_multiplier")
NEAR = 1e-3
"""Largest difference, as a share of the largest logit, at which numbers fit a head in float32. The next candidate is far beyond."""


@dataclass(frozen=True)
class Head:
    """What turns a state into logits."""

    weight: Float[Tensor, "vocabulary width"]
    bias: Float[Tensor, " vocabulary"] | None = None
    scale: float = 1.0
    cap: float = 0.0
    """The soft cap on logits; 0 for none."""

    def to(self, dtype: torch.dtype) -> Head:
        """Return the same head for products in this dtype, without gradients."""
        bias = None if self.bias is None else self.bias.detach().to(dtype)
        return replace(self, weight=self.weight.detach().to(dtype), bias=bias)

    def logits(self, states: Float[Tensor, "n width"]) -> Float[Tensor, "n vocabulary"]:
        """Return the logits of each state, float32; the product is computed in the weight's dtype."""
        logits = F.linear(states.to(self.weight.dtype), self.weight, self.bias).float()
        logits = logits if self.scale == 1.0 else logits * self.scale
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits


BANNED = -1e4
"""What is added to the logits of banned tokens: their probability is 0 in float32, and no product with it is undefined."""


def restrict(models: Sequence[Any], tokens: Sequence[int]) -> None:
    """Take tokens out of the action space of models: ``restricted`` and ``action_logits`` heed it, losses on written text do not.

    Raises:
        ModelError: a soft cap on the logits would let them through.
    """
    for model in models:
        if not is_plain(model.base_model) and tokens and head_of(model).cap:
            raise ModelError("this architecture caps its logits, so that no token can be banned", where=str(model.config.model_type))
        model.banned_tokens = tuple(tokens)


def restricted(model: Any) -> Head:
    """Return a causal LM's head over the tokens that are not banned; see ``restrict``."""
    head, banned = head_of(model), banned_of(model)
    if not banned:
        return head
    mask = torch.zeros(len(head.weight), dtype=head.weight.dtype, device=head.weight.device)
    mask[list(banned)] = BANNED / head.scale
    return replace(head, bias=mask if head.bias is None else head.bias + mask)


def action_logits(model: Any, logits: Float[Tensor, "n vocabulary"]) -> Float[Tensor, "n vocabulary"]:
    """Return logits without those of banned tokens, where a model's own head made them."""
    banned = banned_of(model)
    if not banned:
        return logits
    return logits.index_fill(1, torch.tensor(banned, device=logits.device), BANNED)


def banned_of(model: Any) -> tuple[int, ...]:
    """Return the tokens that a model may not draw."""
    return getattr(model, "banned_tokens", ())


def head_of(model: Any) -> Head:
    """Return a causal LM's head. Its weight and bias are the model's parameters, so gradients reach them.

    Raises:
        ModelError: its logits are not made like this.
    """
    scale, cap = getattr(model, "head_numbers", None) or _numbers(model)
    module = model.get_output_embeddings()
    return Head(module.weight, getattr(module, "bias", None), scale, cap)


@torch.no_grad()
def _numbers(model: Any) -> tuple[float, float]:
    """Return the scale and the cap that fit, and note them on the model."""
    module = model.get_output_embeddings()
    if module is None:
        raise ModelError("this architecture has no language model head", where=str(model.config.model_type))
    width = module.weight.shape[1]
    states = 30 * torch.randn(4, width, generator=torch.Generator().manual_seed(0)).to(module.weight)  # far enough for a cap to bite
    wanted = _asked(model, states)
    near = max(NEAR, 4 * torch.finfo(states.dtype).eps)
    for scale, cap in _candidates(model.config):
        found = Head(module.weight, getattr(module, "bias", None), scale, cap).logits(states)
        if found.shape == wanted.shape and (found - wanted).abs().max() <= near * wanted.abs().max():
            model.head_numbers = scale, cap
            return scale, cap
    raise ModelError("this architecture's head is more than a matrix, a bias, a scale and a soft cap", where=str(model.config.model_type))


def _candidates(config: Any) -> Iterator[tuple[float, float]]:
    factors = [float(getattr(config, name)) for name in FACTORS if getattr(config, name, None)]
    caps = [float(getattr(config, name)) for name in CAPS if getattr(config, name, None)]
    yield from itertools.product([1.0, *factors, *(1 / factor for factor in factors)], [0.0, *caps])


def _asked(model: Any, states: Tensor) -> Tensor:
    """Return the logits that the model's own forward pass makes of these states."""
    twin = without_hooks(model)
    twin._modules = {**model._modules, model.base_model_prefix: Given(model.base_model, states[None])}
    try:
        out = twin(input_ids=torch.zeros(1, len(states), dtype=torch.long, device=states.device))
    except Exception as error:
        name = str(model.config.model_type)
        raise ModelError(f"this architecture's head cannot be told from its body: {type(error).__name__}", where=name) from error
    return out.logits[0].float()


class Given(nn.Module):
    """Stands where the body stood, and returns states that are there already."""

    def __init__(self, body: Any, states: Tensor) -> None:
        super().__init__()
        self.states = states
        self._body = [body]  # in a list, so that it is no part of this module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._body[0], name)  # some heads ask the body for a factor

    @property
    def decoder(self) -> Given:
        """Return itself: OPT asks its body's inner decoder."""
        return self

    def forward(self, *_: Any, **__: Any) -> _Out:
        return _Out(self.states)


class _Out:
    """A body's output that holds states and nothing else."""

    def __init__(self, states: Tensor) -> None:
        self.last_hidden_state = states

    def __getitem__(self, index: Any) -> Any:
        return self.last_hidden_state if index == 0 else ()

    def __getattr__(self, _: str) -> None:
        return None
