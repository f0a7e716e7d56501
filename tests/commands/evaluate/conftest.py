"""One small town with models that were really trained, for a few steps each: what the commands that measure are tried on."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evaluated import Answered, Typed

from accord.commands.app import Compute, RunFlags, main
from accord.commands.train.ppo import ppo
from accord.commands.train.pretrain import pretrain
from accord.commands.train.reward import reward
from accord.commands.train.sample import sample
from accord.commands.train.sft import sft
from accord.runtime.project import Project
from accord.settings import PpoConfig, PretrainConfig, RewardConfig, SampleConfig, SftConfig

WORLD = ["--documents", "400", "--prompts", "400", "--demonstrations", "120", "--users", "20"]
BODY: dict[str, Any] = {"vocab_size": 512, "hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 48, "context": 256}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base, sft, reward and ppo, with the policies of PPO's steps kept."""
    path = tmp_path_factory.mktemp("evaluating") / "town"
    main(["init", str(path), "--world", *WORLD])
    project, flags = Project.open(path), RunFlags(dtype="float32")
    pretrain(project, config=PretrainConfig(**BODY, tokens=30_000, batch_tokens=512, warmup_steps=5), flags=flags)
    sft(project, config=SftConfig(epochs=2, lr=3e-3, ptx_tokens=0), flags=flags)
    sample(project, config=SampleConfig(k=4, prompts=60, held_out=30, max_tokens=16), flags=Compute("float32"))
    main(["label", str(path), "--by", "world"])
    reward(project, config=RewardConfig(lr=1e-3, held_out_group="caring"), flags=flags)
    small = PpoConfig(steps=4, batch_size=16, minibatch_size=8, epochs=1, lr=1e-3, max_tokens=16, ptx_coef=0.0, save_every=4, keep_every=2)
    ppo(project, config=small, flags=flags)
    return path


@pytest.fixture
def town(trained: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    return Path(shutil.copytree(trained, tmp_path / "town"))


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    pipes = signal.getsignal(signal.SIGPIPE)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            return int(end.code or 0), *capsys.readouterr()
        return 0, *capsys.readouterr()

    yield run
    signal.signal(signal.SIGPIPE, pipes)


@pytest.fixture
def answered(typed: Typed) -> Answered:
    def run(*words: object) -> dict[str, Any]:
        code, out, err = typed(*words, "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    return run
