"""Many labelers lease, answer, let leases run out, correct and retract, in any order: what the queue promises holds after each step."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from feedback.conftest import empty
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from accord.feedback import answers, tasks
from accord.feedback.answers import Conflict, Refused
from accord.feedback.store import Store
from accord.records import Guideline, Labeler, Message, Prompt, Response

GUIDELINE = Guideline("training", "v1")
LEASE = 60
PEOPLE = ("ann", "bob", "eve")
WHO = st.sampled_from(PEOPLE)


def queue(n: int, overlap: int, k: int = 2) -> list[tasks.Task]:
    prompts = {f"p{i}": Prompt(f"p{i}", (Message("user", f"Question {i}?"),)) for i in range(n)}
    responses = [Response(f"r{i}{j}", f"p{i}", f"Answer {j}.", "m") for i in range(n) for j in range(k)]
    return list(tasks.from_responses(prompts, responses, overlap=overlap))


def ranked(leased: tasks.Leased, best: int = 0) -> dict[str, object]:
    ranks = {id: 1 + (n != best) for n, id in enumerate(leased.order)}
    return {"ranks": ranks, "ratings": {id: {"quality": 4} for id in leased.order}}


class Crowd(RuleBasedStateMachine):
    """A model of what should be there beside the store: who answered what, at which revision."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store, self.begun = store, False

    @initialize(n=st.integers(1, 4), overlap=st.integers(1, 3))
    def begin(self, n: int, overlap: int) -> None:
        empty(self.store)
        self.begun = True
        self.store.add_labelers(Labeler(name, "person") for name in PEOPLE)
        self.overlap, self.now, self.keys = overlap, datetime(2026, 1, 1, tzinfo=UTC), 0
        tasks.add(self.store, queue(n, overlap))
        self.hands: dict[str, tasks.Leased] = {}
        self.pages: dict[tuple[str, str], tasks.Leased] = {}
        self.saved: dict[tuple[str, str], answers.Saved] = {}
        self.skipped: set[tuple[str, str]] = set()
        self.retracted: set[tuple[str, str]] = set()
        self.swept: set[tuple[str, str]] = set()

    def submit(self, who: str, page: tasks.Leased, payload: dict[str, object], revision: int) -> answers.Saved:
        self.keys += 1
        rest = {"key": f"k{self.keys}", "seconds": 1.0, "guideline": GUIDELINE, "now": self.now}
        return answers.submit(self.store, who, page.task.id, payload, revision=revision, **rest)

    @rule(who=WHO)
    def ask(self, who: str) -> None:
        leased = tasks.next_task(self.store, who, now=self.now, lease_seconds=LEASE)
        # Whoever asks sweeps the leases that ran out back into the queue; until then they still count as taken.
        self.swept |= {(other, page.task.id) for other, page in self.hands.items() if page.expires <= self.now}
        if leased is None:
            assert who not in self.hands or self.hands[who].expires <= self.now
            return
        answered = {*self.saved, *self.skipped, *self.retracted}
        assert (who, leased.task.id) not in answered, "an item twice to one labeler"
        before = self.hands.get(who)
        if before and before.expires > self.now:
            assert before.task.id == leased.task.id, "two items in one labeler's hands"
        assert set(leased.order) == {response.id for response in leased.task.responses}
        self.swept.discard((who, leased.task.id))
        self.hands[who] = self.pages[who, leased.task.id] = leased

    @rule(seconds=st.sampled_from([1, LEASE // 2, LEASE + 1]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), skip=st.booleans())
    def answer(self, data: st.DataObject, skip: bool) -> None:
        who = data.draw(st.sampled_from(sorted(self.hands)))
        leased = self.hands.pop(who)
        others = [key for key in self.saved if key[1] == leased.task.id]
        held = [other for other, page in self.hands.items() if page.task.id == leased.task.id and (other, page.task.id) not in self.swept]
        full = len(others) + len(held) >= self.overlap
        if full and leased.expires <= self.now and not skip:
            with pytest.raises(Refused, match="ran out"):
                self.submit(who, leased, ranked(leased), 0)
            return
        saved = self.submit(who, leased, {"skip": "odd"} if skip else ranked(leased), 0)
        assert saved.revision == 1
        if skip:
            self.skipped.add((who, leased.task.id))
        else:
            self.saved[who, leased.task.id] = saved

    @precondition(lambda self: self.saved)
    @rule(data=st.data(), best=st.integers(0, 1))
    def correct(self, data: st.DataObject, best: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.saved)))
        old = self.saved[key]
        self.saved[key] = self.submit(key[0], self.pages[key], ranked(self.pages[key], best), old.revision)
        assert self.saved[key].revision == old.revision + 1
        with pytest.raises(Conflict, match="changed elsewhere"):
            self.submit(key[0], self.pages[key], ranked(self.pages[key]), old.revision)

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def retract(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.saved)))
        answers.retract(self.store, self.saved.pop(key).id, by="lead", why="test", now=self.now)
        self.retracted.add(key)

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted(self.hands)))
        leased = self.hands.pop(who)
        assert tasks.release(self.store, who, leased.task.id) or leased.expires <= self.now

    @invariant()
    def every_acknowledged_answer_is_there_and_no_other(self) -> None:
        if not self.begun:
            return
        found = {(a.labeler, a.task_id): answers.Saved(a.id, a.revision) for a in answers.every(self.store) if "skip" not in a.payload}
        assert found == self.saved
        assert Counter(r.labeler for r in self.store.rankings()) == Counter(who for who, _ in self.saved)

    @invariant()
    def no_item_is_over_its_overlap(self) -> None:
        if not self.begun:
            return
        live = {(who, page.task.id) for who, page in self.hands.items() if page.expires > self.now}
        count = Counter(task for _, task in {*live, *self.saved})
        assert all(n <= self.overlap for n in count.values()), count


def test_whatever_a_crowd_does_the_queue_keeps_its_promises(store: Store) -> None:
    run_state_machine_as_test(lambda: Crowd(store), settings=settings(max_examples=25, stateful_step_count=25, deadline=None))
