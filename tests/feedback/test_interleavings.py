"""Commands in any order, some of them at once, against a model of the store: read through SQL alone after each step."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from feedback.conftest import empty
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from witness import rows

from accord.commands.data.forget import forget
from accord.commands.data.import_ import import_
from accord.commands.data.undo import undo
from accord.errors import RunError, StoreError
from accord.feedback import answers, deployments, queue, tasks
from accord.feedback.store import Store
from accord.records import Guideline, Labeler, Message, Prompt, Response
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import SftConfig

FILES, PEOPLE, MODELS, QUESTIONS = range(4), ("ann", "bob", "eve"), ("sft", "ppo", "dpo"), 5
GUIDELINE = Guideline("training", "v1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILE, WHO, MODEL = st.sampled_from(FILES), st.sampled_from(PEOPLE), st.sampled_from(MODELS)
Step = Callable[[], object]


def canary(file: int, row: int) -> str:
    """Words of a file's own user that stand nowhere else."""
    return f"canary-{file}-{row} sings at the mill"


@dataclass
class Model:
    """What should be there."""

    standing: dict[int, int] = field(default_factory=dict[int, int])
    """The file of each import that stands, by its number."""
    undone: set[int] = field(default_factory=set[int])
    forgotten: set[str] = field(default_factory=set[str])
    said: dict[str, tuple[str, str, str]] = field(default_factory=dict[str, tuple[str, str, str]])
    """Labeler, task and payload of each acknowledged answer, by its id."""
    queued: set[int] = field(default_factory=set[int])
    deployed: list[str] = field(default_factory=list[str])
    trained: int = 0


def train(folder: str, started: Any, told: Any) -> None:
    """Start a training under a name that another process wants too."""
    started.wait(60)
    try:
        Run.start(Path(folder), stage="sft", config=SftConfig(), inputs={"a": "b"}, resume=False)
        told.put("mine")
        started.wait(60)  # both live until both have asked
    except RunError as error:
        told.put(str(error))
        started.wait(60)


