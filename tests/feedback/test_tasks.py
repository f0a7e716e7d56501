"""The queue: what goes in comes out, in order, mixed as asked, at a cost that does not grow with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, text

from accord.errors import StoreError
from accord.feedback import answers, tasks
from accord.feedback.answers import Refused
from accord.feedback.queue import digest
from accord.feedback.store import Store
from accord.feedback.tasks import EVERYBODY, Task
from accord.records import Guideline, Labeler, Message, Prompt, Response

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GUIDELINE = Guideline("training", "v1")
PROMPTS = [Prompt(f"p{i:03}", (Message("user", f"Question {i}?"),)) for i in range(40)]
RESPONSES = [Response(f"r{i:03}{j}", f"p{i:03}", f"Answer {j}.", "m") for i in range(40) for j in range(3)]
BY_ID = {prompt.id: prompt for prompt in PROMPTS}


def ranking_tasks(n: int = 40, **given: object) -> list[Task]:
    return [replace(task, **given) for task in list(tasks.from_responses(BY_ID, RESPONSES))[:n]]


@pytest.fixture
def people(store: Store) -> Store:
    store.add_labelers(Labeler(name, "person") for name in ("ann", "bob", "eve"))
    return store


def ask(store: Store, who: str = "ann", now: datetime = NOW, **options: object) -> tasks.Leased | None:
    return tasks.next_task(store, who, now=now, lease_seconds=60, **options)


def answer(store: Store, leased: tasks.Leased, who: str = "ann", now: datetime = NOW) -> answers.Saved:
    ranks = {id: n for n, id in enumerate(leased.order, 1)}
    payload = {"ranks": ranks, "ratings": {id: {"quality": 3} for id in ranks}}
    key = f"{leased.task.id}-{who}"
    return answers.submit(store, who, leased.task.id, payload, key=key, revision=leased.revision, seconds=9, guideline=GUIDELINE, now=now)


def work(store: Store, who: str = "ann", **options: object) -> list[Task]:
    """Everything that one labeler is given, answered in turn."""
    done = list[Task]()
    while leased := ask(store, who, NOW + timedelta(seconds=len(done)), **options):
        answer(store, leased, who, NOW + timedelta(seconds=len(done)))
        done.append(leased.task)
    return done


def test_tasks_come_as_they_were_queued_the_urgent_first(people: Store) -> None:
    given = ranking_tasks(4)
    given[2] = replace(given[2], priority=1.5)
    assert tasks.add(people, given) == 4
    assert tasks.add(people, reversed(given)) == 0
    assert tasks.left(people, "ann") == 4
    assert work(people) == [given[2], given[0], given[1], given[3]]
    assert tasks.left(people, "ann") == 0
    assert ask(people, "bob") is None, "the overlap is 1"


def test_the_same_id_with_another_content_is_refused_and_nothing_of_the_call_is_stored(people: Store) -> None:
    first, second, third = ranking_tasks(3)
    tasks.add(people, [first])
    with pytest.raises(StoreError, match=first.id):
        tasks.add(people, [second, replace(first, overlap=2)])
    with pytest.raises(StoreError, match=third.id):
        tasks.add(people, [third, replace(third, priority=3.0)])
    assert work(people) == [first]


@pytest.mark.parametrize(
    "wrong",
    [{"responses": ()}, {"overlap": 0}, {"priority": float("nan")}, {"kind": "fly"}, {"prompt": PROMPTS[1]}, {"kind": "compare"}],
    ids=str,
)
def test_a_task_that_nobody_could_do_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="task"):
        replace(ranking_tasks(1)[0], **wrong)


def test_every_labeler_gets_an_item_once_and_the_overlap_is_kept(people: Store) -> None:
    tasks.add(people, ranking_tasks(3, overlap=2))
    assert len(work(people, "ann")) == len(work(people, "bob")) == 3
    assert work(people, "eve") == []


def test_a_lease_that_runs_out_returns_and_what_comes_late_finds_the_place_taken(people: Store) -> None:
    tasks.add(people, ranking_tasks(1))
    late = ask(people, "ann")
    assert late
    assert ask(people, "bob") is None
    again = ask(people, "bob", NOW + timedelta(seconds=61))
    assert again
    assert again.task == late.task
    answer(people, again, "bob")
    with pytest.raises(Refused) as caught:
        answer(people, late, "ann")
    assert (caught.value.key, caught.value.status) == ("late", 410)
    assert [a.labeler for a in answers.every(people)] == ["bob"]


def test_what_comes_late_is_taken_where_there_is_room(people: Store) -> None:
    tasks.add(people, ranking_tasks(1))
    late = ask(people, "ann")
    assert late
    assert ask(people, "bob", NOW + timedelta(seconds=61)), "the lease ran out"
    assert tasks.release(people, "bob", late.task.id)
    answer(people, late, "ann", NOW + timedelta(seconds=62))
    assert ask(people, "bob", NOW + timedelta(seconds=63)) is None


def test_a_task_given_back_goes_to_the_next(people: Store) -> None:
    tasks.add(people, ranking_tasks(1))
    assert ask(people, "ann")
    id = ranking_tasks(1)[0].id
    assert tasks.release(people, "ann", id)
    assert not tasks.release(people, "ann", id)
    assert ask(people, "bob")


def test_gold_stands_between_work_and_never_after_its_end(people: Store) -> None:
    given = ranking_tasks(30)
    tasks.add(people, [*given[:20], *(replace(task, purpose="gold", overlap=EVERYBODY) for task in given[20:])])
    purposes = [task.purpose for task in work(people, "ann", gold_rate=0.3)]
    assert purposes.count("work") == 20
    assert 3 <= purposes.count("gold") <= 10
    assert purposes[-1] == "work"
    assert [task.purpose for task in work(people, "bob", gold_rate=1.0)] == [], "no work is left"
    assert all(r.prompt_id in {task.prompt.id for task in given[:20]} for r in people.rankings()), "gold answers teach nobody"


def test_repeats_show_earlier_items_again_and_count_for_nothing(people: Store) -> None:
    tasks.add(people, ranking_tasks(40))
    done = work(people, "ann", repeat_rate=0.3)
    repeats = [task for task in done if task.purpose == "repeat"]
    assert 5 <= len(repeats) <= 20
    assert len({task.repeats for task in repeats}) == len(repeats)
    known = {digest("repeat", "ann", task.repeats) for task in repeats}
    assert known.isdisjoint(task.id.removeprefix("t-") for task in repeats), "its labeler could tell a check by its address"
    assert all(done.index(task) - [d.id for d in done].index(task.repeats) >= 10 for task in repeats)
    assert sum(1 for _ in people.rankings()) == 40


def test_qualification_is_apart(people: Store) -> None:
    first, second = ranking_tasks(2)
    tasks.add(people, [first, replace(second, purpose="qualification", overlap=EVERYBODY)])
    assert [task.id for task in work(people, "ann", purpose="qualification")] == [second.id]
    assert [task.id for task in work(people, "bob")] == [first.id]


def test_reserved_tasks_go_to_their_labeler_alone(people: Store) -> None:
    mine, anybodys = ranking_tasks(2)
    tasks.add(people, [anybodys, replace(mine, reserved_for="bob")])
    assert [task.id for task in work(people, "ann")] == [anybodys.id]
    assert [task.id for task in work(people, "bob")] == [mine.id]


def test_kinds_are_chosen_by_the_most_urgent(people: Store) -> None:
    rank = ranking_tasks(1)[0]
    write = Task("write", "demonstrate", PROMPTS[5], priority=2.0)
    tasks.add(people, [rank, write])
    first = ask(people)
    assert first
    assert first.task == write
    only = ask(people, "bob", kinds=["rank"])
    assert only
    assert only.task == rank


def test_the_order_of_the_page_is_the_labelers_own_and_stays(people: Store) -> None:
    task = ranking_tasks(1, overlap=3)[0]
    tasks.add(people, [task])
    orders = {who: tasks.shown_order(7, who, task) for who in ("ann", "bob", "eve", *map(str, range(20)))}
    assert len(set(orders.values())) == 6, "23 labelers see all orders of three"
    leased = ask(people, seed=7)
    assert leased
    assert leased.order == orders["ann"]
    assert ask(people, seed=8) == leased, "a page that was shown keeps its order"
    assert answer(people, leased).revision == 1
    assert next(iter(answers.every(people))).shown == orders["ann"]


def test_nobody_unknown_is_given_a_task(people: Store) -> None:
    with pytest.raises(Refused, match="no such labeler"):
        ask(people, "nobody")


def test_the_next_task_costs_the_same_among_many(people: Store) -> None:
    """The queue is walked along its index: the statements are as many, and none of them scans or sorts."""
    sent = list[str]()
    event.listen(people.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    tasks.add(people, ranking_tasks(2))
    sent.clear()
    assert ask(people)
    few = len(sent)
    tasks.add(people, ranking_tasks(40)[2:])
    sent.clear()
    assert ask(people, "bob")
    assert len(sent) == few
    if people.database.is_sqlite:
        query = str(tasks._candidates("ann", "", "rank", "work").compile(people.engine, compile_kwargs={"literal_binds": True}))
        with people.read() as connection:
            plan = " / ".join(row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}")))
        assert "USING COVERING INDEX tasks_next" in plan
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


def test_a_lease_of_a_clock_that_was_ahead_returns_to_the_queue(people: Store) -> None:
    tasks.add(people, ranking_tasks(1))
    assert ask(people, "ann", NOW + timedelta(days=365)) is not None
    assert ask(people, "bob", NOW) is not None, "else the task were nobody's for a year"
