"""The loops of dpo.py and kto.py on tiny models: what is measured, against which reference, and what may not matter."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from preferences import RANKINGS, THUMBS, learn_dpo, learn_kto
from tiny import FP32, llama, rng, sequences, weights

from accord.algorithms import dpo
from accord.algorithms.dpo import implied_rewards, prompt_loss, ranked_responses, reference_logprobs
from accord.algorithms.kto import ThumbRow, estranged, thumb_row, thumb_weights
from accord.algorithms.objectives import share_above
from accord.data.token_rows import RowWindow
from accord.errors import InputError, UsageError
from accord.models.adapters import add_lora
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.responses import all_response_logprobs, response_logprobs
from accord.settings import DpoConfig, KtoConfig

LOSSES = ["sigmoid", "robust", "ipo", "orpo", "simpo", "plackett-luce"]
SETTINGS: dict[str, dict[str, Any]] = {loss: {"loss": loss} for loss in LOSSES} | {"robust": {"loss": "robust", "label_smoothing": 0.1}}


def test_a_responses_logprob_is_the_sum_over_its_own_tokens_whatever_stands_beside_it() -> None:
    model, rows, kept = llama(), sequences([9, 5, 12]), [4, 2, 7]
    flat = logprobs(model, pack(rows, kept), dtype=FP32)[0]
    said = response_logprobs(model, pack(rows, kept), dtype=FP32)
    assert torch.allclose(said, torch.stack([flat[:4].sum(), flat[4:6].sum(), flat[6:].sum()]), atol=1e-5)
    for limit in (1, 14, 1000):
        assert torch.allclose(all_response_logprobs(model, rows, kept, dtype=FP32, batch_tokens=limit), said.detach(), atol=1e-5)


STARTS = {"sigmoid": math.log(2), "ipo": 25.0}


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_the_first_step_stands_at_the_reference(loss: str, tmp_path: Path) -> None:
    _, rows = learn_dpo(tmp_path, **SETTINGS[loss])
    assert rows[0]["loss"] == pytest.approx(STARTS[loss], rel=1e-4)
    assert rows[0]["margin"] == pytest.approx(0.0, abs=1e-5)
    assert rows[1]["margin"] != pytest.approx(0.0, abs=1e-4)


@torch.no_grad()
def plain_drift(policy: Any, rows: list[tuple[list[int], int]]) -> float:
    """The mean of |log policy - log reference| per token, a row at a time by the models' own modules."""
    moved = 0.0
    for tokens, kept in rows:
        now, then = (logprobs(model, pack([tokens], [kept]), dtype=FP32)[0].sum().item() for model in (policy, llama()))
        moved += abs(now - then)
    return moved / sum(kept for _, kept in rows)


def test_the_drift_is_how_far_the_policy_is_from_its_reference_on_the_very_responses(tmp_path: Path) -> None:
    policy, rows = learn_dpo(tmp_path / "dpo", epochs=3)
    assert rows[0]["drift"] == pytest.approx(0, abs=1e-6)
    unseen = [(row, kept) for ranked in RANKINGS[7:9] for row, kept in zip(ranked.rows, ranked.kept, strict=True)]
    assert rows[-1]["validation_drift"] == pytest.approx(plain_drift(policy, unseen), rel=1e-4)
    assert rows[-1]["drift"] > 1e-2
    policy, rows = learn_kto(tmp_path / "kto", epochs=3)
    assert rows[0]["drift"] == pytest.approx(0, abs=1e-6)
    assert rows[-1]["validation_drift"] == pytest.approx(plain_drift(policy, [(row.tokens, row.kept) for row in THUMBS[12:16]]), rel=1e-4)
    _, rows = learn_dpo(tmp_path / "orpo", loss="orpo")
    assert not {"drift", "validation_drift"} & rows[-1].keys(), "there is no reference to be away from"


def test_rounding_at_the_reference_is_no_accuracy(tmp_path: Path) -> None:
    """In other passes than the reference's, the same weights differ in the last digits: half of such pairs would count as right."""
    _, rows = learn_dpo(tmp_path, micro_tokens=1)
    assert rows[0]["accuracy"] == 0.5
    nearly = torch.tensor([1e-7, -1e-7, 0.0, 2.0, -3.0])
    assert share_above(nearly, torch.zeros(5), tie=1e-6) == pytest.approx((1.5 + 1) / 5)


