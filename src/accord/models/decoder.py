"""A decoder's forward pass over flat tokens: ``hidden(body, tokens, positions, attend)`` gives the final states.

Llama-shaped bodies (Llama, SmolLM, Qwen2, Mistral without a window) take a short path of our own over the same
parameters: fused projections, bf16 matrix products, a float32 residual stream. It is about a third faster than
the modules' own forward at 1M parameters, and more when decoding. LoRA is added to the weights it adapts before
they are cast, so that an adapter that is still zero changes nothing. Every other architecture runs its own
modules, with our attention inside. Both paths give the same states (tests/models).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MethodType
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from accord.models import plain
from accord.models.attention import Attend, PackedAttention
from accord.models.elementwise import gated, rms_norm
from accord.models.low_rank import LowRank, linear
from accord.models.packing import PackedBatch
from accord.models.paths import PLAIN, path_of
from accord.models.sharding import blocks, whole

Product = Literal["qkv", "out", "gate_up", "down"]
"""The products of a block; projections of the same input are one."""


@dataclass(frozen=True)
class Layer:
    """One block's weights, projections of the same input fused."""

    norm_in: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    norm_mlp: Tensor
    gate_up: Tensor
    down: Tensor
    adapters: Mapping[Product, Sequence[LowRank]] = field(default_factory=dict[Product, Sequence[LowRank]])
    """Those that are part of the weights already, and learn."""

    def product(self, which: Product, x: Tensor) -> Tensor:
        """Return one of the products of a block."""
        weight: Tensor = getattr(self, which)
        return linear(x, weight, self.qkv_bias if which == "qkv" else None, self.adapters.get(which, ()))


@dataclass(frozen=True)
class Weights:
    """A Llama-shaped body's weights in the dtype of its matrix products."""

    layers: list[Layer]
    embedding: Tensor
    norm: Tensor
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    dtype: torch.dtype


def is_llama_shaped(body: nn.Module) -> bool:
    """Return whether a body takes the short path."""
    return path_of(body) == "fused"


def _weight(projection: Any) -> Tensor:
    """Return a projection's weight plus its adapters, if any. Gradients flow back to the weight or, by ``LowRank``, to its adapters."""
    if not hasattr(projection, "lora_A"):
        return projection.weight
    weight: Tensor = projection.get_base_layer().weight
    with torch.no_grad():
        deltas: list[Tensor] = [projection.get_delta_weight(adapter) for adapter in _active(projection)]
    return sum(deltas, weight)


def _active(projection: Any) -> list[str]:
    """Return the adapters that are to be added to a projection's weight."""
    if not hasattr(projection, "lora_A") or projection.merged or projection.disable_adapters:
        return []
    return list(projection.active_adapters)


def _low_rank(projections: Sequence[Any], order: Int[Tensor, " outputs"] | None = None) -> list[LowRank]:
    """Return the adapters of projections that are one product. Without gradients nobody asks for them.

    Args:
        order: what stands at each output of the product.
    """
    found, first = list[LowRank](), 0
    for projection in projections:
        outputs: int = projection.out_features
        for name in _active(projection) if torch.is_grad_enabled() else ():
            a, b = projection.lora_A[name].weight, projection.lora_B[name].weight
            b = b if order is None else b.index_select(0, order[first : first + outputs] - first)
            found.append(LowRank(first, a, b, projection.scaling[name]))
        first += outputs
    return found


def fuse(body: Any, dtype: torch.dtype) -> Weights:
    """Return the body's weights, cast and fused. Gradients flow back to the parameters. Call it again after each update."""
    bare = _frame(body, dtype)
    order = rotary_order(bare, body.device)
    return replace(bare, layers=[_fused(block, order, dtype) for block in body.layers])


def _frame(body: Any, dtype: torch.dtype) -> Weights:
    """Return all weights of a body except those of its layers."""
    config = body.config
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    return Weights([], body.embed_tokens.weight, body.norm.weight, heads, kv_heads, dim, config.rms_norm_eps, dtype)


