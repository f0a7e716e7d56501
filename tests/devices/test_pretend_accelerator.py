"""Every command and engine on a device that is not the CPU: it runs, and gives what it gives on the CPU.

The device is the pretend accelerator of tests/far.py: an operation between it and the CPU fails as it would on a GPU.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from far import FAR, accelerator
from opened import Opened, hello, host, open_model, sampling, served, whole
from safetensors.torch import load_file
from small_project import BODY, PROMPTS, SMALL, labeled, rankings, with_sft_model
from tiny import END, FP32, SENTENCES, metrics, same, sampled, sequences
from tiny import llama as tiny_llama

from accord.commands.app import Compute, RunFlags, main
from accord.commands.data.problems import problems
from accord.commands.evaluate.compare import compare
from accord.commands.evaluate.evaluate import evaluate
from accord.commands.evaluate.examine import examine
from accord.commands.train.dpo import dpo
from accord.commands.train.grpo import grpo
from accord.commands.train.ilql import ilql
from accord.commands.train.kto import kto
from accord.commands.train.ppo import ppo
from accord.commands.train.pretrain import pretrain
from accord.commands.train.process import process
from accord.commands.train.raft import raft
from accord.commands.train.reinforce import reinforce
from accord.commands.train.reward import reward
from accord.commands.train.rloo import rloo
from accord.commands.train.sample import sample
from accord.commands.train.sft import sft
from accord.commands.train.star import star
from accord.data.spans import Span
from accord.engine.batching import BatchEngine, Request
from accord.errors import RunError, UsageError
from accord.feedback.store import Store
from accord.records import Sampling
from accord.runtime import device
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.serving.model_host import ModelHost
from accord.settings import (
    CompareConfig,
    DpoConfig,
    EvaluateConfig,
    ExamineConfig,
    GrpoConfig,
    IlqlConfig,
    KtoConfig,
    PpoConfig,
    PretrainConfig,
    ProblemsConfig,
    ProcessConfig,
    RaftConfig,
    ReinforceConfig,
    RewardConfig,
    RlooConfig,
    SampleConfig,
    SftConfig,
    StarConfig,
)

WORLD = ["--documents", "400", "--prompts", "300", "--demonstrations", "100", "--users", "20"]
FEW: dict[str, Any] = {"epochs": 1, "batch_size": 8, "lr": 1e-2, "warmup_steps": 1}
PPO: dict[str, Any] = {**SMALL, "steps": 2, "epochs": 1, "ptx_coef": 0.5, "ptx_tokens": 64, "ema": 0.9, "save_every": 1}
GROUPS: dict[str, Any] = {**SMALL, "epochs": 1, "save_every": 1}
ENDED = {"truncation": "terminate"}
"""Six tokens are too few to end a response. Where none counts, the gradient is rounding alone, and Adam makes whole steps of it."""
Trained = Callable[[Project, RunFlags], Run]
TRAINING: dict[str, Trained] = {
    "pretrain": lambda p, f: pretrain(
        p, config=PretrainConfig(**BODY, tokens=2000, batch_tokens=1024, warmup_steps=2), name="new", flags=f
    ),
    "sft": lambda p, f: sft(p, config=SftConfig(**FEW, ptx_tokens=64), name="new", flags=f),
    "sft in four bits": lambda p, f: sft(p, config=SftConfig(**FEW, ptx_tokens=0, lora_rank=2, lora_bits=4), name="new", flags=f),
    "reward": lambda p, f: reward(p, config=RewardConfig(**FEW, ties="model"), name="new", flags=f),
    "ppo": lambda p, f: ppo(p, config=PpoConfig(**PPO), name="new", flags=f),
    "ppo with adapters": lambda p, f: ppo(p, config=PpoConfig(**PPO, lora_rank=2, recompute=True), name="new", flags=f),
    "dpo": lambda p, f: dpo(p, config=DpoConfig(**FEW), name="new", flags=f),
    "dpo of rankings": lambda p, f: dpo(p, config=DpoConfig(**FEW, loss="plackett-luce", lora_rank=2), name="new", flags=f),
    "kto": lambda p, f: kto(p, config=KtoConfig(**FEW), name="new", flags=f),
    "grpo": lambda p, f: grpo(p, config=GrpoConfig(**GROUPS, **ENDED, steps=2, group_size=3, rewards=REWARDS), name="new", flags=f),
    "rloo": lambda p, f: rloo(p, config=RlooConfig(**GROUPS, steps=1, group_size=3), name="new", flags=f),
    "reinforce": lambda p, f: reinforce(p, config=ReinforceConfig(**GROUPS, steps=1), name="new", flags=f),
    "raft": lambda p, f: raft(p, config=RaftConfig(**GROUPS, rounds=1, group_size=3, restart=True), name="new", flags=f),
    "ilql": lambda p, f: ilql(p, config=IlqlConfig(**FEW), name="new", flags=f),
    "star": lambda p, f: star(p, config=StarConfig(rounds=1, batch_size=8, attempts=2, max_tokens=6, restart=True), name="new", flags=f),
    "process": lambda p, f: process(p, config=ProcessConfig(**FEW), name="new", flags=f),
}
"""Every method that trains, for a step or two."""
REWARDS = "model, length=-0.01, repetition=-0.1, eos=0.1, similarity=0.1, min(reward+reward-2)=0.5, process(marks)=0.2"


@contextmanager
def computing_on(name: str) -> Iterator[None]:
    """A process of its own that computes there, as far as that can be had within this one."""
    before = dict(device._PROCESS)
    device._PROCESS.clear()
    try:
        with accelerator() if name == FAR else nullcontext():
            yield
    finally:
        device._PROCESS.clear()
        device._PROCESS.update(before)


@pytest.fixture(scope="module", autouse=True)
def one_kind_of_products() -> Iterator[None]:
    """Muon multiplies in float32 on both: the pretend accelerator has no bfloat16 of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        yield


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project with what every method learns from, and the models that they start from, all made on the CPU."""
    folder = tmp_path_factory.mktemp("devices")
    with computing_on("cpu"):
        project = labeled(with_sft_model(folder / "unlabeled"), folder / "ground", rankings())
        marks = [Span(f"{prompt.id}-0", 0, SENTENCES[0].index(" "), "Irrelevant", "ann") for prompt in PROMPTS]
        marks += [Span(f"{prompt.id}-1", 0, 0, "", "ann") for prompt in PROMPTS]
        (project.path / "annotations").mkdir()
        lines = [json.dumps(dataclasses.asdict(mark)) + "\n" for mark in marks]
        (project.path / "annotations" / "marks.jsonl").write_text("".join(lines))
        flags = RunFlags(dtype="float32")
        reward(project, config=RewardConfig(**FEW), flags=flags)
        reward(project, name="reward-2", config=RewardConfig(**FEW, seed=1), flags=flags)
        process(project, name="marks", config=ProcessConfig(**FEW), flags=flags)
        ilql(project, name="guided", config=IlqlConfig(**FEW, beta=4), flags=flags)
        problems(project, config=ProblemsConfig(count=40, solved=4, most=5, steps=1))
    return project


def on_each(project: Project, folder: Path, work: Callable[[Project, RunFlags], Any]) -> tuple[Any, Any, Project, Project]:
    """What a command returns on the CPU and on the pretend accelerator, with the projects it worked in."""
    found, projects = list[Any](), list[Project]()
    for name in ("cpu", FAR):
        copy = Project(Path(shutil.copytree(project.path, folder / name.replace(":", "-"))))
        with computing_on(name):
            found.append(work(copy, RunFlags(dtype="float32", device=name)))
        projects.append(copy)
    return found[0], found[1], projects[0], projects[1]


def agree(one: object, other: object, where: str = "") -> None:
    """Assert that nested metrics are the same up to rounding, but for what depends on the clock or the device."""
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            if not any(word in str(key) for word in ("seconds", "per_second", "peak_rss", "memory_plan")):
                agree(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        assert len(one) == len(other), where
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            agree(mine, theirs, f"{where}[{number}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1.5e-4, rel=1e-5, nan_ok=True), where  # printed to four digits
    else:
        assert one == other, where


def saved(model: Path) -> dict[str, torch.Tensor]:
    """The weights of a model's folder."""
    return {f"{file.name}.{name}": value for file in model.glob("*.safetensors") for name, value in load_file(file).items()}


