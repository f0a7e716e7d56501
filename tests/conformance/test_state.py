"""T40, T42 and T45: what a stopped run finds again, what is saved beside the weights, and settings that do something.

docs/conformance.md names each law, and how each test was seen to fail. test_kill.py does T40 with real processes.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from conformance_run import Doomed, Killed
from groups import KINDS, READ_BY_THE_COMMAND, improve
from groups import settings as group_settings
from tiny import FP32, SENTENCES, ByFunction, chat, corpus, learn, llama, metrics, same, scalar, sequences, weights
from torch import Tensor

from accord import settings
from accord.algorithms import pretrain, reward, sft
from accord.algorithms.reward import RankedRows
from accord.algorithms.sft import Example
from accord.commands.app import RunFlags
from accord.commands.models import load_model
from accord.commands.train.pretrain import pretrain as pretrain_command
from accord.commands.train.sft import sft as sft_command
from accord.data.corpus import write_documents
from accord.data.templates import chat_format
from accord.data.tokenizers import load_tokenizer
from accord.errors import UsageError
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler, Message, Prompt
from accord.runtime.project import Project, sections
from accord.runtime.runs import Run
from accord.settings import PpoConfig, PretrainConfig, RewardConfig, SftConfig
from accord.settings.methods import METHODS, SAMPLING

SOURCE = Path(settings.__file__).parents[1]


Trainer = Callable[[Run], Any]
EXAMPLES = [Example(row, 4) for row in sequences([9, 7, 12, 8, 10, 11, 9, 13, 8, 7], seed=3)]
RANKINGS = [RankedRows(sequences([4, 9, 6], seed=i), [1, 2, 2 + i % 2]) for i in range(10)]
RAW = sequences([12, 9, 14, 8, 11, 10], seed=50)
PRETRAIN: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 16,
    "layers": 1,
    "heads": 2,
    "intermediate_size": 24,
    "context": 64,
    "warmup_steps": 2,
}


def pretraining(config: PretrainConfig, folder: Path) -> Trainer:
    tokenizer, text = corpus(folder / "corpus")

    def train(run: Run) -> Any:
        model = pretrain.fresh(config, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
        return weights(pretrain.train(config, model=model, corpus=text, run=run, dtype=FP32))

    return train


def finetuning(config: SftConfig) -> Trainer:
    raw = (lambda skip: iter([[RAW[i % 6]] for i in range(skip, 99)])) if config.ptx_tokens else None

    def train(run: Run) -> Any:
        model = llama()
        sft.train(config, model=model, examples=EXAMPLES[:7], validation=EXAMPLES[7:], pretraining=raw, run=run, dtype=FP32)
        return weights(model)

    return train


def rewarding(config: RewardConfig) -> Trainer:
    def train(run: Run) -> Any:
        model = scalar(llama())
        reward.train(config, model=model, rankings=RANKINGS[:7], validation=RANKINGS[7:], demonstrations=RAW, run=run, dtype=FP32)
        return {**weights(model), "bias": model.config.reward_bias}

    return train


def improving(tmp_path: Path, **asked: Any) -> Trainer:
    def train(run: Run) -> Any:
        learned = learn(tmp_path, run=run, **asked)
        return {"policy": weights(learned.policy), "value": weights(learned.value)}

    return train


PPO_STATE: dict[str, Any] = {
    "steps": 20,
    "save_every": 10,
    "ema": 0.9,
    "kl_target": 0.5,
    "kl_horizon": 60,
    "ptx_coef": 1.0,
    "lr": 1e-2,
    "value_lr": 1e-2,  # a critic that stands still would be found again whatever the checkpoint holds
    "epochs": 1,
}


GROUP_STATE: dict[str, dict[str, Any]] = {kind: {METHODS[kind].iterations: 20, "save_every": 10, "lr": 1e-2, "epochs": 1} for kind in KINDS}
GROUP_STATE["grpo"]["resample"] = 2


def test_every_method_that_samples_is_held_to_these_laws() -> None:
    assert {"ppo", *KINDS} == {*SAMPLING}


def comparing(tmp_path: Path, kind: str, **asked: Any) -> Trainer:
    return lambda run: weights(improve(tmp_path, kind, run=run, **asked).policy)


@pytest.mark.parametrize("stage", ["pretrain", "sft", "reward", "ppo", *KINDS])
def test_t40_twenty_steps_are_ten_and_ten_resumed(stage: str, tmp_path: Path) -> None:
    configs: dict[str, Any] = {
        "pretrain": PretrainConfig(**PRETRAIN, tokens=20 * 128, batch_tokens=128, save_every=10),
        # so fast that every later epoch is worse by most of a nat: which one is best must not hang on a processor's rounding
        "sft": SftConfig(epochs=10, batch_size=4, save_every=10, lr=3e-1, muon_lr=1e-1),
        "reward": RewardConfig(epochs=10, batch_size=4, save_every=10, ties="model", lr=1e-2, muon_lr=1e-2),
        "ppo": PpoConfig(
            **{
                "batch_size": 6,
                "minibatch_size": 3,
                "max_tokens": 6,
                "warmup_steps": 1,
                "muon_lr": 1e-2,
                "value_muon_lr": 1e-2,
                **PPO_STATE,
            }
        ),
        **{kind: group_settings(kind, **asked) for kind, asked in GROUP_STATE.items()},
    }
    config = configs[stage]
    trainers: dict[str, Callable[[], Trainer]] = {
        "pretrain": lambda: pretraining(config, tmp_path),
        "sft": lambda: finetuning(config),
        "reward": lambda: rewarding(config),
        "ppo": lambda: improving(tmp_path, **PPO_STATE),
    }
    train = comparing(tmp_path, stage, **GROUP_STATE[stage]) if stage in KINDS else trainers[stage]()
    asked: dict[str, Any] = {"stage": stage, "config": config, "inputs": {}}
    whole = Run.start(tmp_path / "whole", **asked, resume=False)
    expected = train(whole)
    with pytest.raises(Killed):
        train(Doomed.start(tmp_path / "cut", **asked, resume=False))
    cut = Run.start(tmp_path / "cut", **asked, resume=True)
    assert (cut.restore() or (0,))[0] == 10
    assert same(train(cut), expected)
    assert same(cut.restore(), whole.restore())
    assert len(metrics(whole)) == 20
    assert metrics(cut) == metrics(whole)
    if stage == "ppo":
        assert {row["kl_coef"] for row in metrics(whole)} != {0.05}
        assert (cut.folder / "samples.jsonl").read_text() == (whole.folder / "samples.jsonl").read_text()
    if stage == "sft":
        losses = {row["step"]: row["validation_loss"] for row in metrics(whole) if "validation_loss" in row}
        assert min(losses, key=losses.__getitem__) <= 10, "the best epoch lies behind the kill, so that only the checkpoint knows it"


def small_project(folder: Path) -> Project:
    project = Project.create(folder)
    write_documents(project.path / "corpus" / "text.jsonl", [" ".join(SENTENCES[i % 6 :]) for i in range(60)])
    prompts = [
        Prompt(f"p{i}", (Message("user", f"Where is bread number {i}?"),), user=f"u{i}", split="validation" if i > 6 else "train")
        for i in range(9)
    ]
    with Store.open(project.store_url) as store:
        store.add_prompts(prompts)
        store.add_labelers([Labeler("ann", "person")])
        store.add_demonstrations([Demonstration(f"d{i}", prompt, "At the market.", "ann") for i, prompt in enumerate(prompts)])
    return project


def test_t42_the_saved_tokenizer_and_template_are_those_that_were_used(tmp_path: Path) -> None:
    project = small_project(tmp_path / "p")
    config = PretrainConfig(**PRETRAIN, tokens=600, batch_tokens=128)
    pretrain_command(project, config=config, name="base", flags=RunFlags(dtype="float32"))
    sft_command(project, config=SftConfig(epochs=1, ptx_tokens=64), base="base", name="sft", flags=RunFlags(dtype="float32"))
    used, saved = load_tokenizer(project.run("base") / "tokenizer"), load_tokenizer(project.model("sft"))
    assert saved.get_vocab() == used.get_vocab()
    assert saved.chat_template == chat().tokenizer.chat_template
    model, turns = load_model(project, "sft"), (Message("user", "Where is bread?"),)
    assert model.format.prompt(turns) == chat_format(saved).prompt(turns)
    assert list(model.format.stop) == model.lm.config.eos_token_id == model.lm.generation_config.eos_token_id
    assert model.format.stop[0] == saved.eos_token_id


@cache
def sources() -> list[tuple[str, list[ast.AST]]]:
    """Every source file's text and syntax, settings/ left out."""
    texts = [path.read_text("utf-8") for path in SOURCE.rglob("*.py") if path.parent.name != "settings"]
    return [(text, [*ast.walk(ast.parse(text))]) for text in texts]


