"""T32, T40 and T45 for the stages that learn from preferences: short last batches, what a stopped run finds again, settings that act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from conformance_run import Doomed, Killed
from tiny import FP32, llama, metrics, rng, same, sequences, weights

from accord.algorithms import dpo, ilql, kto
from accord.algorithms.dpo import ranked_responses
from accord.algorithms.ilql import episode
from accord.algorithms.kto import thumb_row
from accord.data.token_rows import RowWindow
from accord.models.adapters import add_lora
from accord.models.qvalues import QNetwork
from accord.runtime.runs import Run
from accord.settings import DpoConfig, IlqlConfig, KtoConfig
from accord.settings.methods import LABELED

RANKINGS = [
    ranked_responses(sequences([3 + i % 4], seed=i)[0], sequences([4, 2, 6], seed=90 + i), [2, 1, 2 + i % 2], RowWindow(64), str(i))
    for i in range(10)
]
THUMBS = [
    thumb_row(sequences([3 + i % 4], seed=i % 6)[0], sequences([2 + i % 5], seed=200 + i)[0], i % 3 > 0, RowWindow(64), str(i))
    for i in range(10)
]
EPISODES = [episode(row.tokens[: -row.kept], row.tokens[-row.kept :], i / 5 - 0.9, RowWindow(64), str(i)) for i, row in enumerate(THUMBS)]


def model(config: Any) -> Any:
    return add_lora(llama(), config.lora_rank, rng(5)) if config.lora_rank else llama()


def by_dpo(config: DpoConfig, run: Run, other: int | None = None) -> Any:
    """Trains on seven rankings, one of them turned round where ``other`` says which."""
    rankings = [replace(row, ranks=[1, 2, 3]) if i == other else row for i, row in enumerate(RANKINGS)]
    policy = model(config)
    found = dpo.train(config, policy=policy, rankings=rankings[:7], validation=rankings[7:], run=run, dtype=FP32)
    return {"policy": weights(policy), "found": dict(found)}


def by_kto(config: KtoConfig, run: Run, other: int | None = None) -> Any:
    thumbs = [replace(row, up=not row.up) if i == other else row for i, row in enumerate(THUMBS)]
    policy = model(config)
    found = kto.train(config, policy=policy, thumbs=thumbs[:7], validation=thumbs[7:], run=run, dtype=FP32)
    return {"policy": weights(policy), "found": dict(found)}


def by_ilql(config: IlqlConfig, run: Run, other: int | None = None) -> Any:
    episodes = [replace(row, worth=-row.worth) if i == other else row for i, row in enumerate(EPISODES)]
    network = QNetwork(llama())
    if config.lora_rank:
        network.body = add_lora(network.body, config.lora_rank, rng(5))
    found = ilql.train(config, network=network, episodes=episodes[:7], validation=episodes[7:], run=run, dtype=FP32)
    return {"policy": weights(network), "found": dict(found)}


STAGES: dict[str, tuple[type[Any], Callable[..., Any]]] = {
    "dpo": (DpoConfig, by_dpo),
    "kto": (KtoConfig, by_kto),
    "ilql": (IlqlConfig, by_ilql),
}
"""A new algorithm that learns from what people said takes its place in these laws by a line here and one in CHANGES."""


def test_every_method_that_learns_from_labels_is_held_to_these_laws() -> None:
    assert STAGES.keys() == CHANGES.keys() == {*LABELED}


TWENTY: dict[str, Any] = {"epochs": 10, "batch_size": 4, "save_every": 10, "lr": 1e-2}


@pytest.mark.parametrize("asked", [{}, {"lora_rank": 2}], ids=["full", "lora"])
@pytest.mark.parametrize("stage", STAGES)
def test_t40_twenty_steps_are_ten_and_ten_resumed(stage: str, asked: dict[str, Any], tmp_path: Path) -> None:
    kind, train = STAGES[stage]
    config = kind(**TWENTY, **asked)
    begun: dict[str, Any] = {"stage": stage, "config": config, "inputs": {}}
    whole = Run.start(tmp_path / "whole", **begun, resume=False)
    expected = train(config, whole)
    with pytest.raises(Killed):
        train(config, Doomed.start(tmp_path / "cut", **begun, resume=False))
    cut = Run.start(tmp_path / "cut", **begun, resume=True)
    assert (cut.restore() or (0,))[0] == 10
    assert same(train(config, cut), expected)
    assert same(cut.restore(), whole.restore())
    assert len(metrics(whole)) == 20
    assert metrics(cut) == metrics(whole)


@pytest.mark.parametrize("stage", STAGES)
def test_t32_every_row_of_an_epoch_is_used(stage: str, tmp_path: Path) -> None:
    """Seven rows in batches of four: whichever row says the opposite leaves a trace in the weights."""
    kind, train = STAGES[stage]
    config = kind(batch_size=4, warmup_steps=1, lr=1e-2, **({"up_weight": 1.0} if stage == "kto" else {}))

    def trained(other: int | None) -> Any:
        return train(config, Run.start(tmp_path / str(other), stage=stage, config=config, inputs={}, resume=False), other)["policy"]

    as_said = trained(None)
    assert not any(same(trained(other), as_said) for other in range(7))
    assert same(trained(7), as_said), "a row held out for validation was learned from"


CHANGES: dict[str, dict[str, tuple[dict[str, Any], Any]]] = {
    "dpo": {
        "seed": ({}, 2), "loss": ({}, "plackett-luce"), "beta": ({}, 0.5), "margin": ({"loss": "simpo"}, 0.1), "label_smoothing": ({}, 0.2),
        "normalise": ({}, "mean"), "ties": ({}, "model"), "tie_margin": ({"ties": "model"}, 0.3), "epochs": ({}, 2), "batch_size": ({}, 2),
        "lr": ({}, 1e-3), "muon_lr": ({}, 1e-2), "warmup_steps": ({}, 9), "micro_tokens": ({}, 1),
        "adam_beta1": ({}, 0.5), "adam_beta2": ({}, 0.5), "adam_epsilon": ({}, 1e-2), "weight_decay": ({}, 0.5), "warmup_share": ({"warmup_steps": 9}, 0.5),
    },
    "kto": {
        "seed": ({}, 1), "beta": ({}, 0.5), "up_weight": ({}, 2.0), "down_weight": ({"up_weight": 1.0}, 2.0), "epochs": ({}, 2),
        "batch_size": ({}, 2), "lr": ({}, 1e-3), "muon_lr": ({}, 1e-2), "warmup_steps": ({}, 9), "micro_tokens": ({}, 1),
        "adam_beta1": ({}, 0.5), "adam_beta2": ({}, 0.5), "adam_epsilon": ({}, 1e-2), "weight_decay": ({}, 0.5), "warmup_share": ({"warmup_steps": 9}, 0.5),
    },
    "ilql": {
        "seed": ({}, 1), "backup": ({}, "max"), "expectile": ({}, 0.9), "gamma": ({}, 0.5), "lam": ({}, 0.1), "conservative": ({}, 1.0),
        "target_rate": ({}, 0.9), "epochs": ({}, 2), "batch_size": ({}, 2), "lr": ({}, 1e-3), "muon_lr": ({}, 1e-2),
        "warmup_steps": ({}, 9), "micro_tokens": ({}, 1),
        "adam_beta1": ({}, 0.5), "adam_beta2": ({}, 0.5), "adam_epsilon": ({}, 1e-2), "weight_decay": ({}, 0.5), "warmup_share": ({"warmup_steps": 9}, 0.5),
    },
}  # fmt: skip
OF_THE_STAGE = {
    "held_out_group",
    "kinds",
    "max_tokens",
    "long_rows",
    "lora_rank",
    "lora_bits",
    "lora_alpha",
    "lora_targets",
    "train_vision",
    "recompute",
    "save_every",
    "thumbs",
    "good_quality",
    "bad_quality",
    "returns",
    "turns",
    "beta",
    "keep_adapter",
    "save_dtype",
    "save_minutes",
    "save_async",
    "shard",
    "offload",
}
"""Read where the stage opens its data and its model (tests/commands/train/), or not seen in the weights."""


@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage, changes in CHANGES.items() for name in changes])
def test_t45_settings_change_the_weights(stage: str, name: str, tmp_path: Path) -> None:
    (kind, train), (base, value) = STAGES[stage], CHANGES[stage][name]
    found: list[Any] = []
    for number, asked in enumerate((base, {**base, name: value})):
        config = kind(**{"batch_size": 4, "lr": 1e-2, "warmup_steps": 1, "warmup_share": 0.0, **asked})
        found.append(train(config, Run.start(tmp_path / str(number), stage=stage, config=config, inputs={}, resume=False)))
    assert not same(found[0]["policy"], found[1]["policy"])


@pytest.mark.parametrize("stage", STAGES)
def test_t45_no_setting_is_forgotten_here(stage: str) -> None:
    assert {field.name for field in fields(STAGES[stage][0])} <= CHANGES[stage].keys() | OF_THE_STAGE