def samples(run: Run) -> list[dict[str, Any]]:
    path = run.folder / "samples.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("method", TRAINING)
def test_a_method_learns_there_what_it_learns_on_the_cpu(method: str, ground: Project, tmp_path: Path) -> None:
    one, other, near, far = on_each(ground, tmp_path, TRAINING[method])
    assert metrics(one), "nothing was trained"
    agree(metrics(one), metrics(other))
    agree(samples(one), samples(other))
    agree(one.summary, other.summary)
    models = {path.name for path in (near.path / "models").iterdir()} - {path.name for path in (ground.path / "models").iterdir()}
    for name in models:
        mine, theirs = saved(near.model(name)), saved(far.model(name))
        assert mine.keys() == theirs.keys()
        assert all(torch.allclose(mine[key], theirs[key], atol=1e-4) for key in mine), name
    assert json.loads((other.folder / "config.json").read_text())["versions"]["device"] == FAR


@pytest.mark.parametrize("model", ["sft", "guided"])
def test_a_seed_draws_the_same_responses(model: str, ground: Project, tmp_path: Path) -> None:
    config = SampleConfig(k=4, max_tokens=24, top_k=40, top_p=0.95, repetition_penalty=1.2)
    one, other, *projects = on_each(ground, tmp_path, lambda p, f: sample(p, model=model, name="new", config=config, flags=f))
    assert one.summary["responses"] > 10
    agree(one.summary, other.summary)
    said: list[dict[str, str]] = []
    for project in projects:
        with Store.open(project.store_url) as store:
            said.append({response.id: response.text for response in store.responses()})
    assert said[0] == said[1]


