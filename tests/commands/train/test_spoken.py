"""Prompts that were spoken: a model learns from the transcript what it would learn from the same words typed, and says that it did."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from small_project import FLAGS, PROMPTS
from tiny import weights

from accord.commands.train.dpo import dpo
from accord.commands.train.sample import sample
from accord.commands.train.sft import sft
from accord.errors import InputError
from accord.feedback.store import Store
from accord.models.folders import load_causal_lm
from accord.records import Demonstration, Guideline, Labeler, MediaFile, Prompt, Ranking, Response, composed
from accord.runtime.project import Project
from accord.settings import DpoConfig, SampleConfig, SftConfig

FILES = [MediaFile("audio", "audio/wav", b"RIFF%04dWAVE" % number) for number in range(len(PROMPTS))]
ANSWERS = ["At the market.", "Bread."]
SETTINGS = SftConfig(epochs=1, ptx_tokens=0)


def told(project: Project, name: str, *, spoken: bool, silent: int = 0) -> Project:
    """Another project with the same base model, whose questions are recordings with their transcripts, or the same words typed."""
    made = Project.create(project.path.parent / name)
    (made.path / "models").rmdir() if (made.path / "models").exists() else None
    (made.path / "models").symlink_to(project.path / "models")
    prompts = list[Prompt]()
    for number, (prompt, file) in enumerate(zip(PROMPTS, FILES, strict=True)):
        words = prompt.messages[0].content
        parts = [file.named("" if number < silent else words)] if spoken else [words]
        prompts.append(replace(prompt, messages=(composed("user", parts),)))
    responses = [Response(f"{p.id}-{i}", p.id, text, "sft") for p in prompts for i, text in enumerate(ANSWERS)]
    ranked = [
        Ranking(f"r-{p.id}", p.id, "ann", (f"{p.id}-0", f"{p.id}-1"), (1, 2), Guideline("training", "1"), "2025-01-01T00:00:00Z")
        for p in prompts
    ]
    with Store.open(made.store_url) as store:
        store.add(
            media=FILES,
            labelers=[Labeler("ann", "person", "near")],
            demonstrations=[Demonstration(f"d-{p.id}", p, ANSWERS[0], "ann") for p in prompts],
            responses=responses,
            rankings=ranked,
        )
    return made


def test_a_transcript_trains_as_the_same_words_typed(project: Project) -> None:
    by_voice, by_hand = told(project, "voice", spoken=True), told(project, "hand", spoken=False)
    for method, config in ((sft, SETTINGS), (dpo, DpoConfig(epochs=1, batch_size=4))):
        of = {} if method is sft else {"sft": "sft"}
        heard = method(by_voice, name=f"{method.__name__}-voice", config=config, flags=FLAGS, **of)  # pyright: ignore[reportArgumentType]
        read = method(by_hand, name=f"{method.__name__}-hand", config=config, flags=FLAGS, **of)  # pyright: ignore[reportArgumentType]
        typed = weights(load_causal_lm(by_hand.model(f"{method.__name__}-hand")))
        for name, learned in weights(load_causal_lm(by_voice.model(f"{method.__name__}-voice"))).items():
            assert torch.equal(learned, typed[name])
        assert heard.summary["transcripts_read"] == len(PROMPTS)
        assert "transcripts_read" not in read.summary
        lineage = json.loads((by_voice.model(f"{method.__name__}-voice") / "lineage.json").read_text("utf-8"))
        assert lineage["metrics"]["transcripts_read"] == len(PROMPTS)
        (snapshot,) = heard.folder.glob("[dr]*.jsonl")
        assert PROMPTS[0].messages[0].content in snapshot.read_text("utf-8")  # the words that were learned stand in what lineage names


def test_sampling_reads_transcripts_and_says_how_many(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run = sample(told(project, "voice", spoken=True), config=SampleConfig(k=2, max_tokens=3))
    assert run.summary["transcripts_read"] == run.summary["prompts"]
    assert f"{run.summary['prompts']} recordings are read as their transcripts" in capsys.readouterr().err


def test_prompts_without_a_transcript_are_left_out_counted_and_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    made = told(project, "silent", spoken=True, silent=2)
    run = sft(made, name="partly", config=SETTINGS, flags=FLAGS)
    assert (run.summary["transcripts_read"], run.summary["transcripts_missing"], run.summary["rows_left_out"]) == (7, 2, 2)
    assert "2 recordings have no transcript: what asks them is left out. `accord transcribe` writes" in capsys.readouterr().err
    run = sample(made, config=SampleConfig(k=2, max_tokens=3))
    assert (run.summary["transcripts_read"], run.summary["prompts_left_out"]) == (7, 2)


def test_a_project_of_silent_recordings_is_refused_with_the_way_out(project: Project) -> None:
    made = told(project, "silent", spoken=True, silent=len(PROMPTS))
    for start in (lambda: sft(made, name="none", config=SETTINGS, flags=FLAGS), lambda: sample(made, config=SampleConfig(k=2))):
        with pytest.raises(InputError, match="without a transcript, and this model reads no sound") as refused:
            start()
        assert "accord transcribe" in str(refused.value.hint)
    assert not made.model("none").exists()
