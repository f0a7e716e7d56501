"""Learning-rate curves, the clipped step, which parameters decay, and Muon beside PyTorch's and beside a singular value decomposition."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from accord.algorithms.optim import (
    Float32Muon,
    adamw,
    constant,
    cosine,
    inner_matrices,
    make_optimizers,
    muon,
    optimizer_states,
    orthogonal,
    restore_optimizers,
    update,
)
from accord.runtime.device import matmul_dtype
from accord.settings import DpoConfig, PpoConfig, PretrainConfig, SftConfig
from accord.settings.mixins import Adam
from tests.tiny import llama

MUON = [torch.optim.Muon, Float32Muon]
QUINTIC = (3.4445, -4.7750, 2.0315)


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
    optimizer = adamw([matrix, bias, frozen], Adam(weight_decay=0.5), lr=0.1)
    for parameter in (matrix, bias):
        parameter.grad = torch.zeros_like(parameter)
    update({optimizer: 0.1}, max_norm=1.0)
    assert torch.allclose(matrix, torch.full((2, 2), 0.95))
    assert bias.tolist() == [1, 1]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


@pytest.mark.parametrize("kind", MUON)
def test_muon_steps_are_orthogonal_whatever_the_gradients_scale(kind: type[torch.optim.Muon]) -> None:
    steps: list[torch.Tensor] = []
    gradient = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([8.0, 2.0, 1.0, 1.0])
    for scale in (1e-3, 1e3):
        matrix = nn.Parameter(torch.zeros(4, 4))
        matrix.grad = gradient * scale
        update({kind([matrix], lr=1.0, weight_decay=0.0): 1.0}, max_norm=0)
        steps.append(matrix.detach())
    before, after = torch.linalg.svdvals(gradient), torch.linalg.svdvals(steps[0])
    assert after.max() / after.min() < 3 < 6 < before.max() / before.min()
    assert torch.allclose(steps[0], steps[1], rtol=0.05, atol=0.02)


def random(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_newton_schulz_maps_every_singular_value_as_its_polynomial_does(shape: tuple[int, int]) -> None:
    gradient = random(*shape, seed=3)
    left, values, right = torch.linalg.svd(gradient.double(), full_matrices=False)
    values = values / values.norm()
    a, b, c = QUINTIC
    for _ in range(5):
        values = a * values + b * values**3 + c * values**5
    found = orthogonal(gradient, QUINTIC, 5, 1e-7)
    assert found.dtype is torch.float32
    assert torch.allclose(found.double(), left * values @ right, atol=1e-4)
    band = torch.linalg.svdvals(found)[:-1]  # a square matrix's smallest value may start too small for five steps
    assert 0.5 < band.min() < band.max() < 1.3


def stepped(kind: type[torch.optim.Muon], shape: tuple[int, int], steps: int) -> tuple[nn.Parameter, torch.optim.Muon]:
    """A matrix after some steps on gradients that differ, and what made them."""
    matrix = nn.Parameter(random(*shape, seed=0))
    optimizer = kind([matrix], lr=0.1, weight_decay=0.3)
    proceed(matrix, optimizer, 0, steps)
    return matrix, optimizer


def proceed(matrix: nn.Parameter, optimizer: torch.optim.Muon, first: int, last: int) -> None:
    for step in range(first, last):
        matrix.grad = random(*matrix.shape, seed=10 + step)
        update({optimizer: 0.1 / (1 + step)}, max_norm=0)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_muon_in_float32_steps_as_pytorchs_does_but_for_rounding(shape: tuple[int, int]) -> None:
    start = random(*shape, seed=0)
    theirs, ours = (stepped(kind, shape, 6)[0].detach() for kind in MUON)
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


@pytest.mark.parametrize(("one", "other"), [MUON, MUON[::-1]])
def test_a_run_with_muon_resumes_on_the_other_kind_of_machine(one: type[torch.optim.Muon], other: type[torch.optim.Muon]) -> None:
    expected, _ = stepped(one, (24, 40), 6)
    matrix, optimizer = stepped(one, (24, 40), 3)
    resumed = other([matrix], lr=0.1, weight_decay=0.3)
    restore_optimizers([resumed], optimizer_states([optimizer]))
    proceed(matrix, resumed, 3, 6)
    assert (matrix - expected).norm() < 0.01 * (expected - random(24, 40, seed=0)).norm()


def test_muon_is_pytorchs_own_where_the_device_multiplies_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = nn.Parameter(torch.ones(2, 2))
    native = matmul_dtype(torch.device("cpu")) is torch.bfloat16
    assert type(muon([matrix], lr=0.1, weight_decay=0.0)) is (torch.optim.Muon if native else Float32Muon)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert type(muon([matrix], lr=0.1, weight_decay=0.0)) is Float32Muon


class Decoder(nn.Module):
    """As much of a language model as an optimiser looks at."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.base_model = body


@pytest.mark.parametrize(
    ("config", "betas", "epsilon"),
    [
        (SftConfig(), (0.9, 0.999), 1e-8),
        (DpoConfig(adam_beta1=0.8, adam_beta2=0.95, adam_epsilon=1e-6, weight_decay=0.1), (0.8, 0.95), 1e-6),
        (PpoConfig(), (0.9, 0.999), 1e-5),
        (PretrainConfig(weight_decay=0.0), (0.9, 0.95), 1e-8),
    ],
)
def test_adamw_steps_as_pytorchs_with_the_betas_and_the_epsilon_of_the_settings(
    config: Adam, betas: tuple[float, float], epsilon: float
) -> None:
    """Two steps on gradients that differ: after one, bias correction hides the second beta."""
    ours, theirs = (nn.Linear(4, 4, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimizers = make_optimizers(Decoder(ours), config, lr=0.1, muon_lr=0.0)
    other = torch.optim.AdamW(theirs.parameters(), lr=0.1, betas=betas, eps=epsilon, weight_decay=config.weight_decay)
    for seed, scale in ((1, 1.0), (2, 30.0), (3, 1e-5)):
        gradient = random(4, 4, seed) * scale
        ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
        update(optimizers, max_norm=0)
        other.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_no_embedding_is_an_inner_matrix_whatever_its_name() -> None:
    """GPT-2 calls its tables wte and wpe. Its projections are Conv1D, which Muon takes as they are."""
    from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2))
    opt = OPTForCausalLM(
        OPTConfig(vocab_size=50, hidden_size=8, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=16)
    )
    for model, projections in ((gpt2, 4), (opt, 6), (llama(layers=1), 7)):
        inner = inner_matrices(model.base_model)
        tables = [p for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()]
        assert len(inner) == projections
        assert not any(p is table for p in inner for table in tables)
        taken = [p for o in make_optimizers(model, Adam(), lr=0.1, muon_lr=0.1) for g in o.param_groups for p in g["params"]]
        assert len({id(p) for p in taken}) == len(taken) == len(list(model.parameters()))