class Orders(RuleBasedStateMachine):
    """A project, and beside it what should be there."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__()
        self.url, self.folder = url, folder

    @initialize()
    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        with Store.open(self.url) as store:
            empty(store)
            store.add_labelers(Labeler(name, "person") for name in PEOPLE)
        self.project = Project.create(self.folder / "p", settings={"store": {"url": self.url}})
        self.model, self.turn = Model(), threading.Lock()
        for file in FILES:
            lines = [{"prompt": f"{canary(file, n)}?", "response": f"Reply {file}-{n}.", "user": f"user-{file}"} for n in range(3)]
            lines.append({"prompt": "Who keeps the mill?", "response": f"Reply {file}-3."})
            (self.folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    # --- what may happen ---

    def imported(self, file: int) -> None:
        number = import_(self.project.path, self.folder / f"{file}.jsonl", quiet=True)["import"]
        with self.turn:
            assert number not in self.model.standing, "two imports of one number"
            self.model.standing[number] = file

    def answered(self, who: str) -> None:
        with Store.open(self.url) as store:
            leased = tasks.next_task(store, who, now=NOW, lease_seconds=600)
            if leased is None:
                return
            ranks = {id: place for place, id in enumerate(leased.order, 1)}
            payload = {"ranks": ranks, "ratings": {id: {"quality": 8 - place} for id, place in ranks.items()}}
            frame: dict[str, Any] = {"key": f"{who}-{leased.task.id}", "revision": leased.revision, "seconds": 1.0, "now": NOW}
            for _ in range(2):  # as a page does whose line was cut
                saved = answers.submit(store, who, leased.task.id, payload, guideline=GUIDELINE, **frame)
        with self.turn:
            self.model.said[saved.id] = (who, leased.task.id, json.dumps(payload, sort_keys=True))

    def switched(self, to: str) -> None:
        with Store.open(self.url) as store, self.turn:
            deployments.deploy(store, to, "d" * 12, by="tests", now=NOW)
            self.model.deployed.append(to)

    def queued(self, number: int) -> None:
        prompt = Prompt(f"q{number}", (Message("user", f"Question {number}?"),))
        shown = [Response(f"q{number}-{n}", prompt.id, f"Response {n}.", "m") for n in range(2)]
        with Store.open(self.url) as store:
            store.add(prompts=[prompt], responses=shown)
            queue.add(store, queue.from_responses({prompt.id: prompt}, shown, overlap=2))
        with self.turn:
            self.model.queued.add(number)

    @rule(file=FILE)
    def import_one(self, file: int) -> None:
        if f"user-{file}" in self.model.forgotten:
            return  # what comes back then is the business of tests/feedback/test_forgetting.py
        self.imported(file)

    @precondition(lambda self: self.model.standing)
    @rule(which=st.integers(0, 100))
    def take_back(self, which: int) -> None:
        number = sorted(self.model.standing)[which % len(self.model.standing)]
        undo(self.project.path, number)
        del self.model.standing[number]
        self.model.undone.add(number)
        with pytest.raises(StoreError, match="was taken back"):
            undo(self.project.path, number)

    @rule(who=WHO)
    def answer(self, who: str) -> None:
        if who not in self.model.forgotten:
            self.answered(who)

    @rule(number=st.integers(0, QUESTIONS - 1))
    def queue_one(self, number: int) -> None:
        self.queued(number)

    @rule(to=MODEL)
    def switch(self, to: str) -> None:
        self.switched(to)

    @rule(file=FILE)
    def forget_a_user(self, file: int) -> None:
        who = f"user-{file}"
        known = file in self.model.standing.values() or any(
            f"canary-{file}-" in text for (text,) in rows(self.url, "SELECT messages FROM prompts")
        )
        if not known:
            with pytest.raises(StoreError, match="has no user"):
                forget(self.project.path, user=who)
            return
        forget(self.project.path, user=who)
        self.model.forgotten.add(who)

    @rule(who=WHO)
    def forget_a_labeler(self, who: str) -> None:
        forget(self.project.path, user=who)
        self.model.forgotten.add(who)
        self.model.said = {id: said for id, said in self.model.said.items() if said[0] != who}

    @rule(file=FILE, who=WHO, to=MODEL, number=st.integers(0, QUESTIONS - 1), other=FILE)
    def at_once(self, file: int, who: str, to: str, number: int, other: int) -> None:
        """Import, label, queue, switch and forget in threads of their own; their order does not matter to the model."""
        steps: list[Step] = [lambda: self.switched(to), lambda: self.queued(number)]
        if f"user-{file}" not in self.model.forgotten:
            steps.append(lambda: self.imported(file))
        if who not in self.model.forgotten:
            steps.append(lambda: self.answered(who))
        # Whoever was forgotten is nobody who could be forgotten again.
        if other != file and other in self.model.standing.values() and f"user-{other}" not in self.model.forgotten:
            steps.append(lambda: forget(self.project.path, user=f"user-{other}"))
            self.model.forgotten.add(f"user-{other}")
        problems = list[BaseException]()

        def work(step: Step) -> None:
            try:
                step()
            except BaseException as problem:  # told in the test's own thread
                problems.append(problem)

        threads = [threading.Thread(target=work, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not problems, problems

    @precondition(lambda self: self.model.trained < 1)
    @rule()
    def two_trainings_of_one_name(self) -> None:
        several = multiprocessing.get_context("fork")
        started, told = several.Barrier(2), several.Queue()
        place = str(self.project.path / "runs" / f"r{self.model.trained}")
        both = [several.Process(target=train, args=(place, started, told), daemon=True) for _ in range(2)]
        for one in both:
            one.start()
        said = sorted(told.get(timeout=120) for _ in both)
        for one in both:
            one.join(120)
        self.model.trained += 1
        assert said.count("mine") == 1, said
        assert any("train" in words or "stands there" in words for words in said), said

    # --- what must hold ---

    @invariant()
    def what_is_learned_from_is_what_stands(self) -> None:
        gone = {id for (id,) in rows(self.url, "SELECT record_id FROM withdrawn WHERE kind = 'demonstration'")}
        found = sorted(text for id, text in rows(self.url, "SELECT id, text FROM demonstrations") if id not in gone and text)
        wanted = set[str]()
        for file in set(self.model.standing.values()):
            wanted |= {f"Reply {file}-{n}." for n in range(4) if n == 3 or f"user-{file}" not in self.model.forgotten}
        assert found == sorted(wanted)

    @invariant()
    def no_answer_is_lost_doubled_or_changed(self) -> None:
        found = {
            id: (labeler, task, json.dumps(json.loads(payload), sort_keys=True))
            for id, labeler, task, payload in rows(self.url, "SELECT id, labeler, task_id, payload FROM answers")
            if labeler not in self.model.forgotten
        }
        wanted = {id: said for id, said in self.model.said.items() if said[0] not in self.model.forgotten}
        assert {id: said[:2] for id, said in found.items()} == {id: said[:2] for id, said in wanted.items()}
        for id, said in wanted.items():
            kept = json.loads(found[id][2])
            assert {name: kept[name] for name in ("ranks",)} == {"ranks": json.loads(said[2])["ranks"]}
        recorded = {id for (id,) in rows(self.url, "SELECT id FROM rankings")}
        assert {f"k-{id}" for id in wanted} <= recorded, "each is learned from"

    @invariant()
    def the_queue_has_each_question_once(self) -> None:
        asked = sorted(prompt for (prompt,) in rows(self.url, "SELECT prompt_id FROM tasks"))
        assert asked == sorted(f"q{number}" for number in self.model.queued)
        taken = dict(rows(self.url, "SELECT task_id, COUNT(*) FROM answers GROUP BY task_id"))
        assert all(count <= 2 for count in taken.values()), "more answers than asked for"

    @invariant()
    def every_switch_is_kept_in_order(self) -> None:
        assert [model for (model,) in rows(self.url, "SELECT model FROM deployments ORDER BY number")] == self.model.deployed

    @invariant()
    def imports_are_listed_once(self) -> None:
        found = dict(rows(self.url, "SELECT number, undone FROM imports"))
        assert {number for number, undone in found.items() if not undone} == set(self.model.standing)
        assert {number for number, undone in found.items() if undone} == self.model.undone

    @invariant()
    def nothing_is_left_of_the_forgotten(self) -> None:
        texts = [
            str(row)
            for table, column in (
                ("prompts", "messages"),
                ("prompts", "extra"),
                ("answers", "payload"),
                ("audit", "why"),
                ("turns", "text"),
            )
            for row in rows(self.url, f"SELECT {column} FROM {table}")
        ]
        for who in self.model.forgotten - set(PEOPLE):
            assert not any(f"canary-{who.removeprefix('user-')}-" in text for text in texts), who


def interleaved(url: str, folder: Path, examples: int, steps: int) -> None:
    quiet: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    quiet |= {"phases": [Phase.generate]}  # making a failure smaller takes as long as hundreds of others
    run_state_machine_as_test(
        lambda: Orders(url, folder / "state"), settings=settings(max_examples=examples, stateful_step_count=steps, **quiet)
    )


def test_commands_in_any_order_leave_what_a_model_says(url: str, tmp_path: Path) -> None:
    interleaved(url, tmp_path, 3, 8)


@pytest.mark.slow
def test_many_more_orders(url: str, tmp_path: Path) -> None:
    interleaved(url, tmp_path, 150, 25)