def test_a_run_that_stopped_on_the_cpu_goes_on_there(ground: Project, tmp_path: Path) -> None:
    """Weights, optimisers and the moving average come from the CPU's checkpoint; the run ends as one that was never stopped."""

    def stopped(project: Project, flags: RunFlags) -> Run:
        module = f"stopping_{project.path.name.replace('-', '_')}"  # a module is imported once
        (project.path / f"{module}.py").write_text(STOPS)
        config = PpoConfig(**{**PPO, "steps": 3}, rewards=f"model, {module}:stop")
        with pytest.raises(RunError, match="enough"):
            ppo(project, config=config, name="new", flags=RunFlags(dtype="float32", device="cpu"))
        (project.path / "go-on").touch()
        return ppo(project, config=config, name="new", flags=dataclasses.replace(flags, resume=True))

    one, other, near, far = on_each(ground, tmp_path, stopped)
    assert len(metrics(other)) == 3
    agree(*(renamed(run) for run in (one, other)))
    mine, theirs = saved(near.model("new")), saved(far.model("new"))
    assert all(torch.allclose(mine[key], theirs[key], atol=1e-4) for key in mine)


def renamed(run: Run) -> list[dict[str, Any]]:
    """A run's metrics, the reward of its own module under one name."""
    return [{re.sub(r"stopping_\w+", "stopping", key): value for key, value in row.items()} for row in metrics(run)]


STOPS = """
from pathlib import Path
calls = []

def stop(prompts, responses):
    calls.append(1)
    if len(calls) == 3 and not (Path(__file__).parent / "go-on").exists():
        raise RuntimeError("enough")
    return [0.0] * len(responses)
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small town of the built-in world with base, SFT model, reward model and rankings."""
    path = tmp_path_factory.mktemp("devices") / "town"
    with computing_on("cpu"):
        main(["init", str(path), "--world", *WORLD])
        project, flags = Project.open(path), RunFlags(dtype="float32")
        pretrain(
            project, config=PretrainConfig(**{**BODY, "vocab_size": 512, "context": 256}, tokens=30_000, batch_tokens=512), flags=flags
        )
        sft(project, config=SftConfig(epochs=2, lr=3e-3, ptx_tokens=0), flags=flags)
        sample(project, config=SampleConfig(k=3, prompts=30, held_out=20, max_tokens=12), flags=Compute("float32"))
        main(["label", str(path), "--by", "world"])
        reward(project, config=RewardConfig(**FEW), flags=flags)
    return project


def test_systems_are_evaluated_and_compared_there_as_on_the_cpu(town: Project, tmp_path: Path) -> None:
    few: dict[str, Any] = {"prompts": 24, "max_tokens": 16, "bootstrap": 50}

    def measured(project: Project, flags: RunFlags) -> list[Any]:
        evaluated = evaluate(project, policy=("sft",), config=EvaluateConfig(**few, best_of=2, draws=2), flags=flags)
        compared = compare(project, "base", "sft", by="reward", config=CompareConfig(**few), flags=flags)
        examined = examine(project, "reward", config=ExamineConfig(bootstrap=50, wrong=4, attributed=2, curve=1), flags=flags)
        return [evaluated, compared, examined.summary]

    one, other, *_ = on_each(town, tmp_path, measured)
    agree(one, other)


OTHERS = {
    "probe": ["base", "sft", "--prompts", 10, "--max-tokens", 8, "--bootstrap", 20, "--reward", "reward", "--dtype", "float32"],
    "solve": ["--model", "sft", "--max-tokens", 8, "--dtype", "float32"],
    "queue": ["--by", "uncertainty", "--reward", "reward", "--count", 5],
}
"""Commands that compute besides, with what they are asked."""


