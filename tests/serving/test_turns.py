"""Whose long texts are screened when: nobody holds others up by many of them."""

from __future__ import annotations

import asyncio
import threading

from accord.serving import apart
from accord.serving.guards import aside


def test_one_persons_long_texts_wait_for_one_another_and_somebody_elses_for_none_of_them() -> None:
    begun, order, held = list[str](), list[str](), threading.Event()

    def work(name: str, gone: threading.Event) -> None:
        begun.append(name)
        if name.startswith("ann"):
            held.wait(30)
        order.append(name)

    async def sent() -> None:
        long = apart.SHORT + 1
        anns = [asyncio.create_task(aside(long, lambda gone, n=n: work(f"ann {n}", gone), "ann")) for n in range(5)]
        await asyncio.sleep(0)
        await asyncio.wait_for(aside(long, lambda gone: work("bob", gone), "bob"), 20)
        assert begun == ["ann 0", "bob"]
        assert order == ["bob"]
        await asyncio.wait_for(aside(1, lambda gone: work("cat", gone), "ann"), 20)  # her short texts wait for nothing
        anns[1].cancel()
        held.set()
        await asyncio.gather(*anns, return_exceptions=True)

    asyncio.run(asyncio.wait_for(sent(), 60))
    assert order == ["bob", "cat", "ann 0", "ann 2", "ann 3", "ann 4"]


def test_requests_of_nobody_in_particular_use_all_threads() -> None:
    both = threading.Barrier(2)

    async def sent() -> None:
        await asyncio.gather(*(aside(apart.SHORT + 1, lambda gone: both.wait(20)) for _ in range(2)))

    asyncio.run(sent())
