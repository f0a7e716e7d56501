"""Optimisation shared by all training loops: AdamW with decay on matrices, Muon, learning-rate schedules, a clipped step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim._muon import _zeropower_via_newtonschulz  # pyright: ignore[reportPrivateUsage]

from accord.models.sharding import full, is_part, like
from accord.runtime import ranks
from accord.runtime.device import matmul_dtype
from accord.settings.mixins import Adam

Schedule = Callable[[int, int, int], float]
"""Share of the peak learning rate at a step counted from 0, in a run of so many steps, so many of which are warm-up."""


def adamw(parameters: Iterable[nn.Parameter], settings: Adam, *, lr: float, decay: bool = True) -> torch.optim.AdamW:
    """Return AdamW with these betas and this epsilon, and with weight decay on matrices alone; none without ``decay``."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay if decay else 0.0},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (settings.adam_beta1, settings.adam_beta2)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=settings.adam_epsilon, fused=True)


def muon(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.Muon:
    """Return Muon (Jordan et al. 2024), orthogonalised momentum, for the matrices between embedding and head.

    In pretraining it reaches a loss with two thirds of AdamW's tokens, and models pretrained with it fine-tune better with it
    (docs/notebook.md). PyTorch's Muon multiplies in bfloat16 on every machine; ``Float32Muon`` replaces it on devices that do not
    support that natively.
    """
    matrices = list(parameters)
    native = matmul_dtype(matrices[0].device) is torch.bfloat16
    sharded = any(is_part(matrix) for matrix in matrices)
    kind = (ShardedMuon if sharded else torch.optim.Muon) if native else Float32Muon
    return kind(matrices, lr=lr, weight_decay=weight_decay)


class Float32Muon(torch.optim.Muon):
    """PyTorch's Muon with products in float32, for devices that only emulate bfloat16.

    It has the library's settings and state, so that a run can resume on a machine of the other kind. Its step is the library's
    (torch/optim/_muon.py, 2.13) with Nesterov momentum and the learning rate of Jordan et al., which are the library's defaults.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every matrix that has a gradient. Takes no ``closure``: the loops compute their gradients themselves."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                buffer = state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
                momentary = full(matrix.grad.lerp(buffer, momentum))
                direction = self.orthogonal(momentary, group["ns_coefficients"], group["ns_steps"], group["eps"])
                rows, columns = matrix.shape
                matrix.mul_(1 - lr * group["weight_decay"])
                matrix.add_(like(direction, matrix), alpha=-lr * math.sqrt(max(1, rows / columns)))

    def orthogonal(self, matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
        """Return the matrix with singular values near 1."""
        return orthogonal(matrix, coefficients, steps, eps)


class ShardedMuon(Float32Muon):
    """PyTorch's Muon, products in bfloat16, on matrices that are sharded over processes: each gathers a matrix and updates its part.

    The library's own step gathers too, for every product once.
    """

    def orthogonal(self, matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
        """Return the matrix with singular values near 1, as the library computes it."""
        return _zeropower_via_newtonschulz(matrix, coefficients, steps, eps)


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Return the matrix with singular values near 1, by the quintic Newton-Schulz iteration of Jordan et al., in float32.

    Every step maps each singular value s to a s + b s^3 + c s^5 (https://kellerjordan.github.io/posts/muon/).
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.T if tall else matrix).float()  # the smaller of the two Gram matrices
    wide = wide / wide.square().sum().sqrt().clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if tall else wide


def make_optimizers(model: Any, settings: Adam, *, lr: float, muon_lr: float) -> dict[torch.optim.Optimizer, float]:
    """Return the optimisers that together train a whole model, each with its peak learning rate.

    If ``muon_lr`` is above 0, Muon takes the decoder's inner matrices, with the decay, and AdamW takes the rest: embeddings, norms, head.
    Otherwise AdamW takes all.
    """
    inner = inner_matrices(model.base_model)
    if muon_lr == 0 or not inner:
        return {adamw(model.parameters(), settings, lr=lr): lr}
    rest = [p for p in model.parameters() if all(p is not matrix for matrix in inner)]
    return {
        muon(inner, lr=muon_lr, weight_decay=settings.weight_decay): muon_lr,
        adamw(rest, settings, lr=lr, decay=False): lr,
    }


def inner_matrices(body: nn.Module) -> list[nn.Parameter]:
    """Return the matrices that a decoder learns besides its embeddings. A table that is looked up is one, whatever its name."""
    tables = [module for module in body.modules() if isinstance(module, nn.Embedding)]
    looked_up = {id(p) for table in tables for p in table.parameters()}
    return [p for p in body.parameters() if p.requires_grad and p.ndim == 2 and id(p) not in looked_up]


def cosine(step: int, total: int, warmup: int, floor: float = 0.1) -> float:
    """Return the share of the peak learning rate at a step counted from 0: linear warm-up, then a cosine down to ``floor``."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    return floor + (1 - floor) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def constant(step: int, warmup: int) -> float:
    """Return the share of the peak learning rate: linear warm-up, then constant."""
    return min((step + 1) / max(warmup, 1), 1.0)


def scaled(optimizers: Mapping[torch.optim.Optimizer, float], share: float) -> dict[torch.optim.Optimizer, float]:
    """Return each optimiser's learning rate at a share of its peak."""
    return {optimizer: peak * share for optimizer, peak in optimizers.items()}


def optimizer_states(optimizers: Iterable[torch.optim.Optimizer]) -> list[dict[str, Any]]:
    """Return the optimisers' states for a checkpoint, in order."""
    return [optimizer.state_dict() for optimizer in optimizers]


def restore_optimizers(optimizers: Iterable[torch.optim.Optimizer], kept: Sequence[dict[str, Any]]) -> None:
    """Restore the states that ``optimizer_states`` returned, or whole ones of them where the matrices are sharded over processes now."""
    for optimizer, state in zip(optimizers, kept, strict=True):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.load_state_dict({**state, "state": {i: _as_sharded(each, parameters[i]) for i, each in state["state"].items()}})


def _as_sharded(state: Mapping[str, Any], parameter: nn.Parameter) -> dict[str, Any]:
    """Return what an optimiser remembers of a parameter, sharded as the parameter is."""
    return {name: like(value, parameter) if value.shape == parameter.shape else value for name, value in state.items()}


def update(steps: Mapping[torch.optim.Optimizer, float], max_norm: float) -> Tensor:
    """Take one step of each optimiser at its learning rate, on gradients clipped together to ``max_norm`` (0: unclipped).

    With several processes the gradients are first summed over them, here and nowhere else.
    Clears the gradients and returns their norm before clipping, on the device: reading it makes the host wait.
    """
    parameters = [p for optimizer in steps for group in optimizer.param_groups for p in group["params"]]
    ranks.sum_gradients(parameters)
    norm = _clip(parameters, max_norm if max_norm > 0 else math.inf)
    for optimizer, lr in steps.items():
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return norm


def _clip(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Clip the gradients together to this norm and return what it was; that of sharded ones is the norm over all processes."""
    sharded = [p for p in parameters if is_part(p)]
    if not sharded:
        return nn.utils.clip_grad_norm_(parameters, max_norm)
    others = [p for p in parameters if not is_part(p)]
    norms = [full(nn.utils.get_total_norm([p.grad for p in part if p.grad is not None])) for part in (sharded, others) if part]
    norm: Tensor = torch.stack([each.to(norms[0].device) for each in norms]).square().sum().sqrt()
    for part in (sharded, others):
        nn.utils.clip_grads_with_norm_(part, max_norm, norm)
    return norm
