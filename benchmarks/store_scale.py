"""How the feedback database grows: import, snapshot, queue and agreement at ten thousand to a million records, on both databases.

python benchmarks/store_scale.py                            writes benchmarks/results/store_scale.json
python benchmarks/store_scale.py --records 10000 --databases postgresql

A quarter of the records are prompts, half are responses, a quarter are rankings; each tenth prompt was ranked by two labelers. PostgreSQL
is a server of the benchmark's own, reached by a socket. Each part runs in a process of its own, whose peak memory is its alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

RESULTS = Path(__file__).parent / "results" / "store_scale.json"
SIZES = (10_000, 100_000, 1_000_000)
TEXT = "the baker opens a shop by the river and keeps bread and cheese under the clock tower near the bridge " * 3
FETCHES = 100
LABELERS = 20


def records(number: int) -> Iterator[Any]:
    """Labelers, and so many other records."""
    from accord import Guideline, Labeler, Message, Prompt, Ranking, Response

    guideline = Guideline("training", "v1")
    yield from (Labeler(f"l{n}", "person", f"g{n % 2}") for n in range(LABELERS))
    asked = number // 4
    for n in range(asked):
        prompt = f"p-{n * 2654435761 % 2**32:08x}-{n}"  # like a hash: not in the order of arrival
        yield Prompt(prompt, (Message("user", f"Question {n}: {TEXT[: 40 + n % 100]}?"),), user=f"u{n % 5000}", split="train")
        ids = tuple(f"r-{prompt}-{k}" for k in range(2))
        yield from (Response(id, prompt, f"{id} {TEXT[: 60 + n % 200]}", "sft") for id in ids)
        ranked = n * 10 // 11  # a tenth of the prompts, once more
        if ranked * 11 // 10 <= n and n < asked * 10 // 11:
            yield Ranking(f"k-{prompt}", prompt, f"l{n % LABELERS}", ids, (1, 2) if n % 3 else (2, 1), guideline, "2026-01-01")
            if n % 10 == 0:
                ranks = (1, 2) if n % 4 else (2, 1)
                yield Ranking(f"k-{prompt}-2", prompt, f"l{(n + 1) % LABELERS}", ids, ranks, guideline, "2026-01-02")


def fill(url: str, number: int) -> dict[str, float]:
    """Import the records as `accord import` does, and queue a tenth of the prompts."""
    from sqlalchemy import insert, text

    from accord import Store
    from accord.feedback import schema
    from accord.feedback.spool import About, Spool

    with tempfile.TemporaryDirectory() as folder, Store.open(url) as store, Spool(Path(folder)) as spool:
        began = time.perf_counter()
        spool.add(records(number))
        spooled = time.perf_counter()
        added = sum(spool.store(store, About("benchmark", "", "accord", "")).new.values())
        stored = time.perf_counter()
        waiting = {"kind": "rank", "guideline_set": "training", "overlap": 2, "priority": 0.0, "purpose": "work", "expected": None}
        state = {"reserved_for": "", "repeats": "", "taken": 0, "open": True}
        batch: list[dict[str, Any]] = []
        responses: list[dict[str, Any]] = []
        for n in range(number // 10):
            prompt = f"p-{n * 2654435761 % 2**32:08x}-{n}"
            batch.append({"id": f"t{n}", "prompt_id": prompt, "place": n, **waiting, **state})
            responses += [{"task_id": f"t{n}", "position": k, "response_id": f"r-{prompt}-{k}"} for k in range(2)]
        with store.write() as connection:
            for table, rows in ((schema.tasks, batch), (schema.task_responses, responses)):
                for start in range(0, len(rows), 5000):
                    connection.execute(insert(table), rows[start : start + 5000])
                connection.execute(text(f"ANALYZE {table.name}"))
    return {"records": added, "spool_seconds": spooled - began, "import_seconds": stored - spooled}


def snapshot(url: str, number: int) -> dict[str, float]:
    """Write every ranking with its prompt and responses, as a training run does before it starts."""
    from accord import Store
    from accord.feedback.snapshot import write_snapshot

    with tempfile.TemporaryDirectory() as folder, Store.open(url) as store:
        began = time.perf_counter()
        write_snapshot(store.ranked_prompts(), Path(folder) / "rankings.jsonl")
        return {"snapshot_seconds": time.perf_counter() - began, "snapshot_mb": (Path(folder) / "rankings.jsonl").stat().st_size / 1e6}


def fetch(url: str, number: int) -> dict[str, float]:
    """Ask for the next task: a newcomer, and a labeler who has answered nine tenths of what is open."""
    from accord import Store
    from accord.feedback import tasks

    now = datetime(2026, 1, 1, tzinfo=UTC)

    def seconds(labeler: str) -> list[float]:
        taken: list[float] = []
        for n in range(FETCHES):
            began = time.perf_counter()
            given = tasks.next_task(store, labeler, now=now + timedelta(seconds=n), lease_seconds=600)
            taken.append(time.perf_counter() - began)
            assert given, "the queue is empty"
            with store.write() as connection:
                tasks.lock_task(connection, given.task.id)
                tasks.set_state(connection, given.task.id, labeler, "answered")
        return sorted(taken)

    with Store.open(url) as store:
        found = {"newcomer": seconds("l0")}
        answer_most(store, number)
        found["veteran"] = seconds("l1")
    return {f"{who}_{name}_ms": 1000 * value for who, taken in found.items() for name, value in
            (("median", statistics.median(taken)), ("p99", taken[int(len(taken) * 0.99)]))}  # fmt: skip


def answer_most(store: Store, number: int) -> None:
    """Let labeler l1 have answered nine tenths of what is open."""
    from sqlalchemy import insert, text

    from accord.feedback import schema

    own = {"labeler": "l1", "state": "answered", "expires": 0.0, "shown": "[]", "at": ""}
    seen = [{"task_id": f"t{n}", **own} for n in range(number // 10 * 9 // 10)]
    with store.write() as connection:
        for start in range(0, len(seen), 5000):
            connection.execute(insert(schema.assignments), seen[start : start + 5000])
        connection.execute(text("ANALYZE assignments"))  # as the server does by itself, a minute later


def agreement(url: str, number: int) -> dict[str, float]:
    """Measure how far labelers agree, as `accord agreement` does, with 200 resamples."""
    from accord import Store
    from accord.feedback.agreement import pairwise_agreement

    with Store.open(url) as store:
        began = time.perf_counter()
        found = pairwise_agreement(store.rankings(shared=True), resamples=200)
        return {"agreement_seconds": time.perf_counter() - began, "agreement": found.dropped.mean}


PARTS = {"fill": fill, "snapshot": snapshot, "fetch": fetch, "agreement": agreement}


def peak_mb() -> float:
    """Return the peak memory of this process on Linux; what ``getrusage`` says may be its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(url: str, number: int) -> dict[str, float]:
    """Run each part in a process of its own, and add its peak memory beyond what importing the package takes."""
    found: dict[str, float] = {}
    for part in PARTS:
        words = [sys.executable, __file__, "--part", part, "--url", url, "--records", str(number)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        found |= json.loads(done.stdout)
        print(part, json.dumps(json.loads(done.stdout)), file=sys.stderr, flush=True)
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, nargs="+", default=SIZES)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        import accord.feedback.agreement
        import accord.feedback.spool  # noqa: F401 - imports are no part of a peak

        before = peak_mb()
        found = PARTS[options.part](options.url, options.records[0])
        print(json.dumps({**found, f"{options.part}_peak_mb": peak_mb() - before}))
        return
    from feedback.conftest import Postgres

    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    folder = Path(tempfile.mkdtemp(prefix="accord-pg-", dir="/tmp"))
    server = Postgres(folder) if "postgresql" in options.databases else None
    try:
        for number in options.records:
            for database in options.databases:
                url = f"sqlite:///{folder}/{number}.db" if database == "sqlite" else server.database() if server else ""
                kept.setdefault(database, {})[str(number)] = measure(url, number)
                machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
                kept["machine"] = machine | {"day": f"{datetime.now(UTC):%Y-%m-%d}"}
                RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
