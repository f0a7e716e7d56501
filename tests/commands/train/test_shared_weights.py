"""The memory that training holds: frozen weights once, in four bits where asked, and checkpoints of what is trained alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import import_module
from typing import Any
from weakref import ref

import pytest
import torch
from small_project import FLAGS, RESUME, SMALL
from tiny import llama, sequences
from torch import Tensor

from accord.algorithms import ppo as ppo_algorithm
from accord.algorithms import reward as reward_algorithm
from accord.commands.models import Model, load_model
from accord.commands.train.grpo import grpo
from accord.commands.train.ppo import ppo
from accord.commands.train.reward import reward
from accord.commands.train.run import trainable
from accord.commands.train.sft import sft
from accord.models import decoder
from accord.models.decoder import Layer
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.quantised import Linear4
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import GrpoConfig, PpoConfig, RewardConfig, SftConfig


class Stopped(Exception):
    """Raised where training would begin."""


def given_to(algorithm: Any, command: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the models that a command hands to its algorithm."""
    given: dict[str, Any] = {}

    def train(config: Any, **models: Any) -> None:
        given.update(models)
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(algorithm, "train", train)
        with pytest.raises(Stopped):
            command()
    return given


def owned(*models: Any) -> int:
    """The bytes of all parameters and buffers of some models, each storage counted once."""
    storages: dict[int, int] = {}
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


def frozen(model: Any) -> dict[str, int]:
    """Where the storage of each frozen parameter and each four-bit weight lies. A head that learns is left out."""
    held = (*model.named_parameters(), *model.named_buffers())
    others = ("lora_", "score", "inv_freq")
    return {name: tensor.untyped_storage().data_ptr() for name, tensor in held if not any(part in name for part in others)}


@pytest.mark.parametrize("bits", [0, 4])
def test_the_four_models_of_ppo_hold_two_bodies_under_adapters(bits: int, town: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    config = PpoConfig(**SMALL, steps=1, ptx_coef=0, lora_rank=2, lora_bits=bits)
    given = given_to(ppo_algorithm, lambda: ppo(town, config=config, flags=FLAGS), monkeypatch)
    policy, reference, value, scorer = (given[name] for name in ("policy", "reference", "value", "scorer"))
    judge = scorer.parts["model"].model
    assert not [name for name, storage in frozen(policy).items() if storage not in frozen(reference).values()]
    assert not [name for name, storage in frozen(value).items() if storage not in frozen(judge).values()]
    for model in (policy, reference, value, judge):
        assert any(isinstance(module, Linear4) for module in model.modules()) == (bits == 4)


def test_a_reward_model_takes_the_body_of_the_model_it_starts_from(town: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    command, opened = import_module("accord.commands.train.reward"), list[Model]()
    load = command.load_model
    with monkeypatch.context() as patched:
        patched.setattr(command, "load_model", lambda *args, **kwargs: opened.append(load(*args, **kwargs)) or opened[-1])
        given = given_to(reward_algorithm, lambda: reward(town, name="again", config=RewardConfig(), flags=FLAGS), monkeypatch)
    score = given["model"].score.weight
    assert owned(opened[0].lm, given["model"]) == owned(opened[0].lm) + score.numel() * score.element_size()


COMMANDS: dict[str, Callable[[Project, Any], Any]] = {
    "sft": lambda project, flags: sft(
        project, name="c", config=SftConfig(epochs=2, batch_size=4, ptx_tokens=0, lr=1e-2, lora_rank=2), flags=flags
    ),
    "reward": lambda project, flags: reward(project, name="c", config=RewardConfig(lora_rank=2), flags=flags),
    "ppo": lambda project, flags: ppo(project, name="c", config=PpoConfig(**SMALL, steps=2, ptx_coef=0, ema=0.9, lora_rank=2), flags=flags),
    "grpo": lambda project, flags: grpo(
        project, name="c", config=GrpoConfig(**SMALL | {"group_size": 3}, steps=2, lora_rank=2, lora_bits=4), flags=flags
    ),
}


def tensors(state: Any, where: str = "") -> dict[str, Tensor]:
    if isinstance(state, Tensor):
        return {where: state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    found: dict[str, Tensor] = {}
    for key, value in items:
        found |= tensors(value, f"{where}/{key}")
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_checkpoint_under_adapters_holds_no_frozen_weight(name: str, town: Project) -> None:
    run = COMMANDS[name](town, FLAGS)
    restored = run.restore()
    assert restored is not None
    held = tensors(restored[1])
    odd = [where for where in held if any(part in where for part in ("embed_tokens", "layernorm", "base_layer", "lm_head", "codes"))]
    assert not odd
    assert any("lora_A" in where for where in held)


def test_a_checkpoint_of_before_that_holds_everything_is_resumed(town: Project) -> None:
    config = SftConfig(epochs=3, batch_size=4, ptx_tokens=0, lr=1e-2, lora_rank=2, save_every=1)
    whole = sft(town, name="whole", config=config, flags=FLAGS)
    expected = (town.model("whole") / "model.safetensors").read_bytes()
    # the run as an earlier version would have left it: everything in the checkpoint, the best epoch's weights too
    given = whole.restore()
    assert given is not None
    step, state = given
    model = trainable(load_model(town, "base").lm, config, "sft", "lora")
    full = {**{key: value.detach() for key, value in model.state_dict().items()}, **state["model"]}
    whole.checkpoint(step, state | {"model": full, "best": full})
    (whole.folder / "summary.json").unlink()
    shutil.rmtree(town.model("whole"))
    sft(town, name="whole", config=config, flags=RESUME)
    assert (town.model("whole") / "model.safetensors").read_bytes() == expected


@pytest.mark.parametrize("select", ["last", "validation_loss"])
def test_the_best_epoch_waits_on_disk_and_is_gone_at_the_end(select: Any, town: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    aside: list[int] = []
    put = Run.put_aside
    monkeypatch.setattr(Run, "put_aside", lambda run, step, state: aside.append(step) or put(run, step, state))
    run = sft(town, name="c", config=SftConfig(epochs=2, batch_size=4, ptx_tokens=0, lr=1e-2, select=select), flags=FLAGS)
    restored = run.restore()
    assert restored is not None
    assert not [where for where in tensors(restored[1]) if where.startswith("/best")]
    assert bool(aside) == (select == "validation_loss")
    assert not (run.folder / "aside").exists()


def test_a_pass_without_gradients_holds_one_layers_cast_weights() -> None:
    model, live, most = llama(layers=6), list[Any](), [0]
    fused = decoder._fused

    def watched(*args: Any) -> Layer:
        made = fused(*args)
        live.append(ref(made))
        most[0] = max(most[0], sum(each() is not None for each in live))
        return made

    with pytest.MonkeyPatch.context() as patched, torch.no_grad():
        patched.setattr(decoder, "_fused", watched)
        logprobs(model, pack(sequences([9])), dtype=torch.bfloat16)
    assert len(live) == 6
    assert most[0] <= 2