def read_fields(kind: type) -> set[str]:
    """What is read of a configuration, by itself or through its properties and methods: as ``config.field``, or by the name a function or class gives it."""
    name, found = kind.__name__, set[str]()
    mixins = {base.__name__ for base in kind.__mro__[1:-1]}
    parents = mixins & {section.__name__ for section in sections().values()}
    held = {
        ast.unparse(n.target) for _, nodes in sources() for n in nodes if isinstance(n, ast.AnnAssign) and name in ast.unparse(n.annotation)
    }
    for text, nodes in sources():
        names = {name} | parents | (mixins if "accord.settings.mixins" in text else set())
        arguments = [n for n in nodes if isinstance(n, ast.arg) and n.annotation]
        asked = {n.arg for n in arguments if any(one in ast.unparse(n.annotation) for one in names)}
        called = {f".{field}" for field in held} | asked | ({"config", "limits", "cutoffs"} if name in text or ".config" in text else set())
        reads = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)]
        found |= {node.attr for node in reads if called & endings(ast.unparse(node.value))}
    members = [(key, getattr(value, "fget", value)) for base in kind.__mro__[:-1] for key, value in vars(base).items()]
    derived = [inspect.getsource(member) for key, member in members if key in found and inspect.isfunction(member)]
    return found | {key for text in derived for key in re.findall(r"self\.(\w+)", text)}