def test_kto_starts_at_half_its_mean_weight_with_no_divergence(tmp_path: Path) -> None:
    _, rows = learn_kto(tmp_path, up_weight=1.0)
    assert rows[0]["loss"] == pytest.approx(0.5, abs=1e-5)
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert {row["kl"] >= 0 for row in rows} == {True}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_prompts_loss_by_hand(loss: str) -> None:
    """Two responses of 4 and 2 tokens, the second better."""
    config = DpoConfig(**SETTINGS[loss])
    said, reference = torch.tensor([-4.0, -3.0]), torch.zeros(2) if loss in dpo.REFERENCE_FREE else torch.tensor([-2.0, -3.5])
    tokens, ranks = torch.tensor([4, 2]), torch.tensor([2, 1])
    found = prompt_loss(config, said, implied_rewards(config, said, reference, tokens), tokens, ranks).item()

    def nls(x: float) -> float:
        return math.log(1 + math.exp(-x))

    def odds(mean: float) -> float:
        return math.log(math.exp(mean) / (1 - math.exp(mean)))

    margin = 0.1 * (0.5 - -2.0)
    by_hand = {
        "sigmoid": nls(margin),
        "plackett-luce": nls(margin),
        "robust": (0.9 * nls(margin) - 0.1 * nls(-margin)) / 0.8,
        "ipo": (0.25 - -0.5 - 5.0) ** 2,
        "simpo": nls(2 * (-1.5 - -1.0) - 1.0),
        "orpo": 1.5 + 0.1 * nls(odds(-1.5) - odds(-1.0)),
    }
    assert found == pytest.approx(by_hand[loss], rel=1e-5)


