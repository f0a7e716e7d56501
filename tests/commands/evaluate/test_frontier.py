"""The frontier of reward and KL: fits against their own curves and peaks, best-of-n by enumeration, and the stage on a real run."""

from __future__ import annotations

from itertools import combinations
from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest
from evaluated import Answered, Typed, samples
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import InputError
from accord.evaluation.frontier import Fit, best_of_n_values, fit, resampled, stop_at
from accord.evaluation.statistics import best_of_n_kl

FEW = ("--prompts", "20", "--max-tokens", "12", "--bootstrap", "50", "--best-of", "6", "--dtype", "float32")
coefficients = st.floats(0.3, 2)


@given(coefficients, coefficients, st.sampled_from(["rl", "best_of_n"]))
def test_a_curve_is_found_again_with_its_peak(alpha: float, beta: float, kind: str) -> None:
    kl = np.linspace(0.0, 12.0, 30)
    d = np.sqrt(kl)
    bend = np.log(np.maximum(d, 1e-12)) if kind == "rl" else d
    found = fit(kind, kl, d * (alpha - beta * bend))  # type: ignore[arg-type]
    assert (found.alpha, found.beta, found.r2) == pytest.approx((alpha, beta, 1.0), abs=1e-6)
    assert found.peak is not None
    grid = np.linspace(max(found.peak / 2, 1e-9), found.peak * 2, 2001)
    assert grid[np.argmax([found.at(each) for each in grid])] == pytest.approx(found.peak, rel=2e-3)


def test_peaks_are_those_of_the_formulas() -> None:
    assert Fit("best_of_n", 1.2, 0.3, 1).peak == pytest.approx((1.2 / 0.6) ** 2)
    assert Fit("rl", 1.2, 0.6, 1).peak == pytest.approx(exp(1.2 / 0.6 - 1) ** 2)
    assert Fit("rl", 1.0, -0.1, 1).peak is None
    assert Fit("rl", 1.0, 0.5, 1).at(0.0) == 0.0
    assert Fit("rl", 1.0, 0.5, 1).at(4.0) == pytest.approx(2 * (1 - 0.5 * log(2)))


def test_a_weighted_fit_believes_the_sure_points() -> None:
    kl, truth = np.array([1.0, 2.0, 4.0, 9.0]), Fit("best_of_n", 1.0, 0.1, 1)
    reward = np.array([truth.at(each) for each in kl]) + np.array([0.0, 0.0, 0.0, 5.0])
    assert fit("best_of_n", kl, reward, [1e6, 1e6, 1e6, 1e-6]).beta == pytest.approx(0.1, abs=1e-3)
    with pytest.raises(InputError, match="two points"):
        fit("rl", [0.0, 1.0, 1.0], [0.0, 1.0, 1.0])


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_n_is_the_mean_over_every_choice_of_n(n: int) -> None:
    rng = np.random.default_rng(n)
    proxy, gold = rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    found = best_of_n_values(proxy, gold, n)
    for row in range(4):
        drawn = [gold[row, max(chosen, key=lambda i: proxy[row, i])] for chosen in combinations(range(5), n)]
        assert found[row] == pytest.approx(np.mean(drawn))


def test_responses_of_equal_proxy_share_the_best_place() -> None:
    proxy, gold = np.array([[1.0, 2.0, 2.0]]), np.array([[0.0, 1.0, 0.0]])
    assert best_of_n_values(proxy, gold, 3) == pytest.approx([0.5])
    assert best_of_n_values(proxy[:, ::-1], gold[:, ::-1], 3) == pytest.approx([0.5])
    with pytest.raises(InputError, match="cannot be computed from"):
        best_of_n_values(proxy, gold, 4)


def test_the_interval_of_a_peak_covers_it() -> None:
    truth, kls, hits = Fit("best_of_n", 1.0, 0.25, 1), [best_of_n_kl(n) for n in (1, 2, 4, 8, 16, 32, 64)], 0
    assert truth.peak == pytest.approx(4.0)

    def peak(means: np.ndarray) -> float | None:
        return fit("best_of_n", means[:, 0].tolist(), (means[:, 1] - means[0, 1]).tolist()).peak

    for seed in range(120):
        rng = np.random.default_rng(seed)
        gold = np.array([truth.at(kl) for kl in kls]) + rng.normal(0, 0.4, (150, 1)) + rng.normal(0, 0.3, (150, len(kls)))
        rows = np.stack([np.broadcast_to(kls, gold.shape), gold], axis=2)
        found = resampled(rows, peak, resamples=120, seed=seed)
        assert found is not None
        hits += found.low <= truth.peak <= found.high
    assert 0.9 <= hits / 120 <= 0.99


def test_one_stops_where_the_gold_reward_no_longer_rises_measurably() -> None:
    rng = np.random.default_rng(0)
    prompts = rng.normal(0, 1, 200)
    rising = np.stack([prompts + gain + rng.normal(0, 0.1, 200) for gain in (0.0, 0.3, 0.31, 0.1)])
    assert stop_at([0.0, 1.0, 2.0, 6.0], rising) == 1
    steady = np.stack([prompts + gain + rng.normal(0, 0.1, 200) for gain in (0.0, 0.1, 0.2, 0.3)])
    assert stop_at([0.0, 1.0, 2.0, 6.0], steady) == 3


def test_the_stage_measures_every_kept_policy_and_best_of_n(answered: Answered, town: Path) -> None:
    found = answered("frontier", town, "ppo", *FEW)
    assert (found["sft"], found["proxy"], found["gold_by"]) == ("sft", "reward", "gold")
    assert [point["step"] for point in found["policies"]] == [0, 2, 4]
    assert found["policies"][0]["kl"] == [0.0, 0.0, 0.0]
    assert found["policies"][2]["kl"][0] != 0.0
    assert [row["n"] for row in found["best_of_n"]] == [1, 2, 4, 6]
    proxies = [row["proxy"][0] for row in found["best_of_n"]]
    assert proxies == sorted(proxies)
    assert found["best_of_n"][0]["proxy"][0] == pytest.approx(found["policies"][0]["proxy"][0], abs=1e-3)
    assert found["best_of_n"][2]["kl"] == pytest.approx(best_of_n_kl(4), abs=1e-4)
    assert {"proxy", "gold"} == set(found["fits"]["best_of_n"])
    assert found["stop"]["step"] in (0, 2, 4)
    assert len(found["logged"]) == 4
    rows = samples(town, "frontier")
    assert {row["step"] for row in rows} == {0, 2, 4}
    last = [row["kl"] for row in rows if row["step"] == 4]
    assert np.mean(last) == pytest.approx(found["policies"][2]["kl"][0], abs=1e-3)
    assert sqrt(abs(found["policies"][2]["kl"][0])) < 5


def test_a_second_reward_model_stands_for_gold_and_a_run_without_policies_is_said(answered: Answered, typed: Typed, town: Path) -> None:
    found = answered("frontier", town, "ppo", "--gold", "reward", *FEW)
    assert found["gold_by"] == "reward"
    assert found["policies"][1]["gold"] == found["policies"][1]["proxy"]
    code, _, complaint = typed("frontier", town, "sft", "--name", "other", *FEW)
    assert code == 1
    assert "not among the project's models" in complaint
    assert "no such run" in typed("frontier", town, "nothing", *FEW)[2]
    assert typed("frontier", town, "ppo", "--again", *FEW)[1].count("best of") == 4
