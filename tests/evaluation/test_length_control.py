"""The length-controlled win rate against another solver of the published loss, on planted length effects, and its coverage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from accord.errors import InputError
from accord.evaluation.length_control import length_controlled, read_at_equal_length

LENGTHS = [(120, 300), (200, 180), (90, 400), (310, 120), (150, 150), (80, 260), (240, 230), (130, 500), (400, 100), (220, 260), (60, 90)]
PREFERENCES = [1.9, 1.2, 1.99, 1.05, 1.6, 1.8, 1.4, 1.97, 1.1, 1.55, 1.3]
ANNOTATIONS = [
    {
        "instruction": f"task {n}",
        "output_1": "b" * b,
        "generator_1": "baseline",
        "output_2": "m" * m,
        "generator_2": "model",
        "preference": p,
    }
    for n, ((b, m), p) in enumerate(zip(LENGTHS, PREFERENCES, strict=True))
]
"""AlpacaEval's format: preference is 1 for generator_1, 2 for generator_2, between for a judge that gives probabilities."""
PUBLISHED = {"gpt4_1106_preview": (0.0, 0.0), "gpt4_0613": (-0.9832327944321382, 0.8150202748700113), "alpaca-7b": (-3.69074, 0.98593)}
"""Intercept and difficulty coefficient of three models against gpt4_1106_preview in AlpacaEval 2's weights."""


def as_published(features: np.ndarray, y: np.ndarray, c: float) -> np.ndarray:
    """Their loss, by another solver: every row stands twice, once for each side, weighted by its probability; penalty |w|^2 / 2C."""

    def loss(w: np.ndarray) -> float:
        logits = features @ w
        return float((y * np.logaddexp(0, -logits) + (1 - y) * np.logaddexp(0, logits)).sum() + w @ w / (2 * c))

    return minimize(loss, np.zeros(features.shape[1]), method="BFGS", options={"gtol": 1e-9}).x


def test_a_file_in_the_published_format_gets_the_published_fit(tmp_path: Path) -> None:
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(ANNOTATIONS))
    rows = json.loads(file.read_text())
    y = np.array([row["preference"] - 1 for row in rows])
    baseline, model = (np.array([len(row[key]) for row in rows], dtype=float) for key in ("output_1", "output_2"))
    hard = np.linspace(-1, 1, len(rows))
    gap = (baseline - model) / (baseline - model).std(ddof=1)
    theirs = as_published(np.stack([np.ones(len(y)), np.tanh(gap), hard], axis=1), y, c=100)
    ours = length_controlled(y, model, baseline, difficulty=hard, resamples=20)
    assert (ours.theta, ours.phi, ours.psi) == pytest.approx(tuple(theirs), abs=1e-4)
    assert ours.phi < 0, "a judge that likes length has a negative coefficient on baseline minus model, as all published ones"
    assert ours.win_rate.mean == pytest.approx((1 / (1 + np.exp(-theirs[0] - theirs[2] * hard))).mean(), abs=1e-5)
    assert ours.win_rate.mean < y.mean()


def test_published_coefficients_keep_the_properties_their_paper_asks_for() -> None:
    hard = np.random.default_rng(0).normal(0, 1, 805)
    rates = {name: read_at_equal_length(*weights, hard).mean() for name, weights in PUBLISHED.items()}
    assert rates["gpt4_1106_preview"] == 0.5
    assert rates["gpt4_1106_preview"] > rates["gpt4_0613"] > rates["alpaca-7b"]
    theta, psi = PUBLISHED["gpt4_0613"]
    assert read_at_equal_length(-theta, -psi, hard).mean() == pytest.approx(1 - rates["gpt4_0613"])


def study(prompts: int, theta: float, phi: float, more: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Verdicts of a judge who likes length; the first writes ``more`` characters more on average."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(200 + more, 60, prompts), rng.normal(200, 60, prompts)
    gap = second - first
    p = 1 / (1 + np.exp(-(theta + phi * np.tanh(gap / gap.std(ddof=1)))))
    return (rng.random(prompts) < p).astype(float), first, second


def test_a_longer_writer_who_is_no_better_comes_back_to_one_half() -> None:
    y, first, second = study(4000, theta=0.0, phi=-1.5, more=150, seed=1)
    found = length_controlled(y, first, second, resamples=50)
    assert y.mean() > 0.7
    assert found.win_rate.mean == pytest.approx(0.5, abs=0.04)
    assert found.phi == pytest.approx(-1.5, abs=0.2)


def test_without_a_length_effect_nothing_changes() -> None:
    y, first, second = study(2000, theta=0.6, phi=0.0, more=80, seed=2)
    found = length_controlled(y, first, second, resamples=200)
    assert found.win_rate.low < y.mean() < found.win_rate.high


def test_the_interval_covers_the_truth_in_93_to_97_of_100_studies() -> None:
    truth, studies = 1 / (1 + np.exp(-0.5)), 600
    found = [length_controlled(*study(250, 0.5, -1.0, 40, seed), resamples=200, seed=seed).win_rate for seed in range(studies)]
    assert 0.93 <= np.mean([low <= truth <= high for _, low, high in found]) <= 0.97


def test_swapping_the_sides_mirrors_it() -> None:
    y, first, second = study(300, 0.4, -0.8, 30, 3)
    there, back = length_controlled(y, first, second), length_controlled(1 - y, second, first)
    assert there.win_rate.mean == pytest.approx(1 - back.win_rate.mean, abs=1e-6)
    assert (there.theta, there.phi) == pytest.approx((-back.theta, back.phi), abs=1e-6)


def test_equal_lengths_and_clean_sweeps_are_no_trouble() -> None:
    swept = length_controlled([1.0] * 30, [50] * 30, [50] * 30, resamples=20)
    assert 0.9 < swept.win_rate.low <= swept.win_rate.high <= 1
    assert swept.phi == 0
    with pytest.raises(InputError, match="length control"):
        length_controlled([1.0], [1, 2], [1, 2])
