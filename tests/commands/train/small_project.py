"""A project with an SFT model so small that a command trains on it in a second, and checks of what a training command leaves."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FP32, SENTENCES, sequences, weights

from accord.commands.app import RunFlags
from accord.commands.train.pretrain import pretrain
from accord.commands.train.sft import sft
from accord.data.corpus import write_documents
from accord.feedback.store import Store
from accord.models.folders import load_causal_lm
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.scalar import RewardModel
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Rating, Response
from accord.runtime.lineage import digest_folder
from accord.runtime.project import Project
from accord.settings import PretrainConfig, SftConfig

FLAGS = RunFlags(dtype="float32")
RESUME = RunFlags(dtype="float32", resume=True)
GUIDELINE = Guideline("training", "1")
BODY: dict[str, Any] = {"vocab_size": 300, "hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 24, "context": 1024}
PRETRAIN = PretrainConfig(**BODY, tokens=3000, batch_tokens=1024, warmup_steps=2)
SMALL: dict[str, Any] = {"batch_size": 6, "max_tokens": 6, "minibatch_size": 3, "lr": 1e-2, "warmup_steps": 1}
"""Settings of what learns from its own samples."""
SHORT = "def short(prompts, responses):\n    return [-float(len(response)) for response in responses]\n"
"""A Python reward; written into a project as town_short.py it is called town_short:short."""
CLOCK = {"seconds", "peak_rss_mb"}
"""Keys of a run's summary that every run has."""
PLANNED = CLOCK | {"memory_plan_mb"}
"""Those of a run whose memory was planned."""
WINDOW = {"window", "rows_left_out", "rows_cut"}
"""Keys that a run has which learns from written rows."""
ASKED = {"prompts", "prompts_left_out", "prompts_cut"}
"""Keys that a run has which learns from its own responses."""
SAMPLED = PLANNED | ASKED | {"reward", "kl_k1", "finished"}
"""Those of a run that learns from its own samples."""
HELD_OUT = {"held_out_reward", "held_out_win_rate", "held_out_best", "held_out_best_step"}
"""Those of a run's last evaluation on held-out prompts."""
EVALUATED = SAMPLED | HELD_OUT
"""Those of one that is evaluated on held-out prompts too."""
PROMPTS = [
    Prompt(f"p{i}", (Message("user", f"Where is bread number {i}?"),), user=f"u{i}", split="validation" if i > 6 else "train")
    for i in range(9)
]


def with_raw_text(folder: Path) -> Project:
    """Create a project that has nothing but raw text."""
    project = Project.create(folder)
    write_documents(project.path / "corpus" / "text.jsonl", [" ".join(SENTENCES[i % 6 :]) for i in range(60)])
    return project


def with_sft_model(folder: Path) -> Project:
    """Create a project with a base model, an SFT model, demonstrations, and responses that nobody has ranked."""
    project = with_raw_text(folder)
    with Store.open(project.store_url) as store:
        store.add(
            labelers=[Labeler("ann", "person", "near"), Labeler("bob", "person", "far")],
            demonstrations=[Demonstration(f"d{i}", prompt, "At the market.", "ann") for i, prompt in enumerate(PROMPTS)],
            responses=[Response(f"{p.id}-{i}", p.id, text, "sft") for p in PROMPTS for i, text in enumerate(SENTENCES[:3])],
        )
    pretrain(project, config=PRETRAIN, flags=FLAGS)
    sft(project, config=SftConfig(epochs=1, ptx_tokens=0), flags=FLAGS)
    return project


def copied(project: Project, folder: Path) -> Project:
    """Copy a project, for a test that changes it."""
    return Project(Path(shutil.copytree(project.path, folder)))


def rankings(
    ranks: Sequence[int] = (1, 2, 3), qualities: Sequence[int] = (), prompts: Sequence[Prompt] = PROMPTS, labelers: str = "ann bob"
) -> list[Ranking]:
    """Rank the three responses to each prompt alike, once per labeler."""
    made: list[Ranking] = []
    for labeler in labelers.split():
        for prompt in prompts:
            ids = tuple(f"{prompt.id}-{i}" for i in range(3))
            ratings = tuple(map(Rating, ids, qualities))
            made.append(
                Ranking(f"{labeler}-{prompt.id}", prompt.id, labeler, ids, tuple(ranks), GUIDELINE, "2025-01-01T00:00:00Z", ratings)
            )
    return made


def labeled(unlabeled: Project, folder: Path, given: list[Ranking]) -> Project:
    """Copy a project and store rankings in the copy."""
    project = copied(unlabeled, folder)
    with Store.open(project.store_url) as store:
        store.add_rankings(given)
    return project


def plain_model(folder: Path) -> tuple[Any, Any]:
    """Open a language model with plain transformers; return it and its tokenizer, once it is float32 and says what ours says."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert {value.dtype for value in plain.state_dict().values()} == {FP32}
    row = sequences([12], vocab=plain.config.vocab_size)[0]
    with torch.no_grad():
        theirs = plain(torch.tensor([row])).logits[0, :-1].log_softmax(-1).gather(1, torch.tensor(row)[1:, None])[:, 0]
        ours = logprobs(load_causal_lm(folder), pack([row]), dtype=FP32)[0]
    assert torch.allclose(ours, theirs, atol=1e-5)
    return plain, AutoTokenizer.from_pretrained(folder)


def plain_scores(folder: Path, rows: Sequence[list[int]]) -> list[float]:
    """Score token ids with plain transformers; return the scores, once they are ours but for the bias, which those heads have not."""
    from transformers import AutoModelForSequenceClassification

    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert {value.dtype for value in plain.state_dict().values()} == {FP32}
    bias = getattr(plain.config, "reward_bias", 0.0)
    with torch.no_grad():
        theirs = [plain(torch.tensor([row])).logits.item() + bias for row in rows]
    ours = RewardModel.load(folder, dtype=FP32).score([row[:-1] for row in rows], [row[-1:] for row in rows])
    assert ours.tolist() == pytest.approx(theirs, abs=1e-5)
    return theirs


def learned(project: Project, name: str, before: str = "sft") -> None:
    """Assert that a language model has the shapes of the one before it and other weights."""
    new, old = weights(load_causal_lm(project.model(name))), weights(load_causal_lm(project.model(before)))
    assert {key: value.shape for key, value in new.items()} == {key: value.shape for key, value in old.items()}, "adapters are merged"
    assert any(not torch.equal(new[key], value) for key, value in old.items())


def lineage_of(project: Project, name: str, *, run: str = "", parents: Collection[str], snapshots: Collection[str]) -> dict[str, Any]:
    """Return a model's lineage, once it names these parents and snapshots of its run, all by the digests that they have."""
    lineage = json.loads((project.model(name) / "lineage.json").read_text())
    assert lineage["parents"] == {parent: digest_folder(project.model(parent)) for parent in parents}
    files = {key: project.run(run or name) / f"{key}.jsonl" for key in snapshots}
    assert lineage["data"] == {key: hashlib.sha256(file.read_bytes()).hexdigest() for key, file in files.items()}
    return lineage


def written(project: Project, name: str) -> dict[Path, int]:
    """When each file of a run and its model was written: a finished run that is resumed writes none."""
    files = [*project.run(name).rglob("*"), *project.model(name).rglob("*")]
    return {file: file.stat().st_mtime_ns for file in files if file.is_file()}
