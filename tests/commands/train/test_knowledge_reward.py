"""The reward `knowledge` in a whole run: whose answers it takes, that they are drawn once, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_project import FLAGS, SMALL

from accord.commands.knowledge import JudgedSame, Paired, open_meaning, own_answers, questions_of
from accord.commands.models import load_model
from accord.commands.train.grpo import grpo
from accord.commands.train.rewards import knowledge
from accord.data.classifiers.project_set import DEFAULT
from accord.data.semantics import UNKNOWN
from accord.errors import InputError, RunError, UsageError
from accord.feedback.store import Store
from accord.records import Message, Prompt, Sampling
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import GrpoConfig

GROUPS: dict[str, Any] = {**SMALL, "group_size": 3, "steps": 2, "truncation": "terminate", "evaluate_every": 0, "knowledge_samples": 3}


def run(project: Project, rewards: str, name: str = "new", **settings: Any) -> Path:
    asked: dict[str, Any] = {**GROUPS, "rewards": rewards, **settings}
    return grpo(project, name=name, config=GrpoConfig(**asked), flags=FLAGS).folder


def test_it_is_drawn_once_from_the_starting_model_and_kept(project: Project) -> None:
    log = (run(project, "knowledge") / "log.txt").read_text()
    with Store.open(project.store_url) as store:
        asked = len(list(store.prompts(split="train")))
    assert f"sft answered {asked} of {asked} prompts 3 times each ({3 * asked} answers" in log
    assert "normalised short answers" in log
    again = (run(project, "knowledge", "again") / "log.txt").read_text()
    assert "(0 answers, 0 tokens drawn now" in again
    rows = [json.loads(line) for line in (project.run("new") / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= row["reward.knowledge"] <= 1 for row in rows)


def test_the_answers_are_those_that_the_model_gives(project: Project) -> None:
    model = load_model(project, "sft")
    with Store.open(project.store_url) as store:
        turns = [prompt.messages for prompt in store.prompts(split="train")]
    how: dict[str, Any] = {"n": 2, "sampling": Sampling(temperature=0.0, max_tokens=6), "seed": 0}
    own = own_answers(project, model, turns, dtype=torch.float32, **how)
    assert own.drawn == 2 * len(turns)
    assert all(one == other for one, other in own.answers), "greedy answers do not differ"
    assert all(each.logprob <= 0 for answers in own.answers for each in answers)
    file = next((project.path / "cache" / "knowledge").iterdir())
    file.write_text(file.read_text()[:-20])  # as a process leaves it that was killed while it wrote
    assert own_answers(project, model, turns, dtype=torch.float32, **how).answers == own.answers


def test_only_questions_are_rewarded() -> None:
    fact = Prompt("a", (Message("user", "Where is it?"),), "open_qa")
    task = Prompt("b", (Message("user", "Name three birds. Can you?"),), "brainstorm")
    plain, told = Prompt("c", (Message("user", "Where is it?"),)), Prompt("d", (Message("user", "Write a poem."),))
    assert questions_of([fact, task, plain], "open_qa") == [fact]
    assert questions_of([task, plain, told], "open_qa") == [plain]


def test_what_it_refuses(project: Project) -> None:
    with pytest.raises(UsageError, match="there is no meaning 'sense'"):
        run(project, "knowledge", knowledge_meaning="sense")
    with pytest.raises(UsageError, match="an episode has several turns"):
        run(project, "knowledge", environment="x:Y")


class Says:
    """A speaker that gives one answer."""

    name = "says"

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, list[str]()

    def answer(self, conversations: Any, *, n: int, sampling: Sampling, seed: int) -> list[list[str]]:
        self.asked += [turns[0].content for turns in conversations]
        return [[self.text] * n for _ in conversations]


def test_a_judge_puts_answers_together(project: Project) -> None:
    texts = ["On Hill Street.", "Hill Street it is.", "I do not know."]
    judge = Says("Yes, they do.")
    assert Paired("judged", JudgedSame(judge).same, DEFAULT.admits).groups([("Where?", texts)]) == [["0", "0", UNKNOWN]]
    assert "Hill Street it is." in judge.asked[0]
    assert Paired("judged", JudgedSame(Says("NO")).same, DEFAULT.admits).groups([("Where?", texts)]) == [["0", "1", UNKNOWN]]
    with pytest.raises(RunError, match="neither yes nor no"):
        JudgedSame(Says("Perhaps.")).same("Where?", "here", "there")
    assert open_meaning(project, "judge:sft", DEFAULT.admits).name == "judged by sft"


def test_a_project_without_questions_is_refused(project: Project) -> None:
    model, config = load_model(project, "sft"), GrpoConfig(**GROUPS)
    told = [Prompt("d", (Message("user", "Write a poem."),), "generation")]
    spoken = Run.start(project.run("none"), stage="grpo", config=config, inputs={}, resume=False, seed=0)
    with pytest.raises(InputError, match=r"no prompt asks for a fact.*there are: generation"):
        knowledge(project, spoken, told, model.name, config, torch.float32)
