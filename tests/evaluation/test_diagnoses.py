"""Every diagnosis is made when its fault is planted in a real run, and none on healthy runs of three seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sick import END, VOCAB, Hot, Stale, dpo_run, found, grpo_run, kto_run, llama, ppo_run, reward_run, sft_run, upper

from accord.evaluation.diagnoses import RULES, Facts, diagnose
from accord.evaluation.findings import ALARMS, REMEDIES, Finding, Said
from accord.evaluation.run_facts import examine, read_facts
from accord.evaluation.trends import ends, late, mean_z, share_z, sure
from accord.runtime.logs import Metrics

DOCS = Path(__file__).parents[2] / "docs"
Plant = tuple[Callable[..., Path], dict[str, Any], str, str]
UNGATED = {"logprob_gap": 1e9, "gap_multiple": 0.0}
"""Lets a sampler with another distribution go on, for as long as a finding takes to show."""

PLANTS: dict[str, Plant] = {
    "a sampler that never gets new weights": (ppo_run, {"sampler": Stale, **UNGATED, "lr": 5e-3}, "negative_kl", "high"),
    "a sampler with a rule of its own": (
        ppo_run,
        {"sampler": lambda p: Hot(p, 1.6), **UNGATED, "steps": 4},
        "sampler_gap",
        "high",
    ),
    "another model as the reference": (ppo_run, {"policy": llama(5), "steps": 3}, "reference_differs", "high"),
    "no stop token": (ppo_run, {"stop": (VOCAB,), "steps": 4, "max_tokens": 8}, "no_eos", "high"),
    "a value model that stands still": (
        ppo_run,
        {"value_lr": 0.0, "steps": 12, "batch_size": 32, "reward": upper},
        "value_not_learning",
        "high",
    ),
    "too many epochs": (ppo_run, {"lr": 3e-2, "epochs": 6, "steps": 5, "batch_size": 32}, "clip_fraction", "high"),
    "one word that pays": (
        ppo_run,
        {"reward": lambda row: 5.0 * sum(t == 40 for t in row) / len(row), "kl_coef": 0.0, "lr": 1e-2, "steps": 40, "batch_size": 32},
        "entropy_collapse",
        "high",
    ),
    "a learning rate of 0.05": (ppo_run, {"lr": 0.05, "epochs": 4, "steps": 4}, "lr_too_high", "high"),
    "a learning rate of 0": (ppo_run, {"lr": 0.0, "steps": 20, "batch_size": 32}, "not_moving", "medium"),
    "a mix that weighs nothing": (
        ppo_run,
        {"ptx_coef": 1e-6, "lr": 3e-2, "kl_coef": 0.0, "steps": 20, "batch_size": 32, "reward": upper},
        "ptx_tax",
        "high",
    ),
    "a turn's marker that pays": (
        ppo_run,
        {"reward": lambda row: 3.0 * (40 in row), "lr": 5e-3, "phrases": {40: "<|user|>"}, "batch_size": 32},
        "writes_on",
        "high",
    ),
    "too hot SFT": (sft_run, {"lr": 3.0, "epochs": 4}, "lr_too_high", "high"),
    "SFT that stands still": (sft_run, {"lr": 0.0, "epochs": 4}, "not_learning", "medium"),
    "SFT by heart": (sft_run, {"random": True, "epochs": 40, "examples": 48, "select": "last"}, "overfits", "medium"),
    "DPO that is hardly held": (dpo_run, {"lr": 3e-2, "beta": 0.01}, "likelihood_falls", "medium"),
    "KTO that is hardly held": (kto_run, {"lr": 3e-2, "beta": 0.01}, "likelihood_falls", "medium"),
    "labels at random": (reward_run, {"random": True}, "reward_at_chance", "high"),
    "rankings by heart": (reward_run, {"random": True, "epochs": 30, "rankings": 60}, "reward_overfits", "medium"),
}


@pytest.mark.learning
@pytest.mark.parametrize("fault", PLANTS)
def test_a_planted_fault_is_diagnosed(fault: str, tmp_path: Path) -> None:
    run, settings, name, severity = PLANTS[fault]
    findings = found(run(tmp_path / "run", **settings))
    assert name in findings, f"found only {sorted(findings)}"
    assert findings[name].severity == severity
    assert findings[name].sure > 0.75


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_healthy_runs_are_left_in_peace(seed: int, tmp_path: Path) -> None:
    runs = {
        "ppo": ppo_run(tmp_path / "ppo", seed=seed, batch_size=128, minibatch_size=32),
        "sft": sft_run(tmp_path / "sft", seed=seed),
        "reward": reward_run(tmp_path / "reward", seed=seed),
        "dpo": dpo_run(tmp_path / "dpo", seed=seed),
        "kto": kto_run(tmp_path / "kto", seed=seed),
        "grpo": grpo_run(tmp_path / "grpo", {"model": (1.0, lambda row: 3.0 * (40 in row) - 0.25 * len(row))}, seed=seed),
    }
    assert {name: [finding.what() for finding in found(folder).values()] for name, folder in runs.items()} == {name: [] for name in runs}


@pytest.mark.parametrize("stage", ["dpo", "kto"])
@pytest.mark.parametrize(("last", "named"), [(0.7, False), (1.6, True)])
def test_a_policy_far_from_its_reference_is_named(stage: str, last: float, named: bool) -> None:
    drift = np.linspace(0.0, last, 7)
    findings = {finding.name: finding for finding in diagnose(Facts(stage, Metrics({"step": np.arange(1.0, 8), "drift": drift}, 7)))}
    assert ("drifts_away" in findings) == named
    assert not named or "1.6 nats per token" in findings["drifts_away"].what()


@pytest.mark.parametrize(
    ("told", "severity"), [([0.0], "high"), ([0.0] * 9, "high"), ([0.0, 0.1, 0.0, 0.0, 0.0], "medium"), ([0.0, 0.1], ""), ([0.05] * 9, "")]
)
def test_groups_whose_rewards_never_differ_are_named(told: list[float], severity: str) -> None:
    metrics = Metrics({"step": np.arange(1.0, len(told) + 1), "telling_groups": np.array(told)}, len(told))
    found = {finding.name: finding.severity for finding in diagnose(Facts("grpo", metrics))}
    assert found == ({"equal_rewards": severity} if severity else {})


@pytest.mark.learning
def test_a_reward_that_is_the_same_for_all_is_named(tmp_path: Path) -> None:
    assert (
        found(grpo_run(tmp_path / "run", {"model": (1.0, lambda _: 0.0)}, steps=2, truncation="terminate"))["equal_rewards"].severity
        == "high"
    )


def test_a_loss_that_stops_being_a_number_is_grave() -> None:
    line = np.array([3.0, 2.0, np.nan, np.nan])
    (finding,) = diagnose(Facts("sft", Metrics({"step": np.arange(1.0, 5), "loss": line}, 4)))
    assert (finding.name, finding.severity) == ("lr_too_high", "high")
    assert "loss stopped being a number" in finding.what()


@pytest.mark.learning
def test_evidence_orders_the_causes(tmp_path: Path) -> None:
    findings = found(ppo_run(tmp_path / "run", sampler=Stale, lr=5e-3, **UNGATED))
    assert findings["negative_kl"].causes == ("rules", "gap")
    padded = Facts("ppo", Metrics({"finished": np.full(6, 0.1)}, 6), pad_is_eos={"ppo": "<|end|>"})
    assert next(f for f in diagnose(padded) if f.name == "no_eos").causes[0] == "pad"


def test_a_prompt_that_begins_twice_is_a_template_gone_wrong() -> None:
    facts = Facts("ppo", Metrics(), samples=[Said("<s><s>Hello", "Hi")])
    (finding,) = diagnose(facts)
    assert (finding.name, finding.causes) == ("template_mismatch", ("bos",))


@pytest.mark.parametrize("name", REMEDIES)
def test_every_finding_has_words_in_both_languages_and_a_place_in_the_docs(name: str) -> None:
    remedy = REMEDIES[name]
    page = DOCS / ("hacking.md" if name in ALARMS else "doctor.md")
    assert f"`{name}`" in page.read_text("utf-8")
    for english, chinese in (remedy.title, remedy.what, *remedy.change.values()):
        assert english
        assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese) or english == "{evidence}."
    assert [f"{{{key}}}" in remedy.what[1] for key in ("first", "last")] == [f"{{{key}}}" in remedy.what[0] for key in ("first", "last")]


def test_a_finding_survives_its_json(tmp_path: Path) -> None:
    for finding in examine(read_facts(ppo_run(tmp_path / "run", stop=(VOCAB,), steps=3, max_tokens=8))):
        written = finding.as_json()
        again = Finding.from_json(written)
        assert Finding.from_json({"figures": written.pop("metrics"), **written}) == again, "as older versions wrote it"
        assert (again.name, again.what(), again.what("zh"), again.change()) == (
            finding.name,
            finding.what(),
            finding.what("zh"),
            finding.change(),
        )


@given(st.dictionaries(st.sampled_from(["reward", "kl_k1", "finished", "entropy", "loss", "accuracy", "approx_kl"]), st.lists(st.floats())))
def test_no_numbers_break_a_rule(columns: dict[str, list[float]]) -> None:
    for stage in ("ppo", "sft", "reward", "dpo", "evaluate"):
        rows = max(map(len, columns.values()), default=0)
        filled = {key: np.array([*line, *[np.nan] * (rows - len(line))]) for key, line in columns.items()}
        with np.errstate(all="ignore"):
            for finding in diagnose(Facts(stage, Metrics(filled, rows))):
                assert finding.what()


def test_every_rule_says_its_limits() -> None:
    assert all(rule.__doc__ and ("igh" in rule.__doc__ or "edium" in rule.__doc__ or "ow" in rule.__doc__) for rule in RULES)


def test_trends_know_noise_from_a_rise() -> None:
    rng = np.random.default_rng(1)
    flat = [abs(ends(rng.normal(size=50)).z) for _ in range(400)]
    assert 0.02 < np.mean([z > 1.96 for z in flat]) < 0.09
    assert ends(np.linspace(0, 5, 50) + rng.normal(size=50)).z > 4
    assert late([1.0] * 9) == (1.0, 0.0)
    assert sure(0) == 0.5
    assert sure(99) == 0.999


def test_shares_and_means_are_told_apart_about_as_often_as_they_should() -> None:
    rng = np.random.default_rng(2)
    draws = rng.binomial(40, 0.3, (1000, 2)) / 40
    assert np.mean([share_z(a, 40, b, 40) > 1.645 for a, b in draws]) < 0.07
    assert np.mean([mean_z(a, b) > 1.645 for a, b in rng.normal(size=(1000, 2, 30)).tolist()]) < 0.075
    assert share_z(0.1, 40, 0.8, 40) > 4
    assert END not in range(30, 60)