def _fused(block: Any, order: Int[Tensor, " outputs"], dtype: torch.dtype) -> Layer:
    attention, mlp = block.self_attn, block.mlp
    projections, gates = (attention.q_proj, attention.k_proj, attention.v_proj), (mlp.gate_proj, mlp.up_proj)
    adapters: dict[Product, Sequence[LowRank]] = {
        "qkv": _low_rank(projections, order),
        "out": _low_rank([attention.o_proj]),
        "gate_up": _low_rank(gates),
        "down": _low_rank([mlp.down_proj]),
    }
    biased = attention.q_proj.bias is not None
    return Layer(
        norm_in=block.input_layernorm.weight,
        qkv=torch.cat([_weight(p) for p in projections]).index_select(0, order).to(dtype),
        qkv_bias=torch.cat([p.bias for p in projections]).index_select(0, order).to(dtype) if biased else None,
        out=_weight(attention.o_proj).to(dtype),
        norm_mlp=block.post_attention_layernorm.weight,
        gate_up=torch.cat([_weight(p) for p in gates]).to(dtype),
        down=_weight(mlp.down_proj).to(dtype),
        adapters=adapters,
    )


def recomputing(model: Any) -> Any:
    """Return the model with activation checkpointing: only the states between layers are kept for the backward pass.

    The backward pass computes each layer again. Gradients are unchanged; activation memory falls to about one
    layer's, and a step takes about a fifth longer. Four-bit weights are restored layer by layer, so that they
    never exist all at once.
    """
    body = model.base_model
    body.recompute = True
    for layer in blocks(body):
        layer.forward = MethodType(_again, layer)  # transformers' own switch works in training mode alone, with dropout and layer drop
    return model