@given(st.integers(1, 8), st.sampled_from(["sigmoid", "ipo", "simpo", "orpo"]))
def test_only_the_mean_forgets_the_length(times: int, loss: str) -> None:
    """A response said over again, tokens and log-probability alike, is worth as much by its mean, and more by its sum."""
    config = DpoConfig(**SETTINGS[loss])
    said, reference, tokens = torch.tensor([-4.0, -3.0]), torch.tensor([-2.0, -3.5]), torch.tensor([4, 2])
    once, again = (implied_rewards(config, said * n, reference * n, tokens * n) for n in (1, times))
    assert torch.allclose(again, once if loss in dpo.BY_MEAN else once * times, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_gradient_does_not_depend_on_the_cut_into_passes(loss: str, tmp_path: Path) -> None:
    whole, cut = (learn_dpo(tmp_path / str(n), micro_tokens=n, **SETTINGS[loss])[1] for n in (10_000, 1))
    for one, other in zip(whole, cut, strict=True):
        for name in ("loss", "grad_norm"):  # at the reference rounding decides which of two equal rewards is larger
            assert one[name] == pytest.approx(other[name], rel=2e-3, abs=2e-4), name


def test_ktos_gradient_does_not_depend_on_the_cut_into_passes(tmp_path: Path) -> None:
    whole, cut = (learn_kto(tmp_path / str(n), micro_tokens=n)[1] for n in (10_000, 1))
    for one, other in zip(whole, cut, strict=True):
        for name in ("loss", "grad_norm"):  # at the reference rounding decides which of two equal rewards is larger
            assert one[name] == pytest.approx(other[name], rel=2e-3, abs=2e-4), name


@pytest.mark.parametrize("learn", [learn_dpo, learn_kto])
def test_with_adapters_the_reference_is_the_same_weights_with_them_off(learn: Any, tmp_path: Path) -> None:
    config, plain = DpoConfig(), llama()
    before = reference_logprobs(config, plain, RANKINGS, dtype=FP32)
    policy = add_lora(llama(), 4, rng())
    assert torch.allclose(reference_logprobs(config, policy, RANKINGS, dtype=FP32), before, atol=1e-5)
    frozen = {name: value for name, value in weights(policy).items() if "lora_" not in name}
    policy, rows = learn(tmp_path, policy)
    assert rows[0]["loss"] == pytest.approx(math.log(2) if learn is learn_dpo else rows[0]["loss"], abs=1e-5)
    assert all(torch.equal(value, frozen[name]) for name, value in weights(policy).items() if name in frozen)
    assert not torch.allclose(reference_logprobs(config, policy, RANKINGS, dtype=FP32), before, atol=1e-3)
    for module in policy.modules():
        if hasattr(module, "lora_A"):
            module.enable_adapters(False)
    assert torch.allclose(reference_logprobs(config, policy, RANKINGS, dtype=FP32), before, atol=1e-5)


def test_what_has_no_reference_asks_for_none(tmp_path: Path) -> None:
    for loss in dpo.REFERENCE_FREE:
        config = DpoConfig(loss=loss)
        assert not reference_logprobs(config, llama(), RANKINGS, dtype=FP32).any()


def test_strangers_answer_another_prompt_and_follow_the_seed() -> None:
    def prompt(row: ThumbRow) -> list[int]:
        return row.tokens[: -row.kept]

    rows = estranged(THUMBS, max_tokens=64, seed=0)
    owners = {tuple(row.tokens[-row.kept :]): tuple(prompt(row)) for row in THUMBS}
    for thumb, row in zip(THUMBS, rows, strict=True):
        assert prompt(row) == prompt(thumb)
        assert owners[tuple(row.tokens[-row.kept :])] != tuple(prompt(thumb))
    assert estranged(THUMBS, max_tokens=64, seed=0) == rows != estranged(THUMBS, max_tokens=64, seed=1)
    with pytest.raises(InputError, match="one prompt"):
        estranged([THUMBS[0], THUMBS[0]], max_tokens=64, seed=0)


def test_balanced_weights_let_ups_and_downs_weigh_alike() -> None:
    up = torch.tensor([True, True, True, False])
    found = thumb_weights(KtoConfig(), up)
    assert found[up].sum() == found[~up].sum() == 1
    assert thumb_weights(KtoConfig(up_weight=2.0, down_weight=3.0), up).tolist() == [2, 2, 2, 3]


def test_truncation_keeps_the_right_end_and_a_response_without_prompt_is_named() -> None:
    cut = ranked_responses(list(range(10, 30)), [[5, 6, 1], [7, 1]], [1, 2], RowWindow(8, "cut_prompt"), "x")
    assert cut.rows == [[25, 26, 27, 28, 29, 5, 6, 1], [24, 25, 26, 27, 28, 29, 7, 1]]
    assert cut.kept == [3, 2]
    assert thumb_row(list(range(10, 30)), [5, 6, 1], True, RowWindow(8, "cut_prompt"), "x").tokens == cut.rows[0]
    for bad in ([5] * 8, []):
        with pytest.raises(InputError, match="prompt 7"):
            ranked_responses([2, 3], [bad, [4]], [1, 2], RowWindow(8, "cut_prompt"), "prompt 7")
        with pytest.raises(InputError, match="response 7"):
            thumb_row([2, 3], bad, True, RowWindow(8, "cut_prompt"), "response 7")


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"label_smoothing": 0.5}, "0.5"),
        ({"loss": "robust"}, "label_smoothing is 0"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "ipo"),
        ({"loss": "plackett-luce", "label_smoothing": 0.1}, "plackett-luce"),
        ({"ties": "model", "label_smoothing": 0.1}, "ties model"),
        ({"loss": "simpo", "normalise": "sum"}, "normalise is sum"),
        ({"loss": "orpo", "ties": "model"}, "no model of ties"),
        ({"margin": 0.2}, "margin is 0.2"),
        ({"ties": "model", "tie_margin": 0.0}, "tie_margin is 0"),
    ],
)
def test_a_setting_that_the_loss_does_not_have_is_refused(asked: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        DpoConfig(**asked)


@pytest.mark.parametrize("asked", [{"beta": 0.0}, {"down_weight": 0.0}, {"good_quality": 3}, {"bad_quality": 0}, {"good_quality": 8}])
def test_kto_refuses_what_teaches_nothing(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(asked))):
        KtoConfig(**asked)
