"""`accord dpo` and `accord kto` on a small project: what they leave, LoRA, resuming, and data that they cannot use."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny import SENTENCES, weights

from accord.commands.app import RunFlags, main
from accord.commands.train.dpo import dpo
from accord.commands.train.kto import kto
from accord.commands.train.pretrain import pretrain
from accord.commands.train.sft import sft
from accord.data.corpus import write_documents
from accord.data.tokenizers import load_tokenizer
from accord.errors import InputError
from accord.feedback.store import Store
from accord.models.folders import load_causal_lm
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Rating, Response
from accord.runtime.project import Project
from accord.settings import DpoConfig, KtoConfig, PretrainConfig, SftConfig

GUIDELINE = Guideline("training", "1")
BODY: dict[str, Any] = {"vocab_size": 300, "hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 24, "context": 128}
PROMPTS = [
    Prompt(f"p{i}", (Message("user", f"Where is bread number {i}?"),), user=f"u{i}", split="validation" if i > 6 else "train")
    for i in range(9)
]


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with an SFT model and responses that nobody has ranked."""
    project = Project.create(tmp_path_factory.mktemp("preferring") / "p")
    write_documents(project.path / "corpus" / "text.jsonl", [" ".join(SENTENCES[i % 6 :]) for i in range(60)])
    with Store.open(project.store_url) as store:
        store.add(
            labelers=[Labeler("ann", "person", "near"), Labeler("bob", "person", "far")],
            demonstrations=[Demonstration(f"d{i}", prompt, "At the market.", "ann") for i, prompt in enumerate(PROMPTS)],
            responses=[Response(f"{p.id}-{i}", p.id, text, "sft") for p in PROMPTS for i, text in enumerate(SENTENCES[:3])],
        )
    config = PretrainConfig(**BODY, tokens=600, batch_tokens=128, warmup_steps=2)
    pretrain(project, config=config, name="base", flags=RunFlags(dtype="float32"))
    sft(project, config=SftConfig(epochs=1, ptx_tokens=0), base="base", name="sft", flags=RunFlags(dtype="float32"))
    return project


def rankings(
    ranks: Sequence[int] = (1, 2, 3), qualities: Sequence[int] = (), prompts: Sequence[Prompt] = PROMPTS, labelers: str = "ann bob"
) -> list[Ranking]:
    return [
        Ranking(f"{who}-{p.id}", p.id, who, ids, tuple(ranks), GUIDELINE, "2025-01-01T00:00:00Z", tuple(map(Rating, ids, qualities)))
        for who in labelers.split()
        for p in prompts
        if (ids := tuple(f"{p.id}-{i}" for i in range(3)))
    ]


def labeled(unlabeled: Project, folder: Path, given: list[Ranking]) -> Project:
    project = Project(Path(shutil.copytree(unlabeled.path, folder)))
    with Store.open(project.store_url) as store:
        store.add_rankings(given)
    return project


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    pipes = signal.getsignal(signal.SIGPIPE)

    def words(*said: object) -> dict[str, Any]:
        capsys.readouterr()
        main([*map(str, said), "--json"])
        return json.loads(capsys.readouterr().out)

    yield words
    signal.signal(signal.SIGPIPE, pipes)


@pytest.mark.parametrize(("command", "data"), [("dpo", "rankings"), ("kto", "thumbs")])
@pytest.mark.parametrize("rank", [0, 2])
def test_a_command_leaves_a_model_that_opens_and_says_what_it_learned_from(
    command: str, data: str, rank: int, unlabeled: Project, tmp_path: Path, typed: Any
) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    summary = typed(command, project.path, "--held-out-group", "far", "--lora-rank", rank, "--lr", "0.01", "--warmup-steps", 1)
    assert {"validation_accuracy", "heldout_accuracy", "seconds"} <= summary.keys()
    if command == "dpo":
        assert summary["rankings"] == 7
    else:
        assert (summary["thumbs_up"], summary["thumbs_down"]) == (7, 7)
    tuned, before = load_causal_lm(project.model(command)), load_causal_lm(project.model("sft"))
    assert weights(tuned).keys() == weights(before).keys(), "adapters are merged"
    assert any(not bool((weights(tuned)[name] == value).all()) for name, value in weights(before).items())
    assert load_tokenizer(project.model(command)).chat_template == load_tokenizer(project.model("sft")).chat_template
    lineage = json.loads((project.model(command) / "lineage.json").read_text())
    assert list(lineage["parents"]) == ["sft"]
    assert list(lineage["data"]) == [data]
    assert (project.run(command) / f"{data}.jsonl").is_file()
    assert typed(command, project.path, "--resume", "--held-out-group", "far", "--lora-rank", rank, "--lr", "0.01", "--warmup-steps", 1)