@pytest.mark.parametrize("command", OTHERS)
def test_other_commands_print_there_what_they_print_on_the_cpu(
    command: str, town: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(project: Project, flags: RunFlags) -> Any:
        if command == "solve":
            problems(project, config=ProblemsConfig(count=30, solved=4, most=5, steps=1))
        capsys.readouterr()
        main([command, str(project.path), *map(str, OTHERS[command]), "--device", flags.device, "--json"])
        return json.loads(capsys.readouterr().out)

    one, other, *_ = on_each(town, tmp_path, printed)
    assert one
    agree(one, other)


def far_model(name: str) -> Opened:
    opened = open_model(name)
    return Opened(opened.lm.to(FAR), opened.format, opened.digest)


def test_a_host_answers_there_as_on_the_cpu() -> None:
    """The chat page and `accord serve` answer through this host."""

    def answer(asked: ModelHost) -> str:
        return served(asked, lambda: whole(asked.stream("tiny-1", hello(), sampling=sampling(24), seed=3)))[0]

    expected = answer(host())
    assert expected
    with computing_on(FAR):
        assert answer(ModelHost(far_model, ["tiny-1"])) == expected


REQUESTS = [
    Request(tuple(row), Sampling(max_tokens=12, **how), seed, logprobs)
    for seed, (row, how, logprobs) in enumerate(
        zip(
            sequences([40, 5, 9, 33, 3], seed=4),
            [{}, {"temperature": 0.0}, {"repetition_penalty": 1.3}, {"top_p": 0.8, "top_k": 20}, {"min_p": 0.05}],
            [None, 3, None, 1, 0],
            strict=True,
        )
    )
]
"""Long and short prompts, every rule of sampling, with and without log-probabilities."""


def drawn_by(engine: BatchEngine) -> list[list[Any]]:
    """What the engine draws for all requests together, twice: the second time from prompts that it remembers."""
    tickets = [engine.submit(request) for request in REQUESTS]
    found: dict[int, list[Any]] = {ticket: [] for ticket in tickets}
    while engine.busy:
        for token in engine.step():
            found[token.ticket].append((token.token, token.finish, token.logprob, [list(pair) for pair in token.likeliest]))
    return list(found.values())


def test_the_batch_engine_draws_there_what_it_draws_on_the_cpu() -> None:
    near = BatchEngine(tiny_llama(), stop=[END], dtype=FP32, context=100)
    expected = [drawn_by(near), drawn_by(near)]
    with computing_on(FAR):
        far = BatchEngine(tiny_llama().to(FAR), stop=[END], dtype=FP32, context=100)
        agree([drawn_by(far), drawn_by(far)], expected)
        assert far.reused == near.reused > 0


def test_the_host_waits_once_in_sixteen_tokens() -> None:
    """Sampling looks rarely at which rows are done; a look costs a GPU more than a step does."""
    prompts, model, far = sequences([3, 5, 4]), tiny_llama(1), tiny_llama(1)
    expected, waits = [sampled(model, prompts, n=2, max_tokens=tokens) for tokens in (16, 64)], list[int]()
    with accelerator() as waited:
        far = far.to(FAR)
        for found in expected:
            before = waited.count
            assert same(sampled(far, prompts, n=2, max_tokens=found.tokens.shape[1]).tokens, found.tokens)
            waits.append(waited.count - before)
    assert expected[1].tokens.shape[1] == 64, "all rows ended early"
    assert waits[1] - waits[0] <= (64 - 16) / 16


def test_mixing_devices_fails_on_the_pretend_accelerator() -> None:
    """What the tests above rest on."""
    with accelerator():
        far = torch.ones(3).to(FAR)
        with pytest.raises(RuntimeError, match="same device"):
            far + torch.ones(3)
        assert (far + 1).device == torch.device(FAR)


@pytest.mark.parametrize("name", ["cuda:99", "toaster", "xpu"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_written(name: str, ground: Project) -> None:
    with computing_on("cpu"), pytest.raises(UsageError, match=f"{name}.*--device|--device.*{name}") as error:
        dpo(ground, name="nowhere", flags=RunFlags(device=name))
    assert "cpu" in error.value.hint
    assert not ground.run("nowhere").exists()


def test_the_environment_chooses_where_no_flag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with accelerator(), computing_on("cpu"):
        monkeypatch.setenv(device.ENVIRONMENT, FAR)
        assert str(device.pick_device()) == FAR
        assert str(device.choose_device("cpu")) == "cpu"
        assert str(device.choose_device()) == "cpu", "auto keeps what the process has chosen"
    with computing_on("cpu"):
        monkeypatch.setenv(device.ENVIRONMENT, "toaster")
        with pytest.raises(UsageError, match=device.ENVIRONMENT):
            device.pick_device()
