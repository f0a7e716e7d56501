"""Whatever a stranger types or hands in: one line that says what, where and what to do, an exit code, and nothing changed."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from accord.commands.app import app, main
from accord.feedback.store import Store
from accord.runtime import packages
from accord.runtime.project import Project

WORLD = ["--documents", "60", "--prompts", "60", "--demonstrations", "24", "--users", "20"]
BODY = ["--hidden-size", "16", "--layers", "1", "--heads", "2", "--intermediate-size", "32"]
SMALL = [*BODY, "--context", "128", "--batch-tokens", "256", "--save-every", "1"]
PRETRAIN = [*SMALL, "--vocab-size", "400", "--tokens", "500"]
SFT = ["--epochs", "1", "--ptx-tokens", "0", "--max-tokens", "128"]
SAMPLE = ["--k", "2", "--prompts", "6", "--held-out", "2", "--max-tokens", "6"]
PPO = ["--steps", "1", "--batch-size", "4", "--minibatch-size", "4", "--epochs", "1", "--ptx-coef", "0", "--max-tokens", "4"]


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that says what went wrong; progress may stand before it."""
        lines = [line for line in self.err.splitlines() if line.startswith("accord: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0]
        assert "Traceback" not in self.err
        return lines[0]


class Typist:
    """Types commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: object) -> Said:
        self.capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *self.capsys.readouterr())


@pytest.fixture
def accord(capsys: pytest.CaptureFixture[str]) -> Iterator[Typist]:
    pipes = signal.getsignal(signal.SIGPIPE)
    yield Typist(capsys)
    signal.signal(signal.SIGPIPE, pipes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that went through every stage before PPO."""
    path = tmp_path_factory.mktemp("cli") / "town"
    for words in (["init", path, "--world", *WORLD], ["pretrain", path, *PRETRAIN], ["sft", path, *SFT], ["sample", path, *SAMPLE]):
        main([str(word) for word in words])
    main(["label", str(path), "--by", "world"])
    main(["reward", str(path), "--max-tokens", "128"])
    return path


@pytest.fixture
def town(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "town"))


def contents(project: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Every file by digest, and what the store holds; what is cached tells nothing of the project."""
    files = [path for path in sorted(project.rglob("*")) if path.is_file() and not path.name.startswith("feedback.db")]
    files = [path for path in files if path != project / "cache" / "paths.json"]
    with Store.open(Project(project).store_url) as store:
        return {str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}, store.counts()


@contextmanager
def unchanged(project: Path) -> Iterator[None]:
    before = contents(project)
    yield
    after = contents(project)
    assert {name for name in {**before[0], **after[0]} if before[0].get(name) != after[0].get(name)} == set()
    assert after[1] == before[1]


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A disk that is full as soon as a file has this many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["fly"], ["fly"]),
        (["ppo"], ["project"]),
        (["ppo", "TOWN", "--stepz", "3"], ["--stepz", "--steps"]),
        (["chat", "TOWN", "sft"], ["too many arguments, from 'sft' on", "--model sft", "accord chat --help"]),
        (["serve", "TOWN", "--places", "4"], ["--places is now called --slots"]),
        (["ppo", "TOWN", "--steps", "many"], ["--steps", "many"]),
        (["ppo", "TOWN", "--kl-estimator", "k4"], ["--kl-estimator", "k1"]),
        (["ppo", "TOWN", "--steps", "0"], ["steps is 0", "above 0"]),
        (["ppo", "TOWN", "--lr", "nan"], ["lr is nan"]),
        (["ppo", "TOWN", "--kl-coef", "-0.1"], ["kl_coef is -0.1"]),
        (["ppo", "TOWN", "--minibatch-size", "512", "--batch-size", "64"], ["512", "64"]),
        (["ppo", "TOWN", "--ema", "1"], ["ema"]),
        (["sft", "TOWN", "--lr", "-1"], ["lr is -1"]),
        (["sft", "TOWN", "--batch-size", "0"], ["batch_size is 0"]),
        (["sample", "TOWN", "--k", "1"], ["k is 1", "2 to 9"]),
        (["sample", "TOWN", "--k", "10"], ["k is 10", "2 to 9"]),
        (["sample", "TOWN", "--top-p", "1.5"], ["top_p is 1.5"]),
        (["sample", "TOWN", "--temperature", "-1"], ["temperature is -1"]),
        (["pretrain", "TOWN", "--hidden-size", "30", "--heads", "4"], ["30", "4"]),
        (["reward", "TOWN", "--name", "../reward"], ["../reward", "slashes"]),
        (["sft", "TOWN", "--name", "s", "--dtype", "float8"], ["float8", "bfloat16"]),
    ],
)
def test_bad_usage_is_exit_code_2(accord: Typist, trained: Path, words: list[str], parts: list[str]) -> None:
    with unchanged(trained):
        said = accord(*[str(trained) if word == "TOWN" else word for word in words])
    assert said.code == 2
    for part in parts:
        assert part in said.complaint


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("[ppo]\nstepz = 3", ["'stepz'", "steps"]),
        ("[sample]\nk = 12", ["k is 12"]),
        ("[ppoo]", ["ppoo", "ppo"]),
        ("[ppo\nlr = 1", ["line 1"]),
    ],
)
@pytest.mark.parametrize("command", ["config", "ppo", "sample"])
def test_a_wrong_accord_toml_stops_every_command(accord: Typist, tmp_path: Path, command: str, toml: str, parts: list[str]) -> None:
    (tmp_path / "accord.toml").write_text(toml)
    said = accord(command, tmp_path)
    assert said.code == 2
    for part in [str(tmp_path / "accord.toml"), *parts]:
        assert part in said.complaint
    assert [path.name for path in tmp_path.iterdir()] == ["accord.toml"]


@pytest.mark.parametrize("command", ["config", "pretrain", "sft", "sample", "label", "reward", "ppo", "evaluate", "report", "chat"])
def test_a_missing_project_says_how_to_make_one(accord: Typist, tmp_path: Path, command: str) -> None:
    said = accord(command, tmp_path / "none")
    assert said.code == 1
    assert f"accord init {tmp_path / 'none'}" in said.complaint
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["pretrain", "sft", "sample", "reward", "ppo"])
def test_an_empty_project_says_what_it_lacks_and_goes_on_once_it_has_it(accord: Typist, tmp_path: Path, command: str) -> None:
    assert accord("init", tmp_path / "p").code == 0
    with unchanged(tmp_path / "p"):
        assert accord(command, tmp_path / "p").code == 1


def test_a_stage_run_before_its_data_came_learns_from_the_data(accord: Typist, trained: Path, tmp_path: Path) -> None:
    project, base = tmp_path / "p", trained / "models" / "base"
    accord("init", project)
    assert "no demonstrations" in accord("sft", project, "--base", base, *SFT).complaint
    rows = [{"prompt": f"What is {i}?", "response": "A number.", "user": f"u{i}"} for i in range(9)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert accord("import", project, tmp_path / "d.jsonl").code == 0
    assert accord("sft", project, "--base", base, *SFT).code == 0


def test_init_touches_nothing_that_is_there(accord: Typist, town: Path) -> None:
    with unchanged(town):
        assert "is a project already" in accord("init", town, "--world", *WORLD).complaint


def broken(folder: Path, source: Path, how: str) -> Path:
    """A copy of a model folder with one thing wrong."""
    shutil.copytree(source, folder)
    weights = folder / "model.safetensors"
    match how:
        case "no tokenizer":
            for path in folder.glob("tokenizer*"):
                path.unlink()
        case "damaged tokenizer":
            (folder / "tokenizer.json").write_text("{")
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "no weights":
            weights.unlink()
        case _:
            (folder / "config.json").unlink()
    return folder


@pytest.mark.parametrize("how", ["no tokenizer", "damaged tokenizer", "cut weights", "no weights", "no config"])
def test_a_model_folder_that_cannot_be_used_is_named(accord: Typist, trained: Path, tmp_path: Path, how: str) -> None:
    for command, flag, model in (("sft", "--base", "base"), ("ppo", "--reward", "reward")):
        folder = broken(tmp_path / command, trained / "models" / model, how)
        with unchanged(trained), unchanged_folder(folder):
            said = accord(command, trained, flag, folder, "--name", "new", *(PPO if command == "ppo" else SFT))
        assert said.code == 1
        assert str(folder) in said.complaint
        assert said.complaint.endswith(")"), "no hint"


@contextmanager
def unchanged_folder(folder: Path) -> Iterator[None]:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    yield
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_that_is_not_there_is_answered_with_those_that_are(accord: Typist, trained: Path) -> None:
    with unchanged(trained):
        said = accord("sample", trained, "--model", "sftt", "--name", "new")
    assert said.code == 1
    assert "base, reward, sft" in said.complaint


def test_a_reward_model_with_another_tokenizer_scores_and_the_critic_starts_as_the_sft_model(accord: Typist, town: Path) -> None:
    assert accord("pretrain", town, *SMALL, "--tokens", 500, "--vocab-size", 350, "--name", "other").code == 0
    assert accord("sft", town, "--base", "other", "--name", "other-sft", *SFT).code == 0
    assert accord("reward", town, "--sft", "other-sft", "--name", "other-reward", "--max-tokens", 128).code == 0
    said = accord("ppo", town, "--reward", "other-reward", *PPO)
    assert said.code == 0, said.complaint
    assert "the critic starts as the SFT model with a new head" in (town / "runs" / "ppo" / "log.txt").read_text()
    lineage = json.loads((town / "models" / "ppo" / "lineage.json").read_text())
    assert set(lineage["parents"]) == {"sft", "other-reward"}


CORPORA = {
    "empty.txt": (b"", "the source is empty"),
    "blank.txt": (b" \n\n ", "blank.txt"),
    "noise.txt": (b"\xff\xfe\x00\x80", "UTF-8"),
    "none.txt": (None, "no such file"),
}


@pytest.mark.parametrize("name", CORPORA)
def test_an_empty_or_unreadable_corpus_is_named(accord: Typist, trained: Path, tmp_path: Path, name: str) -> None:
    content, part = CORPORA[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with unchanged(trained):
        said = accord("import", trained, tmp_path / name)
    assert said.code == 1
    assert name in said.complaint
    assert part in said.complaint


def test_prompts_longer_than_the_context_are_left_out_and_counted(accord: Typist, town: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"long story {i} " * 100, "user": f"teller {i}"} for i in range(8)]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert accord("import", town, tmp_path / "long.jsonl").code == 0
    for words in (["sample", town, "--k", 2, "--prompts", 0], ["ppo", town, *PPO]):
        said = accord(*words, "--name", "new", "--json")
        assert said.code == 0, said.err
        assert 1 <= json.loads(said.out)["prompts_left_out"] <= 8
        shutil.rmtree(town / "runs" / "new")
        shutil.rmtree(town / "models" / "new", ignore_errors=True)
    with Store.open(Project(town).store_url) as store:
        long = {prompt.id for prompt in store.prompts() if "long story" in prompt.messages[-1].content}
        assert len(long) == 8
        assert not [response for response in store.responses() if response.prompt_id in long]


def test_a_full_disk_leaves_what_was_there_and_training_goes_on_later(accord: Typist, town: Path) -> None:
    models = {path: path.read_bytes() for path in (town / "models").rglob("*") if path.is_file()}
    words = ["pretrain", town, *PRETRAIN, "--name", "second"]
    with files_no_larger_than(20_000):
        said = accord(*words)
    assert said.code == 1
    assert "the disk is full" in said.complaint
    assert "--resume" in said.complaint
    assert {path: path.read_bytes() for path in (town / "models").rglob("*") if path.is_file()} == models
    assert accord(*words, "--resume").code == 0
    assert (town / "models" / "second" / "model.safetensors").exists()


def test_a_full_disk_leaves_no_half_made_world(accord: Typist, tmp_path: Path) -> None:
    with files_no_larger_than(5_000):
        said = accord("init", tmp_path / "p", "--world", *WORLD)
    assert said.code == 1
    assert "the disk is full" in said.complaint
    assert not list(tmp_path.iterdir())


@pytest.fixture
def ctrl_c_heard() -> Iterator[None]:
    """A process that a shell started with & has Ctrl-C ignored; these tests press it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_heard")
def test_ctrl_c_ends_in_one_line_and_the_run_goes_on(accord: Typist, town: Path) -> None:
    words = ["pretrain", town, *SMALL, "--vocab-size", 400, "--tokens", 20_000, "--name", "long"]
    checkpoint = town / "runs" / "long" / "checkpoint" / "state.pt"

    def press() -> None:
        deadline = time.monotonic() + 60
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if checkpoint.exists():
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    said = accord(*words)
    assert said.code == 130
    assert "--resume" in said.complaint
    assert not (town / "models" / "long").exists()
    assert accord(*words, "--resume").code == 0


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(accord: Typist, trained: Path) -> None:
    with unchanged(trained):
        again = accord("sft", trained, *SFT)
        assert (again.code, "--resume" in again.complaint) == (1, True)
        other = accord("sft", trained, *SFT, "--resume", "--lr", 0.5)
    assert other.code == 1
    assert "config.lr was 0.015, is 0.5" in other.complaint


def test_the_same_prompts_can_be_sampled_again_in_another_way(accord: Typist, town: Path) -> None:
    before = contents(town)[1]["responses"]
    assert accord("sample", town, *SAMPLE, "--name", "warmer", "--temperature", 1.5).code == 0
    assert contents(town)[1]["responses"] > before


def settings(*words: object) -> Any:
    _, bound, _ = app.parse_args([str(word) for word in words], exit_on_error=False, print_error=False)
    return bound.arguments["config"]


TOML = """
[project]
seed = 7
[ppo]
steps = 3
lr = 1
kl_coef = 0.125
whiten_rewards = true
whiten_advantages = false
truncation = "mask"
[reward]
held_out_group = "caring ones"
seed = 8
"""


def test_accord_toml_goes_before_defaults_and_flags_before_both(tmp_path: Path) -> None:
    (tmp_path / "accord.toml").write_text(TOML)
    ppo = settings("ppo", tmp_path)
    assert (ppo.steps, ppo.lr, ppo.kl_coef, ppo.truncation) == (3, 1.0, 0.125, "mask")
    assert (ppo.whiten_rewards, ppo.whiten_advantages) == (True, False)
    flags = ["--steps", 5, "--no-whiten-rewards", "--whiten-advantages", "--truncation", "bootstrap"]
    flagged = settings("ppo", tmp_path, *flags)
    assert (flagged.steps, flagged.truncation, flagged.whiten_rewards, flagged.whiten_advantages) == (5, "bootstrap", False, True)
    assert flagged.kl_coef == 0.125
    assert settings("reward", "--project", tmp_path).held_out_group == "caring ones"


def test_the_projects_seed_is_every_stages_unless_it_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "accord.toml").write_text(TOML)
    assert {
        command: settings(command, tmp_path).seed for command in ("pretrain", "sft", "sample", "label", "ppo", "evaluate")
    } == dict.fromkeys(("pretrain", "sft", "sample", "label", "ppo", "evaluate"), 7)
    assert settings("reward", tmp_path).seed == 8
    assert settings("reward", tmp_path, "--seed", 9).seed == 9


def test_config_prints_what_is_in_force(accord: Typist, tmp_path: Path) -> None:
    (tmp_path / "accord.toml").write_text(TOML)
    force = json.loads(accord("config", tmp_path, "--json").out)
    assert (force["ppo"]["steps"], force["ppo"]["lam"]) == (3, 0.95)


def test_json_is_one_object_on_standard_output(accord: Typist, town: Path) -> None:
    said = accord("sample", town, *SAMPLE, "--name", "third", "--seed", 3, "--json")
    assert json.loads(said.out)["prompts"] == 8


WITHOUT = """
import sys

from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in names else super().find_spec(name, path, target)

names = sys.argv[1].split()
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from accord.commands import COMMANDS
from accord.commands.app import main
failed = []
for command in COMMANDS:
    try:
        main([command.name, "--help"])
    except SystemExit as end:
        if end.code:
            failed.append(command.name)
print("failed", *failed)
"""


def _helped(absent: Iterable[str]) -> tuple[str, list[str]]:
    """Ask for the help of every command where these packages are absent: the commands that failed, and what they said."""
    done = subprocess.run([sys.executable, "-c", WITHOUT, " ".join(absent)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1], done.stderr.splitlines()


def test_every_command_opens_without_what_extras_bring() -> None:
    assert _helped({*packages.BROUGHT_BY, *packages.APART}) == ("failed", [])


def test_a_package_that_is_missing_is_named_with_the_command_that_brings_it() -> None:
    """An incomplete installation: each command that needs one of its packages says so in a line, and no other command fails."""
    failed, complaints = _helped(["starlette", "peft", "matplotlib", "pyarrow"])
    assert {"label", "chat", "serve"} <= set(failed.split()) <= {"failed", "label", "chat", "serve", "open"}
    named = {f"accord: {name}: the package starlette is not installed (pip install accord-rlhf)" for name in failed.split()[1:]}
    assert set(complaints) == named
