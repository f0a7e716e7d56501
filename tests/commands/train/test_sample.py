"""`accord sample`: what it stores, that the same command stores it once, and projects that it cannot sample for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_project import CLOCK, PROMPTS, copied

from accord.commands.app import Compute
from accord.commands.models import load_model
from accord.commands.train.sample import sample
from accord.errors import InputError, ModelError, RunError
from accord.feedback.store import Store
from accord.records import Response
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
    assert run.summary.keys() == CLOCK | {"responses", "drawn", "prompts", "tokens_per_second"}
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


def test_the_seed_decides_what_is_sampled(unlabeled: Project, tmp_path: Path) -> None:
    found: list[set[tuple[str, str]]] = []
    for number, seed in enumerate((1, 1, 2)):
        project = copied(unlabeled, tmp_path / str(number))
        sample(project, config=SampleConfig(seed=seed, k=3, max_tokens=6, temperature=3.0), flags=FLOAT32)
        found.append({(response.id, response.text) for response in new_responses(project)})
    assert found[0] == found[1]
    assert not found[0] & found[2]


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
