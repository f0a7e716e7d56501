"""`accord examine` on a trained reward model, and each of its measures where the answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluated import Answered, Typed, samples
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import InputError
from accord.evaluation.calibration import best_scale, calibration
from accord.evaluation.form import FEATURES, correlation, form_of_scores
from accord.evaluation.verdicts import accuracy_by, accuracy_of, by_margin, longer_is_better, mistakes, moved, verdicts
from accord.feedback.store import Store
from accord.records import Message, Prompt, RankedPrompt, Response
from accord.runtime.project import Project

FEW = ("--bootstrap", "100", "--wrong", "6", "--attributed", "2", "--dtype", "float32")


def ranked(prompt: str, ranks: tuple[int, ...], labeler: str = "ann", group: str = "near", texts: tuple[str, ...] = ()) -> RankedPrompt:
    responses = tuple(Response(f"{prompt}-{i}", prompt, texts[i] if texts else "x" * (i + 1), "m") for i in range(len(ranks)))
    return RankedPrompt(Prompt(prompt, (Message("user", "?"),), use_case="chat"), responses, ranks, labeler, group)


def test_every_figure_is_there(answered: Answered, town: Path) -> None:
    found = answered("examine", town, "reward", *FEW, "--curve", "2", "--requeue", "4")
    for key in ("accuracy", "accuracy_train", "accuracy_heldout_group", "accuracy_gold", "longer_is_better", "agreement", "noise_ceiling"):
        mean, low, high = found[key]
        assert 0 <= low <= mean <= high <= 1, key
    assert "caring" in found["accuracy_by_group"]
    assert len(found["accuracy_by_group"]) == 4
    assert found["accuracy_by_group"]["caring"] == found["accuracy_heldout_group"]
    assert sum(part["pairs"] for part in found["accuracy_by_margin"]) == found["comparisons"]
    assert sum(part["pairs"] for part in found["calibration"]["bins"]) == found["comparisons"]
    assert found["invariance"]["order"] == {"shift": pytest.approx(0, abs=1e-4), "turned": 0.0}
    assert found["invariance"]["padding"]["shift"] < 1e-3
    assert found["invariance"]["greeting"]["shift"] > 0
    assert set(found["form"]) == set(FEATURES)
    assert [point["rankings"] for point in found["curve"]] == sorted(point["rankings"] for point in found["curve"])
    assert found["twice_the_labels"] >= 0
    assert not list((town / "runs" / "examine").glob("curve-*"))
    rows = samples(town, "examine")
    wrong = [row for row in rows if row["kind"] == "wrong"]
    assert [row["margin"] for row in wrong] == sorted(row["margin"] for row in wrong)
    assert wrong[-1]["margin"] < 0
    spread = [row for row in rows if row["kind"] == "attribution"]
    assert len(spread) == 4
    chosen, rejected = (sum(row["gains"]) + row["start"] for row in spread[:2])
    assert chosen - rejected == pytest.approx(wrong[0]["margin"], abs=2e-2)
    assert found["requeued"] == min(4, found["wrong"])


def test_sent_back_comparisons_stand_in_the_queue_once(answered: Answered, town: Path) -> None:
    first = answered("examine", town, "reward", *FEW, "--requeue", "3")
    again = answered("examine", town, "reward", *FEW, "--requeue", "3", "--again")
    assert (first["requeued"], again["requeued"]) == (3, 0)
    worst = samples(town, "examine")[0]
    with Store.open(Project.open(town).store_url) as store, store.read() as connection:
        queued = connection.exec_driver_sql("select prompt_id, kind from tasks").fetchall()
    assert "compare" in {kind for _, kind in queued}
    assert worst["prompt_id"] in {prompt for prompt, _ in queued}


def test_tables_and_errors_speak(typed: Typed, town: Path) -> None:
    code, out, _ = typed("examine", town, *FEW)
    assert code == 0
    assert "noise_ceiling" in out
    assert "changes that should not matter" in out
    assert "no such model" in typed("examine", town, "none", *FEW)[2]
    empty = Project.create(town / "empty")
    with Store.open(empty.store_url):
        pass
    code, _, complaint = typed("examine", empty.path, str(town / "models" / "reward"), *FEW)
    assert code == 1
    assert "no rankings of held-out prompts" in complaint


def test_verdicts_are_the_untied_pairs_and_accuracy_counts_prompts() -> None:
    rows = [ranked("p", (1, 2, 2)), ranked("q", (2, 1))]
    found = verdicts(rows, [[3.0, 1.0, 5.0], [0.0, 1.0]])
    assert [(v.better.id, v.worse.id, v.margin) for v in found] == [("p-0", "p-1", 2.0), ("p-0", "p-2", -2.0), ("q-1", "q-0", 1.0)]
    assert accuracy_of(found, resamples=10).mean == pytest.approx(0.75)
    assert {key: value.mean for key, value in accuracy_by(found, lambda v: v.ranked.prompt.id, resamples=10).items()} == {
        "p": 0.5,
        "q": 1.0,
    }
    assert longer_is_better(found, resamples=10).mean == pytest.approx(0.5)


def test_margins_are_cut_into_equal_parts_that_rise() -> None:
    rng = np.random.default_rng(0)
    rows = [ranked(f"p{n}", (1, 2)) for n in range(500)]
    margins = rng.exponential(1.5, 500) * np.where(rng.random(500) < 0.5, 1, -1)
    scores = [[float(m), 0.0] if rng.random() < 1 / (1 + np.exp(-abs(m))) else [-float(abs(m)), 0.0] for m in np.abs(margins)]
    parts = by_margin(verdicts(rows, scores), resamples=20)
    assert [part["pairs"] for part in parts] == [100] * 5
    rates = [part["accuracy"].mean for part in parts]  # type: ignore[attr-defined]
    assert rates[0] < 0.65 < 0.8 < rates[-1]


def test_a_mistake_is_what_most_labelers_see_otherwise() -> None:
    rows = [ranked("p", (1, 2), "ann"), ranked("p", (1, 2), "bob"), ranked("p", (2, 1), "eve"), ranked("q", (1, 2)), ranked("r", (2, 1))]
    found = mistakes(verdicts(rows, [[0.0, 3.0]] * 3 + [[1.0, 0.0], [9.0, 0.0]]))
    assert [(each.verdict.ranked.prompt.id, each.labelers, each.against) for each in found] == [
        ("r", ("ann",), 0),
        ("p", ("ann", "bob"), 1),
    ]


def test_calibration_is_right_on_a_model_that_is_and_finds_one_that_is_too_sure() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(0, 1.5, 40_000)
    won = np.where(rng.random(true.size) < 1 / (1 + np.exp(-true)), true, -true)
    honest, sure = calibration(won), calibration(3 * won)
    assert honest.ece < 0.01
    assert honest.scale == pytest.approx(1, abs=0.05)
    assert sure.ece > 0.1
    assert sure.scale == pytest.approx(1 / 3, abs=0.02)
    assert honest.brier < sure.brier
    for each in honest.bins:
        assert each.low <= each.predicted <= each.high
        assert each.observed == pytest.approx(each.predicted, abs=0.05)


def test_a_coin_has_the_scores_of_a_coin() -> None:
    coin = calibration([0.0] * 100)
    assert (coin.brier, coin.log_loss) == pytest.approx((0.25, np.log(2)))
    assert coin.ece <= 0.2
    with pytest.raises(InputError, match="calibration"):
        calibration([])
    assert best_scale(np.array([1.0, 2.0])) > 30
    assert best_scale(np.array([-1.0, -2.0])) == pytest.approx(0.0, abs=1e-9)


def test_brier_and_ece_are_those_of_a_small_table_by_hand() -> None:
    """Two pairs, both surely right: probabilities sigmoid(2) = 0.8808 or its mirror, whichever way a pair is turned."""
    found = calibration([2.0, 2.0])
    assert found.brier == pytest.approx((1 - 0.880797) ** 2, abs=1e-6)
    assert found.ece == pytest.approx(1 - 0.880797, abs=1e-6)


def test_what_form_does_to_scores_is_told_from_what_it_does_to_labels() -> None:
    rng = np.random.default_rng(1)
    texts = [[" ".join(["word"] * int(n)) for n in rng.integers(1, 30, 4)] for _ in range(200)]
    scores = [[len(text.split()) + float(rng.normal(0, 3)) for text in row] for row in texts]
    ranks = [rng.permutation([1, 2, 3, 4]).tolist() for _ in texts]
    found = form_of_scores(texts, scores, ranks)
    assert found["words"]["score"] == pytest.approx(0.93, abs=0.05)
    assert abs(found["words"]["labels"] or 0) < 0.15
    assert found["words"]["excess"] == pytest.approx((found["words"]["score"] or 0) - (found["words"]["labels"] or 0))
    assert found["list"] == {"score": None, "labels": None, "excess": None}


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=3, max_size=6))
def test_a_prompts_own_level_does_not_count(pairs: list[tuple[float, float]]) -> None:
    x, y = [p[0] for p in pairs], [p[1] for p in pairs]
    plain, lifted = correlation([x, x], [y, y]), correlation([x, [v + 100 for v in x]], [y, [v - 50 for v in y]])
    assert plain == pytest.approx(lifted, abs=1e-4) if plain is not None and lifted is not None else True


@pytest.mark.parametrize(
    ("feature", "text", "value"),
    [
        ("words", "Two words.", 2),
        ("sentences", "One. Two! 三。", 3),
        ("repetition", "a b a b a b", 0.6),
        ("list", "1. tea\n- milk\nsalt", 2),
        ("markup", "**bold** and `x`", 2),
        ("sure", "Certainly, experts say so.", 2),
        ("courtesy", "I hope that helps.", 1),
    ],
)
def test_features_count_what_they_say(feature: str, text: str, value: float) -> None:
    assert FEATURES[feature](text) == pytest.approx(value)


def test_moved_says_how_far_and_how_many_turned() -> None:
    assert moved([0.0, 2.0], [0.0, 2.0], [(0, 1)]) == {"shift": 0.0, "turned": 0.0}
    assert moved([0.0, 2.0], [2.0, 0.0], [(0, 1)]) == {"shift": 2.0, "turned": 1.0}
