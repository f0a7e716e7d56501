"""The pipeline on either database: what stays, the papers, and a store that changes meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.commands.data import prompts as command
from accord.commands.data.prompts import prompts
from accord.errors import StoreError
from accord.feedback.provenance import papers
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response
from accord.runtime.project import Project
from accord.settings import PromptsConfig

TEXTS = ("How deep is the sea at the end of the harbour?", "How deep is the sea, at the end of the harbour", "Write a poem about rain.")


@pytest.fixture
def project(url: str, tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "p", settings={"store": {"url": url}})
    with Store.open(made.store_url) as store:
        store.add(
            prompts=[Prompt(f"p{n}", (Message("user", text),), user="ann", source="x") for n, text in enumerate(TEXTS)],
            responses=[Response("r", "p1", "Very.", "m")],
        )
    return made


def test_the_answered_one_of_two_stays_and_all_get_papers(project: Project) -> None:
    metrics = prompts(project)
    assert metrics["dropped"] == {"exact duplicate": 1}
    with Store.open(project.store_url) as store:
        assert [prompt.id for prompt in store.prompts()] == ["p1", "p2"]
        assert [(p.prompt_id, p.language, p.use_case) for p in papers(store)] == [
            ("p0", "en", "open_qa"),
            ("p1", "en", "open_qa"),
            ("p2", "en", "generation"),
        ]
    assert prompts(project, config=PromptsConfig(per_user=1))["dropped"] == {"exact duplicate": 1, "over the user's limit": 1}


def test_prompts_that_come_meanwhile_are_not_mistaken_for_others(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = command.curate

    def slow(*given: object, **named: object) -> object:
        done = inner(*given, **named)  # pyright: ignore[reportArgumentType]
        with Store.open(project.store_url) as store:
            store.add_prompts([Prompt("p00", (Message("user", "Late?"),))])
        return done

    monkeypatch.setattr(command, "curate", slow)
    with pytest.raises(StoreError, match="came or went"):
        prompts(project)
    with Store.open(project.store_url) as store:
        assert len(list(store.prompts())) == 4
