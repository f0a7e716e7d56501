"""The figures of the leads' page are drawn once, beside the pages that wait for them, and never hide who has come or gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from accord.feedback import accounts
from accord.feedback.store import Store
from accord.feedback.web.lead_metrics import KEPT_SECONDS, Cache, Picture
from accord.records import Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.settings import ScreeningConfig

SOON, LATER = timedelta(seconds=KEPT_SECONDS / 2), timedelta(seconds=20 * KEPT_SECONDS)


def say(store: Store, number: int) -> None:
    """Ann and Bob rank one more prompt alike."""
    prompt = Prompt(f"p{number}", (Message("user", f"Question {number}?"),))
    responses = [Response(f"r{number}-{k}", prompt.id, f"Answer {k}.", "m") for k in range(2)]
    store.add(
        prompts=[prompt],
        responses=responses,
        labelers=[Labeler(id, "person", "g") for id in ("ann", "bob")],
        rankings=[
            Ranking(f"k{number}-{who}", prompt.id, who, tuple(r.id for r in responses), (1, 2), Guideline("training", "v"), "2026-01-01")
            for who in ("ann", "bob")
        ],
    )


def ranked(picture: Picture) -> dict[str, int]:
    return {id: line.rankings for id, line in picture.lines.items()}


def seen(look: Callable[[], Picture], expected: dict[str, int]) -> Picture:
    """Looks until the figures are drawn; a busy machine is no failure."""
    end = time.monotonic() + 60
    while ranked(picture := look()) != expected and time.monotonic() < end:
        time.sleep(0.05)
    assert ranked(picture) == expected
    return picture


def test_a_picture_is_drawn_once_and_anew_when_it_is_old_and_answers_came(store: Store) -> None:
    cache, config = Cache(), ScreeningConfig()
    assert ranked(cache.get(store, datetime.now(UTC), config)) == {}
    say(store, 1)
    assert ranked(cache.get(store, datetime.now(UTC) + SOON, config)) == {}, "young enough"
    first = seen(lambda: cache.get(store, datetime.now(UTC) + LATER, config), {"ann": 1, "bob": 1})
    assert first.agreement["pairwise_dropped"].mean == 1.0
    assert cache.get(store, datetime.now(UTC) + 3 * LATER, config).lines is first.lines, "nothing was said since"
    say(store, 2)
    seen(lambda: cache.get(store, datetime.now(UTC) + 3 * LATER, config), {"ann": 2, "bob": 2})


def test_people_are_never_old_and_a_leads_change_is_drawn_at_once(store: Store) -> None:
    cache, config, now = Cache(), ScreeningConfig(), datetime.now(UTC)
    say(store, 1)
    first = cache.get(store, now, config)
    accounts.invite(store, "labeler", "Cid", by="tests", now=now)
    accounts.exclude(store, "bob", by="tests", why="", now=now)
    second = cache.get(store, now, config)
    assert second.lines is first.lines
    assert {(person.name, person.excluded) for person in second.people} == {("ann", False), ("bob", True), ("Cid", False)}
    cache.renew()
    seen(lambda: cache.get(store, now, config), {"ann": 1})


def test_a_page_waits_only_so_long_and_shows_the_last_figures(store: Store) -> None:
    cache, config = Cache(), ScreeningConfig()
    say(store, 1)
    cache.get(store, datetime.now(UTC), config)
    say(store, 2)
    with store.write() if store.database.is_sqlite else store.read():  # somebody writes: readers go on
        shown = cache.get(store, datetime.now(UTC) + LATER, config)
    assert ranked(shown)["ann"] in (1, 2), "the last figures or newer ones, and never none"