def _again(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Serve as a layer's forward pass that is computed again in the backward pass."""
    forward: Callable[..., Any] = type(layer).forward
    if not torch.is_grad_enabled():
        return forward(layer, *args, **kwargs)
    return checkpoint(forward, layer, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def hidden(
    body: Any,
    tokens: Int[Tensor, " tokens"],
    positions: Int[Tensor, " tokens"],
    attend: Attend,
    dtype: torch.dtype,
    at: Int[Tensor, " n"] | None = None,
) -> Float[Tensor, "n width"]:
    """Return the final normalised states of a decoder body over flat tokens: of all of them, or of those at some places.

    Args:
        body: a transformers decoder without its head (``model.base_model``).
        tokens: token ids, sequences end to end.
        positions: each token's position in its own sequence.
        attend: which token sees which; on the plain path, the rows' lengths.
        dtype: of the matrix products; parameters and the residual stream stay float32.
        at: indices of tokens. On the short path the last block computes no more than their states.
    """
    if not len(tokens):  # a process without rows takes part: one token is read, and its state dropped
        return hidden(body, tokens.new_zeros(1), positions.new_zeros(1), attend, dtype)[:0]
    path = path_of(body)
    if path == "fused":
        return _layerwise(body, tokens, rotary(body, positions), attend, dtype, at)
    if path in PLAIN:
        states = plain.hidden(body, tokens, cast("Any", attend).lengths, dtype, padded=path == "padded")
    else:
        keeps = torch.is_grad_enabled() and not getattr(body, "recompute", False)
        with torch.autocast(tokens.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=keeps):
            out = body(input_ids=tokens[None], position_ids=positions[None], use_cache=False, attend=attend)
        states = out.last_hidden_state[0]
    return states if at is None else states.index_select(0, at)


def states_at(body: Any, batch: PackedBatch, at: Int[Tensor, " n"], dtype: torch.dtype) -> Float[Tensor, "n width"]:
    """Return the final states after the tokens at some places of a batch. What rows have in common at their beginnings is computed once,
    where that saves enough and the body runs on our attention."""
    shared, device = (None if path_of(body) in PLAIN else batch.shared), batch.tokens.device
    if shared is None:
        return hidden(body, batch.tokens, batch.positions, PackedAttention(batch.row_lengths, device), dtype, at)
    attend = PackedAttention(batch.row_lengths, device, shared.laid, shared.groups)
    return hidden(body, shared.tokens, shared.positions, attend, dtype, shared.index.index_select(0, at))


def rotary_order(weights: Weights, device: torch.device) -> Int[Tensor, " outputs"]:
    """Return the row order of the fused projection that puts the two halves of each rotated pair side by side.

    Hugging Face's Llama rotates component i with i + dim/2; side by side they are one complex number, and
    rotating is one product. Queries and keys move alike, so their products stay as they were.
    """
    rotated, dim = weights.heads + weights.kv_heads, weights.head_dim
    pairs = torch.arange(dim, device=device).view(2, dim // 2).T.flatten()
    heads = torch.arange(rotated, device=device)[:, None] * dim + pairs
    rest = torch.arange(rotated * dim, (rotated + weights.kv_heads) * dim, device=device)
    return torch.cat([heads.flatten(), rest])


def rotary(body: Any, positions: Int[Tensor, " tokens"]) -> Tensor:
    """Return rotations [tokens, 1, dim / 2] as complex numbers, using the body's own frequencies and scaling."""
    angles = positions[:, None].float() * body.rotary_emb.inv_freq.float()
    return torch.polar(torch.full_like(angles, body.rotary_emb.attention_scaling), angles)[:, None]


Linear = Callable[[int, Product, Tensor, Tensor], Tensor]
"""Changes a product: takes the layer's index, which product it is, its input and its output, and returns the output."""


def as_it_is(index: int, which: Product, states: Tensor, out: Tensor) -> Tensor:
    """Return a product unchanged."""
    return out


def llama_hidden(
    weights: Weights,
    tokens: Int[Tensor, " tokens"],
    rotations: Tensor,
    attend: Attend,
    adapt: Linear = as_it_is,
    at: Int[Tensor, " n"] | None = None,
) -> Float[Tensor, "n width"]:
    """Return the Llama forward pass (Touvron et al. 2023) on fused weights, with ``at`` as in ``hidden``."""
    x = F.embedding(tokens, weights.embedding).float()
    for index, layer in enumerate(weights.layers):
        x = _through(weights, layer, index, x, rotations, attend, adapt, at if index == len(weights.layers) - 1 else None)
    return rms_norm(x, weights.norm, weights.epsilon)


def _through(
    w: Weights, layer: Layer, index: int, x: Tensor, rotations: Tensor, attend: Attend, adapt: Linear = as_it_is, at: Tensor | None = None
) -> Tensor:
    """Return the states [tokens, width] after one block: attention, then the gated MLP, each added to the residual stream.

    What follows attention works on each token alone, and is computed for the tokens ``at`` alone where these are all that is asked for.
    """
    h = rms_norm(x, layer.norm_in, w.epsilon).to(w.dtype)
    qkv = adapt(index, "qkv", h, layer.product("qkv", h)).float().view(len(x), -1, w.head_dim)
    qk, v = torch.split(qkv, [w.heads + w.kv_heads, w.kv_heads], 1)
    rotated = torch.view_as_real(torch.view_as_complex(torch.unflatten(qk, 2, (-1, 2))) * rotations).flatten(2)
    q, k = torch.split(rotated, [w.heads, w.kv_heads], 1)
    o = attend(index, q, k, v).flatten(1).to(w.dtype)
    if at is not None:
        o, x = o.index_select(0, at), x.index_select(0, at)
    x = x + adapt(index, "out", o, layer.product("out", o))
    h = rms_norm(x, layer.norm_mlp, w.epsilon).to(w.dtype)
    inner = gated(adapt(index, "gate_up", h, layer.product("gate_up", h)))
    return x + adapt(index, "down", inner, layer.product("down", inner))


def _layerwise(body: Any, tokens: Tensor, rotations: Tensor, attend: Attend, dtype: torch.dtype, at: Tensor | None) -> Tensor:
    """Return the same states, casting each layer's weights just before they are used.

    Without gradients they are gone after the layer. With them, the gradients of a layer's cast weights are turned into those of its
    parameters before the backward pass moves on. Under ``recompute`` it casts and computes each layer again.
    """
    bare = _frame(body, dtype)
    order, last = rotary_order(bare, body.device), len(body.layers) - 1

    def through(index: int, x: Tensor) -> Tensor:
        layer = _fused(body.layers[index], order, dtype)
        return _through(bare, layer, index, x, rotations, attend, at=at if index == last else None)

    x = F.embedding(tokens, bare.embedding).float()
    again = partial(cast("Any", checkpoint), use_reentrant=False, preserve_rng_state=False)
    for index, block in enumerate(body.layers):
        step = partial(through, index)
        if torch.is_grad_enabled() and getattr(body, "recompute", False):
            step = partial(again, step)
        x = whole(block, step, x)
    return rms_norm(x, bare.norm, bare.epsilon)


def context_of(model: Any) -> int:
    """Return a model's longest sequence in tokens; 0 where its configuration sets no limit.

    Dynamic RoPE states the positions it was trained with, and the factor by which rows may exceed them.
    """
    config = getattr(model, "config", None)
    if config is not None and not hasattr(config, "max_position_embeddings") and hasattr(config, "get_text_config"):
        config = config.get_text_config()
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    factor = float(rope.get("factor") or 1) if rope.get("rope_type") == "dynamic" else 1.0
    return int((getattr(config, "max_position_embeddings", 0) or 0) * factor)
