"""`accord sample`: what it stores, that the same command stores it once, and projects that it cannot sample for."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_project import CLOCK, PROMPTS, copied

from accord.commands.app import Compute, main
from accord.commands.models import load_model
from accord.commands.train.sample import sample
from accord.errors import InputError, ModelError, RunError
from accord.feedback.store import Store
from accord.records import Message, Response
from accord.runtime.project import Project
from accord.settings import SampleConfig

FLOAT32 = Compute(dtype="float32")
CONFIG = SampleConfig(k=3, prompts=4, held_out=1, max_tokens=6, temperature=3.0)


def new_responses(project: Project) -> list[Response]:
    """The stored responses that were sampled here; those of the fixture have no tokens."""
    with Store.open(project.store_url) as store:
        return [response for response in store.responses() if response.tokens]


def test_it_stores_different_responses_to_training_and_validation_prompts(project: Project) -> None:
    run = sample(project, config=CONFIG, flags=FLOAT32)
    stored, chat = new_responses(project), load_model(project, "sft").format
    assert run.summary.keys() == CLOCK | {"responses", "drawn", "finished", "cut", "prompts", "prompts_left_out", "tokens_per_second"}
    assert (run.summary["prompts"], run.summary["drawn"], run.summary["responses"]) == (5, 15, len(stored))
    splits = {prompt.id: prompt.split for prompt in PROMPTS}
    assert sorted(splits[id] for id in {response.prompt_id for response in stored}) == ["train"] * 4 + ["validation"]
    assert len({(response.prompt_id, response.text) for response in stored}) == len(stored), "two that read alike cannot be ranked"
    for response in stored:
        assert 0 < len(response.tokens) <= 6
        assert (response.model, response.text) == ("sft", chat.text(response.tokens))
        assert response.finished == (response.tokens[-1] in chat.stop)
    rows = [json.loads(line) for line in (run.folder / "samples.jsonl").read_text().splitlines()]
    assert [len(row["responses"]) for row in rows] == [3] * 5
    assert {row["prompt"] for row in rows} == {p.messages[-1].content for p in PROMPTS if p.id in {r.prompt_id for r in stored}}


def test_without_a_length_it_is_the_models_own_and_what_was_cut_is_said(
    unlabeled: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = copied(unlabeled, tmp_path / "p")
    folder = project.model("sft") / "config.json"
    folder.write_text(json.dumps(json.loads(folder.read_text()) | {"max_position_embeddings": 64}))
    run = sample(project, config=SampleConfig(k=2, temperature=3.0), flags=FLOAT32)
    assert json.loads((run.folder / "config.json").read_text())["config"]["max_tokens"] == 32
    cut = [response for response in new_responses(project) if not response.finished]
    assert {len(response.tokens) for response in cut} <= {32}
    assert run.summary["cut"] >= len(cut) > 0
    assert f"{run.summary['cut']} of {run.summary['drawn']} responses were cut at 32 tokens" in capsys.readouterr().err


def test_the_seed_decides_what_is_sampled(unlabeled: Project, tmp_path: Path) -> None:
    found: list[set[tuple[str, str]]] = []
    for number, seed in enumerate((1, 1, 2)):
        project = copied(unlabeled, tmp_path / str(number))
        sample(project, config=SampleConfig(seed=seed, k=3, max_tokens=6, temperature=3.0), flags=FLOAT32)
        found.append({(response.id, response.text) for response in new_responses(project)})
    assert found[0] == found[1]
    assert not found[0] & found[2]


class Stopped(Exception):
    """Stands for a kill."""


class StopsAt:
    """Python's trace function, which raises at the n-th call of a function: a kill between two batches."""

    def __init__(self, name: str, call: int) -> None:
        self.name, self.left = name, call

    def __call__(self, frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_name == self.name and "sample" in frame.f_code.co_filename:
            self.left -= 1
            if self.left == 0:
                raise Stopped


def test_a_stopped_command_goes_on_where_it_stopped(unlabeled: Project, tmp_path: Path) -> None:
    config = SampleConfig(k=2, max_tokens=6, temperature=3.0, batch_size=2)
    whole, broken = copied(unlabeled, tmp_path / "whole"), copied(unlabeled, tmp_path / "broken")
    expected = sample(whole, config=config, flags=FLOAT32).summary
    sys.settrace(StopsAt("_sums", 3))
    with pytest.raises(Stopped):
        sample(broken, config=config, flags=FLOAT32)
    sys.settrace(None)
    assert 0 < len(new_responses(broken)) < len(new_responses(whole)), "what was sampled is stored"
    stored = {response.id for response in new_responses(broken)}
    run = sample(broken, config=config, flags=FLOAT32)
    assert new_responses(broken) == new_responses(whole)
    timed = CLOCK | {"tokens_per_second"}
    assert {key: value for key, value in run.summary.items() if key not in timed} == {
        key: value for key, value in expected.items() if key not in timed
    }
    assert (run.folder / "samples.jsonl").read_text() == (whole.run("sample") / "samples.jsonl").read_text()
    assert stored <= {response.id for response in new_responses(whole)}
    assert "resumed after step 2" in (run.folder / "log.txt").read_text()


def test_the_summary_and_the_doctor_say_how_many_were_cut(project: Project, typed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    summary = typed("sample", project.path, "--k", 2, "--max-tokens", 1, "--dtype", "float32")
    drawn, chat = new_responses(project), load_model(project, "sft").format
    assert summary["finished"] <= 0.2
    assert not any(response.finished for response in drawn if response.tokens[-1] not in chat.stop)
    with pytest.raises(SystemExit):
        main(["doctor", str(project.path), "sample"])
    out = capsys.readouterr().out
    assert "were cut at 1 tokens" in out
    assert "Raise max_tokens" in out


def test_a_prompt_that_does_not_fit_the_context_is_left_out_and_counted(project: Project) -> None:
    long = replace(PROMPTS[0], id="long", user="long", messages=(Message("user", "Where is bread? " * 400),))
    with Store.open(project.store_url) as store:
        store.add_prompts([long])
    summary = sample(project, config=replace(CONFIG, prompts=0), flags=FLOAT32).summary
    assert summary["prompts_left_out"] == 1
    assert "long" not in {response.prompt_id for response in new_responses(project)}


def test_the_same_command_again_stores_nothing_more(project: Project, typed: Any) -> None:
    words = ["sample", project.path, "--k", 2, "--prompts", 3, "--held-out", 0, "--max-tokens", 6, "--dtype", "float32"]
    summary, stored = typed(*words), new_responses(project)
    assert typed(*words) == summary
    assert new_responses(project) == stored
    with pytest.raises(RunError, match=r"config.k was 2, is 3"):
        sample(project, config=SampleConfig(k=3, prompts=3, held_out=0, max_tokens=6))


def test_a_project_without_prompts_is_refused(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    with pytest.raises(InputError, match="no prompts"):
        sample(project)
    assert not project.run("sample").exists()


def test_a_model_that_is_missing_leaves_no_run(project: Project) -> None:
    with pytest.raises(ModelError, match="no such model"):
        sample(project, model="nobody")
    assert not project.run("sample").exists()
