"""Learning-rate curves, the clipped step, and which parameters decay."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from accord.algorithms.optim import adamw, constant, cosine, muon, update


def test_the_cosine_warms_up_peaks_at_1_and_ends_at_its_floor() -> None:
    curve = [cosine(step, 100, 10, 0.1) for step in range(100)]
    assert curve[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert curve[10] == pytest.approx(1)
    assert curve[55] == pytest.approx(0.55)
    assert all(a > b for a, b in pairwise(curve[10:]))
    assert cosine(100, 100, 10, 0.1) == pytest.approx(0.1)


def test_a_warm_up_as_long_as_the_run_divides_by_nothing() -> None:
    assert cosine(5, 5, 5) == pytest.approx(1)
    assert [constant(step, 4) for step in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert constant(0, 0) == 1


def two_weights() -> tuple[nn.Parameter, nn.Parameter]:
    one, other = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([4.0]))
    one.grad, other.grad = torch.tensor([3.0]), torch.tensor([4.0])
    return one, other


def test_gradients_of_all_optimisers_are_clipped_together() -> None:
    one, other = two_weights()
    optimizers = {torch.optim.SGD([one]): 1.0, torch.optim.SGD([other]): 0.5}
    assert update(optimizers, max_norm=1.0) == pytest.approx(5)
    assert one.item() == pytest.approx(3 - 3 / 5, abs=1e-5)
    assert other.item() == pytest.approx(4 - 0.5 * 4 / 5, abs=1e-5)
    assert one.grad is None
    assert other.grad is None


def test_a_norm_of_0_means_no_clipping() -> None:
    one, other = two_weights()
    assert update({torch.optim.SGD([one, other]): 1.0}, max_norm=0) == pytest.approx(5)
    assert [one.item(), other.item()] == pytest.approx([0, 0])


def test_only_matrices_decay_and_frozen_parameters_are_left_out() -> None:
    matrix, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    optimizer = adamw([matrix, bias, frozen], lr=0.1, weight_decay=0.5)
    for parameter in (matrix, bias):
        parameter.grad = torch.zeros_like(parameter)
    update({optimizer: 0.1}, max_norm=1.0)
    assert torch.allclose(matrix, torch.full((2, 2), 0.95))
    assert bias.tolist() == [1, 1]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


def test_muon_steps_are_orthogonal_whatever_the_gradients_scale() -> None:
    steps: list[torch.Tensor] = []
    gradient = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([8.0, 2.0, 1.0, 1.0])
    for scale in (1e-3, 1e3):
        matrix = nn.Parameter(torch.zeros(4, 4))
        matrix.grad = gradient * scale
        update({muon([matrix], lr=1.0, weight_decay=0.0): 1.0}, max_norm=0)
        steps.append(matrix.detach())
    before, after = torch.linalg.svdvals(gradient), torch.linalg.svdvals(steps[0])
    assert after.max() / after.min() < 3 < 6 < before.max() / before.min()
    assert torch.allclose(steps[0], steps[1], rtol=0.05, atol=0.02)