def test_adapters_over_four_bits_are_flags_too(unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    summary = typed("dpo", project.path, "--lora-rank", 2, "--lora-bits", 4, "--recompute", "--lr", "0.01", "--warmup-steps", 1)
    assert summary["rankings"] == 14
    tuned, before = load_causal_lm(project.model("dpo")), load_causal_lm(project.model("sft"))
    assert {name: value.shape for name, value in weights(tuned).items()} == {name: value.shape for name, value in weights(before).items()}


@pytest.mark.parametrize("loss", ["robust", "ipo", "orpo", "simpo", "plackett-luce"])
def test_every_loss_is_a_flag(loss: str, unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    summary = typed("dpo", project.path, "--loss", loss, *(["--label-smoothing", 0.1] if loss == "robust" else []))
    assert summary["validation_loss"] is not None


def refused(project: Project, config: DpoConfig | KtoConfig) -> str:
    stage: Any = dpo_stage if isinstance(config, DpoConfig) else kto_stage
    with pytest.raises(InputError) as error:
        stage(project, config, sft_model="sft", name="new", resume=False, dtype="float32")
    assert not project.run("new").exists() or not any(project.run("new").iterdir())
    assert not project.model("new").exists()
    assert error.value.hint
    return error.value.what


@pytest.mark.parametrize(
    ("given", "config", "part"),
    [
        ([], DpoConfig(), "no rankings"),
        (rankings([1, 1, 1]), DpoConfig(), "none of the 18 rankings"),
        (rankings(prompts=PROMPTS[7:]), DpoConfig(), "none of the 4 rankings"),
        (rankings(labelers="bob"), DpoConfig(held_out_group="far"), "none of the 9 rankings"),
        ([], KtoConfig(), "nothing to make thumbs of"),
        (rankings([1, 1, 1]), KtoConfig(), "nothing to make thumbs of"),
        (rankings(), KtoConfig(thumbs="ratings"), "no ratings"),
        (rankings(qualities=[6, 7, 5]), KtoConfig(), "42 thumbs up and 0 down"),
        (rankings(prompts=PROMPTS[7:]), KtoConfig(), "0 thumbs up and 0 down"),
        (rankings(prompts=PROMPTS[:1], labelers="ann"), KtoConfig(), "on one prompt"),
        (rankings(), DpoConfig(max_tokens=6), "window of 6"),
        (rankings(), KtoConfig(max_tokens=6), "window of 6"),
    ],
)
def test_data_that_a_method_cannot_use_is_refused_before_training(
    given: list[Ranking], config: DpoConfig | KtoConfig, part: str, unlabeled: Project, tmp_path: Path
) -> None:
    assert part in refused(labeled(unlabeled, tmp_path / "p", given), config)


def test_ties_alone_are_data_where_ties_are_modelled(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings([1, 1, 1]))
    run = dpo(project, config=DpoConfig(ties="model"), sft="sft", name="new", flags=RunFlags(dtype="float32"))
    assert run.summary["rankings"] == 14


def test_ratings_outvote_ranks_in_kto(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings([1, 2, 3], [1, 4, 7]))
    run = kto(project, config=KtoConfig(), sft="sft", name="new", flags=RunFlags(dtype="float32"))
    thumbs = [json.loads(line) for line in (run.folder / "thumbs.jsonl").read_text().splitlines()]
    assert {(row["response"]["id"][-1], row["up"]) for row in thumbs} == {("0", False), ("2", True)}
