"""A project of the serve room: two language models and a reward model, none of which can be opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from shelved import pretend_model

from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.records import Message, Prompt
from accord.runtime.project import Project

OLD = [
    Prompt(f"p{i}", (Message("user", f"Which {word} bread is baked today?"),), use_case="qa")
    for i, word in enumerate(("rye", "dark", "wheat"))
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """ppo learned from the old prompts; ppo answers."""
    made = Project.create(tmp_path / "p", settings={"round": {"least": 3, "alpha": 0.2}})
    run = made.run("ppo")
    run.mkdir(parents=True)
    digest = write_snapshot(OLD, run / "prompts.jsonl")
    pretend_model(made, "sft")
    pretend_model(made, "ppo", data={"prompts": digest})
    pretend_model(made, "reward", "LlamaForSequenceClassification")
    with Store.open(made.store_url) as store:
        store.add(prompts=OLD)
    return made
