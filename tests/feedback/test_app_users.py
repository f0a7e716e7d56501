"""End users of apps whose first requests come at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sqlalchemy import func, select

from accord.feedback import app_tasks, schema
from accord.feedback.apps import App, enter
from accord.feedback.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
APP = App("bakery")


def test_a_new_user_or_labeler_who_comes_twice_at_once_is_entered_once(store: Store) -> None:
    """The second transaction looks before the first one ends, and inserts after it."""
    begun = threading.Event()

    def second() -> tuple[str, str]:
        begun.set()
        with store.write() as connection:
            return enter(connection, APP, "ann", now=NOW), app_tasks.labeler_of(connection, APP, "lou")

    with ThreadPoolExecutor(1) as pool:
        with store.write() as connection:
            first = enter(connection, APP, "ann", now=NOW), app_tasks.labeler_of(connection, APP, "lou")
            later = pool.submit(second)
            begun.wait(10)
            threading.Event().wait(0.3)
        assert later.result(20) == first, "one secret makes one pseudonym"
    with store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.labelers)) == 2
