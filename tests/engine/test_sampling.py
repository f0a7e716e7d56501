"""Drawing by inverse CDF has the softmax's frequencies; filters keep exactly the tokens they say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from tiny import rng

from accord.engine.sampling import draw, shape_logits
from accord.records import Sampling

logits_of = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=20)


def test_the_frequencies_are_the_softmax() -> None:
    logits = torch.randn(1, 12, generator=rng(1)) * 1.5
    n = 40_000
    tokens, logprobs = draw(logits.expand(n, -1), torch.rand(n, generator=rng(2)))
    expected = logits[0].softmax(0) * n
    assert (
        chisquare(torch.bincount(tokens, minlength=12).numpy(), expected.double().numpy() * (n / expected.double().sum().item())).pvalue
        > 1e-3
    )
    assert torch.allclose(logprobs, logits[0].log_softmax(0)[tokens], atol=1e-5)


@given(logits_of, st.floats(0, 1, exclude_max=True, width=32))
def test_a_draw_is_the_inverse_of_the_cumulative_distribution(values: list[float], u: float) -> None:
    logits = torch.tensor([values])
    token, logprob = draw(logits, torch.tensor([u]))
    cdf = logits[0].double().softmax(0).cumsum(0)
    below = float(cdf[token - 1]) if token > 0 else 0.0
    assert below - 1e-5 <= u <= float(cdf[token]) + 1e-5
    assert logprob.item() == pytest.approx(logits[0].log_softmax(0)[token].item(), abs=1e-4)


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-24])
def test_a_token_without_probability_is_never_drawn_not_at_the_ends_either(u: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    assert draw(logits, torch.tensor([u]))[0].item() in (1, 3)


def kept(logits: list[float], **how: float) -> set[int]:
    shaped = shape_logits(torch.tensor([logits]), Sampling(**how), None)  # type: ignore[arg-type]
    return set(shaped.isfinite()[0].nonzero().flatten().tolist())


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20, unique=True), st.integers(1, 25))
def test_top_k_keeps_the_k_likeliest(values: list[int], k: int) -> None:
    logits = [value / 7 for value in values]
    assert kept(logits, top_k=k) == set(sorted(range(len(logits)), key=lambda i: -logits[i])[:k])


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20, unique=True), st.floats(0.05, 0.95))
def test_top_p_keeps_the_smallest_set_that_has_p(values: list[int], p: float) -> None:
    logits = torch.tensor(values).double() / 20
    probabilities = logits.softmax(0)
    chosen = kept(logits.tolist(), top_p=p)
    mass = probabilities[sorted(chosen)].sum().item()
    assert mass >= p - 1e-5
    assert mass - probabilities[sorted(chosen)].min().item() < p + 1e-5
    assert probabilities[sorted(chosen)].min() >= max([probabilities[i].item() for i in range(len(values)) if i not in chosen], default=0)


def test_temperature_sharpens_and_greedy_takes_the_best() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    assert torch.allclose(shape_logits(logits, Sampling(temperature=0.5), None), logits * 2)
    assert draw(shape_logits(logits, Sampling(temperature=0.0), None), None)[0].item() == 1


def test_the_repetition_penalty_lowers_seen_tokens_of_either_sign() -> None:
    logits, seen = torch.tensor([[2.0, -2.0, 1.0]]), torch.tensor([[True, True, False]])
    assert shape_logits(logits, Sampling(repetition_penalty=2.0), seen).tolist() == [[1.0, -4.0, 1.0]]


def test_a_draw_in_two_levels_is_the_inverse_of_the_cumulative_distribution_too() -> None:
    logits = torch.randn(64, 9001, generator=rng(1)) * 2  # no multiple of a block
    logits[:, ::3] = -torch.inf
    uniform = torch.rand(64, generator=rng(2))
    uniform[:2] = torch.tensor([0.0, 1 - 2**-24])
    tokens, logprobs = draw(logits, uniform)
    cdf = logits.double().softmax(-1).cumsum(-1)
    above = cdf.gather(1, tokens[:, None])[:, 0]
    probability = logits.double().softmax(-1).gather(1, tokens[:, None])[:, 0]
    assert (above - probability - 1e-5 <= uniform).all()
    assert (uniform <= above + 1e-5).all()
    assert torch.allclose(logprobs.double(), probability.log(), atol=1e-4)
    assert (tokens % 3 != 0).all()


LEAST = st.floats(0.0, 1e-3, exclude_min=True)


@given(st.lists(st.floats(-80, 80, width=32), min_size=2, max_size=9), LEAST, LEAST, LEAST, LEAST, st.floats(0, 1, exclude_max=True))
def test_no_number_that_may_be_asked_for_leaves_what_can_be_drawn(
    values: list[float], temperature: float, top_p: float, min_p: float, penalty: float, u: float
) -> None:
    logits, seen = torch.tensor([values]), torch.arange(len(values))[None] % 2 == 0
    for how in (Sampling(temperature), Sampling(top_p=top_p), Sampling(min_p=min_p), Sampling(repetition_penalty=penalty)):
        shaped = shape_logits(logits, how, seen)
        token, logprob = draw(shaped, torch.tensor([u]))
        assert 0 <= token.item() < len(values)
        assert logprob.isfinite()
    both = shape_logits(logits, Sampling(temperature, top_p=top_p, min_p=min_p, repetition_penalty=penalty), seen)
    assert draw(both, torch.tensor([u]))[1].isfinite()
