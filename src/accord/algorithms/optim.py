"""What every loop needs of an optimiser: AdamW with decay on matrices, Muon for pretraining, a learning-rate curve, a clipped step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from accord.runtime.device import matmul_dtype


def adamw(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0, epsilon: float = 1e-8) -> torch.optim.AdamW:
    """AdamW with betas (0.9, 0.95) and decay on matrices only; epsilon 1e-5 is what the 2019 RLHF code used, 1e-8 the default."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=epsilon, fused=True)


def muon(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.Muon:
    """Muon (Jordan et al. 2024) for the matrices between embedding and head: orthogonalised momentum.

    In pretraining it reaches a loss in two thirds of AdamW's tokens, and what it pretrained is fine-tuned better with it
    (docs/notebook.md). PyTorch's Muon multiplies in bfloat16 on every machine; where the device does not, ``Float32Muon`` takes its place.
    """
    matrices = list(parameters)
    native = matmul_dtype(matrices[0].device) is torch.bfloat16
    return (torch.optim.Muon if native else Float32Muon)(matrices, lr=lr, weight_decay=weight_decay)


class Float32Muon(torch.optim.Muon):
    """PyTorch's Muon with products in float32, for devices that only emulate bfloat16.

    It has the library's settings and state, so that a run resumes on a machine of the other kind. Its step is the library's
    (torch/optim/_muon.py, 2.13) with Nesterov momentum and the learning rate of Jordan et al., which are the library's defaults.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Updates every matrix that has a gradient. Takes no ``closure``: the loops compute their gradients themselves."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                buffer = state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
                direction = orthogonal(matrix.grad.lerp(buffer, momentum), group["ns_coefficients"], group["ns_steps"], group["eps"])
                rows, columns = matrix.shape
                matrix.mul_(1 - lr * group["weight_decay"])
                matrix.add_(direction, alpha=-lr * math.sqrt(max(1, rows / columns)))


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The matrix with singular values near 1, by the quintic Newton-Schulz iteration of Jordan et al., in float32.

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


def make_optimizers(
    model: Any, *, lr: float, muon_lr: float, weight_decay: float = 0.0, epsilon: float = 1e-8
) -> dict[torch.optim.Optimizer, float]:
    """What trains a whole model, each optimiser with its peak learning rate.

    Muon takes the decoder's inner matrices when ``muon_lr`` is above 0, with the decay; AdamW takes the rest: embedding, norms, head.
    Without Muon AdamW takes all.
    """
    inner = [p for name, p in model.base_model.named_parameters() if p.requires_grad and p.ndim == 2 and "embed" not in name]
    if muon_lr == 0 or not inner:
        return {adamw(model.parameters(), lr=lr, weight_decay=weight_decay, epsilon=epsilon): lr}
    rest = [p for p in model.parameters() if all(p is not matrix for matrix in inner)]
    return {muon(inner, lr=muon_lr, weight_decay=weight_decay): muon_lr, adamw(rest, lr=lr, epsilon=epsilon): lr}


def cosine(step: int, total: int, warmup: int, floor: float = 0.1) -> float:
    """Share of the peak learning rate at a step counted from 0: linear warm-up, then a cosine down to ``floor``."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    return floor + (1 - floor) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def constant(step: int, warmup: int) -> float:
    """Share of the peak learning rate: linear warm-up, then constant."""
    return min((step + 1) / max(warmup, 1), 1.0)


def scaled(optimizers: Mapping[torch.optim.Optimizer, float], share: float) -> dict[torch.optim.Optimizer, float]:
    """Each optimiser's learning rate at a share of its peak."""
    return {optimizer: peak * share for optimizer, peak in optimizers.items()}


def optimizer_states(optimizers: Iterable[torch.optim.Optimizer]) -> list[dict[str, Any]]:
    """What a checkpoint keeps of them, in their order."""
    return [optimizer.state_dict() for optimizer in optimizers]


def restore_optimizers(optimizers: Iterable[torch.optim.Optimizer], kept: Sequence[dict[str, Any]]) -> None:
    """Puts back what ``optimizer_states`` returned."""
    for optimizer, state in zip(optimizers, kept, strict=True):
        optimizer.load_state_dict(state)


def update(steps: Mapping[torch.optim.Optimizer, float], max_norm: float) -> float:
    """One step of each optimiser at its learning rate, on gradients clipped together to ``max_norm`` (0: unclipped).

    Returns their norm before clipping, and clears them.
    """
    parameters = [p for optimizer in steps for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, max_norm if max_norm > 0 else math.inf)
    for optimizer, lr in steps.items():
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(norm)
