"""A cut line, a double click, a killed server, a page that is out of date: one answer each time, and none lost."""

from __future__ import annotations

import threading
from http.client import HTTPException

from e2e.conftest import Come, Server, task, wait_until
from e2e.test_flow import keys
from playwright.sync_api import Page, Route, expect
from visitor import Visitor

from accord.feedback import answers
from accord.feedback.answers import Answer

RANKED = ("Enter", "6", "Enter", "5", "Enter", "1", "2")


def said(site: Server) -> list[Answer]:
    return list(answers.every(site.store, withdrawn=True))


def ranked(page: Page, site: Server) -> None:
    """Goes to a task of two responses and ranks them, all but saving."""
    page.goto(f"{site.address}/next")
    keys(page, *RANKED)


def test_a_cut_line_loses_nothing(site: Server, come: Come) -> None:
    site.queue(task(1, k=2), task(2, k=2))
    page = come()
    ranked(page, site)
    page.context.set_offline(True)
    keys(page, "Enter")
    expect(page.locator("#journal")).to_contain_text("1 answers are kept in this browser")
    assert not said(site)
    page.context.set_offline(False)
    expect(page.locator(".ask")).to_contain_text("Question 2")
    assert [answer.task_id for answer in said(site)] == ["t1"]


def test_an_answer_outlives_a_closed_page(site: Server, come: Come) -> None:
    site.queue(task(1, k=2))
    page = come()
    ranked(page, site)
    page.context.set_offline(True)
    keys(page, "Enter")
    expect(page.locator("#journal")).not_to_be_empty()
    other = page.context.new_page()
    page.close()
    other.context.set_offline(False)
    other.goto(site.address)
    wait_until(lambda: len(said(site)) == 1, "the journal sends what the closed page could not")
    expect(other.locator("#journal")).to_be_empty()


def test_an_acknowledgement_that_is_lost_makes_no_second_answer(site: Server, come: Come) -> None:
    """The server takes the answer, the browser never hears of it and sends it again."""
    site.queue(task(1, k=2), task(2, k=2))
    page = come()
    sent: list[int] = []

    def swallow(route: Route) -> None:
        if not sent:
            sent.append(route.fetch().status)
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/answer", swallow)  # before the page is opened: a page that is there already may still send past it
    ranked(page, site)
    keys(page, "Enter")
    expect(page.locator(".ask")).to_contain_text("Question 2")
    assert sent == [200]
    assert len(said(site)) == 1


def test_double_submission_is_one_answer(site: Server, come: Come) -> None:
    site.queue(task(1, k=2), task(2, k=2))
    page = come()
    ranked(page, site)
    page.locator("#save").dblclick()
    expect(page.locator(".ask")).to_contain_text("Question 2")
    assert [answer.task_id for answer in said(site)] == ["t1"]
    plain = come("bob", java_script_enabled=False)
    plain.goto(f"{site.address}/next")
    for place in (1, 2):
        plain.locator(f"[name=quality-{place}][value='4']").check(force=True)
        plain.locator(f"[name=rank-{place}][value='1']").check(force=True)
    plain.get_by_role("button", name="Save and continue").last.dblclick()
    expect(plain.locator(".ask")).to_contain_text("Question 2")
    assert len(said(site)) == 2


def test_a_killed_server_loses_nothing_that_was_written(site: Server, come: Come) -> None:
    site.queue(task(1, k=2), task(2, k=2))
    page = come()
    ranked(page, site)
    site.kill()
    keys(page, "Enter")
    expect(page.locator("#journal")).to_contain_text("No connection")
    site.start()
    expect(page.locator(".ask")).to_contain_text("Question 2")
    assert len(said(site)) == 1


def test_a_page_out_of_date_is_told_so(site: Server, come: Come) -> None:
    site.queue(task(1, k=2))
    page = come()
    stale = page.context.new_page()
    stale.goto(f"{site.address}/next")
    ranked(page, site)
    keys(page, "Enter")
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    keys(stale, *RANKED, "Enter")
    expect(stale.locator("#problems")).to_contain_text("You have changed this answer elsewhere")
    assert len(said(site)) == 1


def test_a_session_that_ended_sends_after_the_next_log_in(site: Server, come: Come) -> None:
    site.queue(task(1, k=2))
    page = come()
    ranked(page, site)
    kept = page.context.cookies()
    page.context.clear_cookies()
    keys(page, "Enter")
    expect(page.locator("#journal")).to_contain_text("Sign in again")
    page.context.add_cookies(kept)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_role("heading", name="No tasks for you right now")).to_be_visible()
    assert len(said(site)) == 1


def test_what_was_acknowledged_under_load_is_there_after_kill_nine(site: Server) -> None:
    site.queue(*(task(n, k=2, overlap=3) for n in range(200)))
    visitors = [site.visitor(f"labeler {n}") for n in range(6)]
    kept: list[str] = []
    going = threading.Event()

    def work(visitor: Visitor) -> None:
        while not going.is_set():
            try:
                given = visitor.next() or {}
                fields = [("rank-1", "1"), ("rank-2", "2"), ("quality-1", "6"), ("quality-2", "2")]
                reply = visitor.answer(given, fields)
                assert reply.status == 200, reply.body
                kept.append(reply.json()["answer"])
            except (OSError, HTTPException):
                return

    threads = [threading.Thread(target=work, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(kept) > 30, "answers under way", 60)
    site.kill()
    going.set()
    for thread in threads:
        thread.join()
    for visitor in visitors:
        visitor.close()
    there = said(site)
    assert set(kept) <= {answer.id for answer in there}
    assert len({(answer.task_id, answer.labeler) for answer in there}) == len(there), "nobody answered twice"
    site.start()
    late = site.visitor("late")
    assert late.next(), "and the site goes on"
    late.close()
