"""Rates that the settings leave open, by method and model; the built-in world keeps its own; warm-up is a bounded share of a run."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from accord import settings
from accord.commands.project.init import init
from accord.runtime.project import sections
from accord.settings import DpoConfig, GrpoConfig, PpoConfig, RaftConfig, SftConfig, StarConfig, WorldConfig
from accord.settings.mixins import FineTuning
from accord.settings.rates import RATES, WORLD, rate

BEFORE: dict[str, dict[str, list[Any]]] = json.loads(Path(__file__).with_name("defaults.json").read_text("utf-8"))
"""Defaults of version 0.1, which were the built-in world's."""
TOML: dict[str, dict[str, float]] = {
    "sft": {"lr": 1.5e-2, "muon_lr": 0.015},
    "reward": {"lr": 2e-3, "muon_lr": 0.003},
    "ppo": {"lr": 3e-3, "muon_lr": 0.003, "value_lr": 3e-3, "value_muon_lr": 0.003, "ptx_coef": 4.0, "ema": 0.95},
    "dpo": {"lr": 1e-3, "muon_lr": 0.001},
    "kto": {"lr": 2.5e-4, "muon_lr": 0.00025, "beta": 0.3},
    "grpo": {"lr": 1e-3, "muon_lr": 0.002, "kl_coef": 0.3},
    "rloo": {"lr": 1e-3, "muon_lr": 0.002},
    "reinforce": {"lr": 1e-3, "muon_lr": 0.002},
    "raft": {"lr": 3e-3, "muon_lr": 0.003, "rounds": 4},
    "ilql": {"lr": 3e-3, "muon_lr": 0.003},
}
"""What version 0.1 wrote into a world's accord.toml over them."""
ADAM = {"ppo": 1e-5, "grpo": 1e-5, "rloo": 1e-5, "reinforce": 1e-5}
"""Version 0.1's epsilon where it was not 1e-8; its betas were 0.9 and 0.95 everywhere."""
TUNED = {name: kind for name, kind in sections().items() if issubclass(kind, FineTuning)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("town") / "town"
    init(folder, world=True, config=WorldConfig(documents=20, prompts=24, demonstrations=8, users=6))
    return tomllib.loads((folder / "accord.toml").read_text("utf-8"))


def test_the_world_sets_every_method_that_fine_tunes() -> None:
    assert WORLD.keys() == TUNED.keys()


@pytest.mark.parametrize("section", [name for name, kind in TUNED.items() if kind.__name__ in BEFORE])
def test_a_world_trains_with_the_values_of_version_0_1(section: str, written: dict[str, dict[str, Any]]) -> None:
    now = dataclasses.asdict(TUNED[section](**written[section]))
    then = {name: default for name, (_, default) in BEFORE[TUNED[section].__name__].items()} | TOML.get(section, {})
    if section == "process":
        then["max_tokens"] = 256  # 512 tokens exceed the context of the world's model, which is refused now
    assert {name: now[name] for name in then} == then
    assert (now["adam_beta1"], now["adam_beta2"], now["adam_epsilon"]) == (0.9, 0.95, ADAM.get(section, 1e-8))
    for updates in (1, 4, 12, 400):  # version 0.1 warmed up over this many steps, however short the run
        assert TUNED[section](**written[section]).warmup(updates) == then["warmup_steps"]
    assert now["weight_decay"] == 0


def test_pretraining_is_as_it_was() -> None:
    assert (settings.PretrainConfig.adam_beta2, settings.PretrainConfig.adam_epsilon) == (0.95, 1e-8)


@pytest.mark.parametrize("section", TUNED)
def test_without_a_world_no_method_starts_with_a_toys_rate(section: str) -> None:
    """Full fine-tuning in published recipes is at 2e-5 and below (ILQL on GPT-2: 5e-5); version 0.1 had 1e-4 to 3e-4 for most."""
    config = TUNED[section]()
    assert config.lr == 0, "the rate is the model's"
    for parameters in (135_000_000, 7_000_000_000, 70_000_000_000):
        whole = rate(config.recipe, parameters, lora=False)
        assert 1e-7 <= whole <= (5e-5 if section == "ilql" else 2e-5)
        assert rate(config.recipe, parameters, lora=True) == pytest.approx(10 * whole)


@pytest.mark.parametrize(
    ("method", "parameters", "lora", "expected"),
    [
        ("sft", 494_000_000, False, 2e-5),  # TRL's SFTConfig
        ("sft", 70_000_000_000, False, 2e-6),  # Tulu 3 70B
        ("sft", 494_000_000, True, 2e-4),  # TRL's example of LoRA; QLoRA up to 13B
        ("dpo", 494_000_000, False, 1e-6),  # TRL's DPOConfig
        ("dpo", 7_240_000_000, False, 5e-7),  # Zephyr, Tulu 3 8B
        ("dpo", 7_240_000_000, True, 5e-6),  # Zephyr's QLoRA recipe
        ("dpo", 70_000_000_000, False, 2e-7),  # Tulu 3 70B
        ("kto", 494_000_000, False, 1e-6),  # TRL's KTOConfig
        ("grpo", 7_000_000_000, False, 1e-6),  # DeepSeekMath, TRL's GRPOConfig
        ("rloo", 494_000_000, False, 1e-6),  # TRL's RLOOConfig
        ("reward", 494_000_000, True, 1e-4),
    ],
)
def test_rates_are_those_of_their_sources(method: str, parameters: int, lora: bool, expected: float) -> None:
    assert rate(method, parameters, lora=lora) == expected


def test_larger_models_never_get_larger_rates() -> None:
    assert all(row.small >= row.medium >= row.large > 0 for row in RATES.values())


def test_orpo_has_a_rate_of_its_own() -> None:
    assert DpoConfig(loss="orpo").recipe == "orpo"
    assert DpoConfig().recipe == "dpo"


@pytest.mark.parametrize(
    ("asked", "updates", "steps"),
    [({}, 12, 1), ({}, 4, 0), ({}, 100, 10), ({}, 1000, 10), ({"warmup_share": 0.5}, 12, 6), ({"warmup_share": 0.0}, 4, 10)],
)
def test_warm_up_is_at_most_its_share_of_the_run(asked: dict[str, Any], updates: int, steps: int) -> None:
    assert SftConfig(**asked).warmup(updates) == steps


def test_the_updates_of_a_run_are_counted_from_its_settings() -> None:
    assert PpoConfig(steps=3, epochs=2, batch_size=100, minibatch_size=64).updates == 12
    assert GrpoConfig(steps=3, epochs=1, batch_size=128, minibatch_size=64).updates == 6
    assert RaftConfig(rounds=4, epochs=1, batch_size=64, minibatch_size=32).updates == 8
    assert RaftConfig(rounds=4, epochs=1, batch_size=64, minibatch_size=32, restart=True).updates == 2
    assert StarConfig(rounds=4, epochs=2, batch_size=64, minibatch_size=32).updates == 4