def endings(path: str) -> set[str]:
    """The last word of a dotted name, and with its dot where something stands before it."""
    before, dot, last = path.rpartition(".")
    return {last, dot + last} if before else {last}


@pytest.mark.parametrize("section", [name for name, kind in sections().items() if kind.__module__.startswith(settings.__name__)])
def test_t45_every_setting_is_read(section: str) -> None:
    kind = sections()[section]
    dead = {field.name for field in fields(kind)} - read_fields(kind)
    assert not dead, f"[{section}] {dead} stand in settings/ and nowhere else"


ROUNDING = 1e-4
"""What a change of a setting must move, to be no change in the order of a sum: a hundred times what that moves."""


def apart(one: Any, other: Any) -> float:
    """Return the largest difference between numbers in nested dicts and lists, over the size of the larger number where it exceeds 1;
    infinity where the two have other keys, lengths or words."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        scale = torch.maximum(one.abs(), other.abs()).clamp(min=1)
        return float(((one - other).abs() / scale).max()) if one.numel() else 0.0
    if isinstance(one, dict) and one.keys() == other.keys():
        return max(apart(one[key], other[key]) for key in one)
    if isinstance(one, list) and len(one) == len(other):
        return max(map(apart, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) / max(abs(one), abs(other), 1)
    return 0.0 if one == other and not isinstance(one, dict | list) else inf


PPO_CHANGES: dict[str, Any] = {
    "seed": 1, "steps": 3, "batch_size": 8, "minibatch_size": 2, "epochs": 1, "lr": 1e-3, "muon_lr": 1e-2, "value_lr": 1e-3, "value_muon_lr": 1e-2, "warmup_steps": 20, "warmup_share": 0.5, "clip": 0.01,
    "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_epsilon": 1e-2, "weight_decay": 0.5,
    "value_clip": 0.0, "gamma": 0.5, "lam": 0.1, "kl_coef": 2.0, "kl_target": 0.1, "kl_horizon": 7, "kl_estimator": "k3", "kl_stop": 1e-9,
    "temperature": 0.5, "max_tokens": 3, "truncation": "mask", "no_stop_reward": 4.0, "whiten_rewards": True, "whiten_advantages": False,
    "ptx_coef": 9.0, "ema": 0.5, "staleness": 1, "max_grad_norm": 1e-2, "save_every": 2,
}  # fmt: skip
OF_THE_STAGE = READ_BY_THE_COMMAND | {"importance", "importance_cap", "ptx_tokens", "keep_every"}
"""Read where the stage opens its models and its sampler; logprob_gap and gap_multiple are T16, importance is tests/algorithms/test_correction.py."""


def test_t45_no_ppo_setting_is_forgotten_here() -> None:
    assert {field.name for field in fields(PpoConfig)} == PPO_CHANGES.keys() | OF_THE_STAGE | {"micro_tokens"}


BASE: dict[str, Any] = {"lr": 2e-2, "value_lr": 2e-2, "ptx_coef": 1.0, "kl_target": 0.0, "kl_horizon": 60, "warmup_steps": 1}


def outcome(folder: Path, **asked: Any) -> Any:
    learned = learn(folder, policy=llama(4), scorer=ByFunction(lambda row: float(len(set(row)))), **{**BASE, **asked})
    samples = (learned.run.folder / "samples.jsonl").read_text().count("\n")
    return [weights(learned.policy), weights(learned.value), metrics(learned.run), samples]


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Any]:
    return {target: outcome(tmp_path_factory.mktemp("ppo"), kl_target=target) for target in (0.0, 0.1)}


@pytest.mark.parametrize("name", PPO_CHANGES)
def test_t45_every_ppo_setting_changes_something(name: str, unchanged: dict[float, Any], tmp_path: Path) -> None:
    if name == "warmup_share":  # it bounds a warm-up that is longer
        long, bounded = (outcome(tmp_path / str(share), warmup_steps=20, warmup_share=share) for share in (0.0, PPO_CHANGES[name]))
        assert apart(long, bounded) > ROUNDING
        return
    target = 0.1 if name == "kl_horizon" else 0.0
    assert apart(outcome(tmp_path, **{"kl_target": target, name: PPO_CHANGES[name]}), unchanged[target]) > ROUNDING


def test_t45_the_same_settings_give_the_same_run(unchanged: dict[float, Any], tmp_path: Path) -> None:
    assert same(outcome(tmp_path), unchanged[0.0])


SFT_CHANGES: dict[str, Any] = {
    "seed": 1,
    "epochs": 3,
    "batch_size": 2,
    "lr": 1e-3,
    "muon_lr": 1e-2,
    "warmup_steps": 9,
    "adam_beta1": 0.5,
    "adam_beta2": 0.5,
    "adam_epsilon": 1e-2,
    "weight_decay": 0.5,
    "ptx_tokens": 0,
    "select": "last",
}


@pytest.mark.parametrize("name", SFT_CHANGES)
def test_t45_sft_settings_change_the_weights(name: str, tmp_path: Path) -> None:
    base: dict[str, Any] = {
        "epochs": 4,
        "batch_size": 4,
        "lr": 0.3,
        "warmup_steps": 1,
        "warmup_share": 0.0,
    }  # so fast that the last epoch is not the best
    found: list[Any] = []
    for number, asked in enumerate((base, {**base, name: SFT_CHANGES[name]})):
        config = SftConfig(**asked)
        found.append(finetuning(config)(Run.start(tmp_path / str(number), stage="sft", config=config, inputs={}, resume=False)))
    assert apart(*found) > ROUNDING


REWARD_CHANGES: dict[str, Any] = {
    "seed": 1,
    "epochs": 2,
    "batch_size": 2,
    "lr": 1e-3,
    "muon_lr": 1e-2,
    "warmup_steps": 9,
    "adam_beta1": 0.5,
    "adam_beta2": 0.5,
    "adam_epsilon": 1e-2,
    "weight_decay": 0.5,
    "ties": "model",
}


@pytest.mark.parametrize("name", REWARD_CHANGES)
def test_t45_reward_settings_change_the_weights(name: str, tmp_path: Path) -> None:
    found: list[Any] = []
    for number, changes in enumerate(({}, {name: REWARD_CHANGES[name]})):
        config = RewardConfig(**{"batch_size": 4, "lr": 1e-2, "warmup_steps": 1, "warmup_share": 0.0, **changes})
        found.append(rewarding(config)(Run.start(tmp_path / str(number), stage="reward", config=config, inputs={}, resume=False)))
    assert apart(*found) > ROUNDING


@pytest.mark.parametrize("stage", ["ppo", "sft", "reward"])
def test_t45_micro_tokens_changes_the_order_of_sums_and_nothing_else(stage: str, tmp_path: Path) -> None:
    """Adam's large epsilon keeps a gradient that is only rounding from becoming a whole step."""
    found: list[Any] = []
    for micro in (1, 40, 10_000):
        asked: dict[str, Any] = {"lr": 2e-2, "adam_epsilon": 1e-2, "micro_tokens": micro}
        folder = tmp_path / str(micro)
        if stage == "ppo":
            found.append(outcome(folder, steps=1, **asked)[:2])
            continue
        config: Any = (SftConfig if stage == "sft" else RewardConfig)(**{"epochs": 2, "batch_size": 4, "warmup_steps": 1, **asked})
        train = finetuning(config) if stage == "sft" else rewarding(config)
        found.append(train(Run.start(folder, stage=stage, config=config, inputs={}, resume=False)))
    start: dict[str, Any] = {
        "ppo": [weights(llama(4)), weights(scalar(llama(2), 3))],
        "sft": weights(llama()),
        "reward": weights(scalar(llama())),
    }
    last: Any = {name: value for name, value in found[-1].items() if name != "bias"} if stage == "reward" else found[-1]
    assert apart(last, start[stage]) > 100 * ROUNDING
    assert max(apart(found[0], found[-1]), apart(found[1], found[-1])) < ROUNDING / 2


@pytest.mark.parametrize("text", ["[ppo]\nptx_coeff = 27.8\n", "[pppo]\nlr = 0.1\n", "[ppo]\nlr = 'fast'\n", "[ppo]\nclip = -0.2\n"])
def test_t45_what_would_do_nothing_is_refused(text: str, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    (project.path / "accord.toml").write_text(text)
    with pytest.raises(UsageError, match=r"accord\.toml"):
        _ = Project.open(project.path).settings
