"""The queue page: a dry run says how many tasks would come, and queueing them is the command itself as a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accord.feedback import tasks
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response
from accord.runtime import jobs
from accord.runtime.project import Project
from accord.site.queue_pages import _words  # pyright: ignore[reportPrivateUsage]  # what the form asks for, without a process for each case

if TYPE_CHECKING:
    from visitors import Come

from accord.feedback.web.forms import Form


def form(**fields: str) -> Form:
    return Form({name: (value,) for name, value in fields.items()})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ["--kind", "rank"]),
        ({"kind": "; rm -rf /", "k": "9", "overlap": "1"}, ["--kind", "rank"]),
        ({"kind": "compare", "k": "4", "overlap": "2"}, ["--kind", "compare", "--k", "4", "--overlap", "2"]),
        ({"count": "10", "by": "random"}, ["--kind", "rank", "--count", "10", "--by", "random"]),
        ({"flags": "yes", "ratings": "yes", "again": "yes"}, ["--kind", "rank", "--without", "flags", "--without", "ratings", "--again"]),
        ({"kind": "demonstrate", "flags": "yes", "cut_off": "leave_out"}, ["--kind", "demonstrate"]),
        ({"cut_off": "leave_out"}, ["--kind", "rank", "--cut-off", "leave_out"]),
        ({"kind": "compare", "cut_off": "--dry-run"}, ["--kind", "compare"]),
    ],
)
def test_a_form_becomes_the_commands_flags(fields: dict[str, str], words: list[str]) -> None:
    assert _words(form(**fields)) == words


def test_a_lead_counts_then_queues_and_others_may_not(project: Project, store: Store, come: Come) -> None:
    store.add_prompts([Prompt("p1", (Message("user", "Which?"),))])
    store.add_responses([Response(f"r{n}", "p1", f"text {n}", "m") for n in range(4)])
    lead = come("lead")
    assert 'href="/lead/queue"' in lead.get("/lead/people").text, "the way to it"
    sent = {"kind": "rank", "k": "4", "action": "preview", "once": "a"}
    lead.post("/lead/queue", **sent)
    job = jobs.wait(jobs.read(project, 1), 60)
    assert job.arguments == ("queue", "--kind", "rank", "--k", "4", "--dry-run"), job.error()
    page = lead.get("/lead/queue?job=1").text
    assert "1 new tasks would come, of 1 in all." in page, job.error()
    assert "accord queue" in page
    assert not tasks.left(store, "")
    lead.post("/lead/queue", **(sent | {"action": "queue", "once": "b"}))
    jobs.wait(jobs.read(project, 2), 60)
    assert "1 new tasks are queued" in lead.get("/lead/queue?job=2").text
    assert tasks.left(store, "") == 1
    assert [come(role).get("/lead/queue").status_code for role in ("viewer", "labeler", "user")] == [403, 403, 403]


def test_a_lead_is_asked_before_responses_that_break_off_are_queued(project: Project, store: Store, come: Come) -> None:
    store.add_prompts([Prompt("p1", (Message("user", "Which?"),))])
    store.add_responses([Response(f"r{n}", "p1", f"text {n}", "m", finished=n > 1) for n in range(5)])
    lead = come("lead")
    lead.post("/lead/queue", kind="rank", action="preview", once="a")
    job = jobs.wait(jobs.read(project, 1), 60)
    assert "2 of the responses in them break off" in lead.get("/lead/queue?job=1").text, job.error()

    lead.post("/lead/queue", kind="rank", action="queue", once="b")
    assert jobs.wait(jobs.read(project, 2), 60).state == "failed"
    page = lead.get("/lead/queue?job=2").text
    assert "2 of 5 responses break off at the length limit; nothing was queued" in page
    assert "Choose below: leave them out" in page
    assert not tasks.left(store, "")

    lead.post("/lead/queue", kind="rank", action="queue", once="c", cut_off="leave_out")
    job = jobs.wait(jobs.read(project, 3), 60)
    assert "1 new tasks are queued, of 1 in all.</p>" in lead.get("/lead/queue?job=3").text, job.error()
    assert tasks.left(store, "") == 1


def test_a_few_that_break_off_are_queued_and_counted(project: Project, store: Store, come: Come) -> None:
    """Fewer than a terminal asks about."""
    store.add_prompts([Prompt("p1", (Message("user", "Which?"),))])
    store.add_responses([Response(f"r{n}", "p1", f"text {n}", "m", finished=n > 0) for n in range(6)])
    lead = come("lead")
    lead.post("/lead/queue", kind="rank", action="queue", once="a")
    job = jobs.wait(jobs.read(project, 1), 60)
    assert "1 of the responses in them break off" in lead.get("/lead/queue?job=1").text, job.error()
    assert tasks.left(store, "") == 1
