"""Many labelers on one site, as fast as it serves, while its servers are killed: is an answer lost, doubled, or one too many?

    python benchmarks/labeling_load.py                  200 labelers, 1,000,000 tasks, 20 kills, SQLite and PostgreSQL; `make load`
    python benchmarks/labeling_load.py --short          the same in miniature; the tests run this

Each labeler is a thread with a kept connection that asks for the next task, ranks its four responses, posts the form, and asks
again; when the line is cut it sends the same form once more, as the pages' journal does. SQLite has one server process,
PostgreSQL (a private one, with fsync) several. Times are of requests that were answered, without kills; then the kills begin.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import func, insert, select, text
from visitor import Reply, Visitor
from witness import Witness, verdict

from accord import Message, Project, Prompt, Response, Store
from accord.feedback import accounts, answers, schema, tasks
from accord.runtime.files import write_atomic

ROOT = Path(__file__).parent.parent
PROMPTS, K = 250, 4
BATCH = 100_000
PROGRAM = "from accord.commands.app import main; main()"
WRONG = ("lost", "changed", "unrecorded", "doubled", "over_overlap", "server_errors")
"""Figures that must be zero."""
Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Size:
    """How much is tried."""

    labelers: int = 200
    seconds: float = 60.0
    """Of load without kills."""
    kills: int = 20
    between_kills: float = 3.0
    few: int = 1_000
    many: int = 1_000_000
    """Tasks in the store when ``next_task`` is timed; the load runs on the many."""
    timed: int = 300
    servers: int = 3
    """Server processes on PostgreSQL."""


SHORT = Size(labelers=8, seconds=2.0, kills=2, between_kills=1.0, few=200, many=2_000, timed=30, servers=2)


@dataclass
class Log:
    """What the labelers saw, all threads together."""

    witness: Witness
    """Has each answer that was acknowledged with 200, as it was sent."""
    closing: threading.Event = field(default_factory=threading.Event)
    """Set when no server comes back: a form that was sent is no longer sent again."""
    milliseconds: list[float] = field(default_factory=list[float])
    statuses: Counter[int] = field(default_factory=Counter[int])


class Servers:
    """Processes of ``accord label`` on one project, each on a port of its own."""

    def __init__(self, project: Path, count: int, *, program: str = PROGRAM, environment: Mapping[str, str] | None = None) -> None:
        self.project, self.count, self.program = project, count, program
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self.ports, self.running = [0] * count, dict[int, subprocess.Popen[bytes]]()
        for number in range(count):
            self.start(number)

    def start(self, number: int) -> None:
        """Starts a server, on its old port when it had one, and waits until it listens."""
        path = self.project / f"server-{number}-{time.monotonic_ns()}.txt"
        words = ["-c", self.program, "label", str(self.project), "--port", str(self.ports[number])]
        with path.open("wb") as said:
            self.running[number] = subprocess.Popen([sys.executable, *words], stdout=said, stderr=said, env=self.environment)
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", path.read_text())):
            if self.running[number].poll() is not None:
                raise RuntimeError(path.read_text())
            time.sleep(0.05)
        self.ports[number] = int(found[1])

    def kill(self, number: int) -> None:
        """kill -9."""
        self.running[number].send_signal(signal.SIGKILL)
        self.running[number].wait()

    def address(self, number: int) -> str:
        return f"http://127.0.0.1:{self.ports[number % self.count]}"

    def close(self) -> None:
        for number in self.running:
            self.kill(number)


def fill(store: Store, size: int) -> None:
    """Brings the queue to so many ranking tasks over a fixed set of prompts and responses."""
    prompts = [Prompt(f"p{n}", (Message("user", f"Question {n}: " + "what do you think of bread? " * 4),)) for n in range(PROMPTS)]
    responses = [
        Response(f"r{n}-{k}", f"p{n}", f"Response {k} to {n}. " + "It depends on the flour. " * 8, "m")
        for n in range(PROMPTS)
        for k in range(K)
    ]
    store.add(prompts=prompts, responses=responses)
    with store.read() as connection:
        there = connection.scalar(select(func.count()).select_from(schema.tasks)) or 0
    for start in range(there, size, BATCH):
        with store.write() as connection:
            if not store.database.is_sqlite:
                connection.execute(text("SET LOCAL session_replication_role = replica"))  # the keys are right by construction
            for statement in (TASKS, SHOWN):
                connection.execute(text(statement), {"start": start, "end": min(start + BATCH, size), "prompts": PROMPTS, "k": K})
    with store.write() as connection:
        connection.execute(text("ANALYZE"))  # a server's autovacuum comes to it by itself


NUMBERS = "WITH RECURSIVE n(i) AS (SELECT CAST(:start AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :end)"
NAME = "'t' || substr(CAST(10000000 + i AS TEXT), 2)"
TASKS = f"""
INSERT INTO tasks (id, kind, prompt_id, guideline_set, overlap, priority, purpose, reserved_for, repeats, place, taken, open)
{NUMBERS} SELECT {NAME}, 'rank', 'p' || CAST(i % :prompts AS TEXT), 'training', 1 + i % 2, 0.0, 'work', '', '', i, 0, true FROM n
"""
SHOWN = f"""
INSERT INTO task_responses (task_id, position, response_id)
{NUMBERS}, places(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM places WHERE k + 1 < :k)
SELECT {NAME}, k, 'r' || CAST(i % :prompts AS TEXT) || '-' || CAST(k AS TEXT) FROM n, places
"""


def next_task_ms(store: Store, size: Size) -> float:
    """Median milliseconds of leasing a next task, to labelers in turn."""
    people = [f"timer-{n}" for n in range(10)]
    with store.write() as connection:
        known = set(connection.scalars(select(schema.labelers.c.id)))
        new = [{"id": id, "kind": "simulated", "group": ""} for id in people if id not in known]
        if new:
            connection.execute(insert(schema.labelers), new)
    times: list[float] = []
    for n in range(size.timed):
        start = time.perf_counter()
        leased = tasks.next_task(store, people[n % 10], now=datetime.now(UTC), lease_seconds=3600)
        times.append(time.perf_counter() - start)
        if leased:
            tasks.release(store, people[n % 10], leased.task.id)
    return round(statistics.median(times) * 1000, 3)


def ranked(rng: random.Random) -> list[tuple[str, str]]:
    """A form's fields: quality and rank of each response."""
    scores = [rng.randint(1, 7) for _ in range(K)]
    order = sorted(set(scores), reverse=True)
    return [pair for n, q in enumerate(scores, 1) for pair in ((f"quality-{n}", str(q)), (f"rank-{n}", str(order.index(q) + 1)))]


def patiently(log: Log, ask: Callable[[], Answered], until: threading.Event) -> Answered | None:
    """Asks until there is an answer, and notes how long the one that came took. None when the time is over."""
    while True:
        start = time.perf_counter()
        try:
            answer = ask()
        except (OSError, HTTPException, RuntimeError):
            if until.wait(0.1):
                return None
            continue
        log.milliseconds.append((time.perf_counter() - start) * 1000)
        return answer


def labor(visitor: Visitor, log: Log, over: threading.Event, seed: int, pace: float = 0.0) -> None:
    """One labeler's work until it is over or nothing is left. A form that was sent is sent until it is acknowledged.

    Args:
        pace: mean seconds that the labeler thinks about an answer.
    """
    rng = random.Random(seed)
    over.wait(rng.random() * pace)
    while not over.is_set():
        given = patiently(log, visitor.next, over)
        if not given:
            break
        fields = ranked(rng)
        over.wait(rng.uniform(0.5, 1.5) * pace)

        def send(given: dict[str, Any] = given, fields: list[tuple[str, str]] = fields) -> Reply:
            reply = visitor.answer(given, fields)
            log.statuses[reply.status] += 1
            if reply.status >= 500:
                raise OSError(reply.status)
            return reply

        reply = patiently(log, send, log.closing)
        if reply and reply.status == 200:
            log.witness.saw(reply.json()["answer"], given["task"]["id"], given["task"]["responses"], fields)
    visitor.close()


def at_work(visitors: list[Visitor], log: Log, seed: int, meanwhile: Callable[[], None]) -> float:
    """Lets all labelers work while something else happens; returns the seconds it took."""
    over = threading.Event()
    threads = [threading.Thread(target=labor, args=(visitor, log, over, seed + n)) for n, visitor in enumerate(visitors)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    meanwhile()
    taken = time.perf_counter() - start
    over.set()
    for thread in threads:
        thread.join()
    return taken


def kill_often(servers: Servers, size: Size) -> None:
    """Kills a server at random moments and starts it again."""
    rng = random.Random(0)
    for _ in range(size.kills):
        time.sleep(rng.uniform(0.3, 1.0) * size.between_kills)
        number = rng.randrange(servers.count)
        servers.kill(number)
        servers.start(number)
    time.sleep(size.between_kills)


def checked(url: str, store: Store, witness: Witness) -> dict[str, int]:
    """Counts what must be zero; what was acknowledged is told by the witness and found by SQL alone."""
    taken = Counter(answer.task_id for answer in answers.every(store))
    over = sum(count > 1 + int(id.removeprefix("t")) % 2 for id, count in taken.items())
    return {"answers": taken.total(), **verdict(url, witness), "over_overlap": over}


def measure(url: str, folder: Path, size: Size, servers: int) -> dict[str, Any]:
    """All figures of one store."""
    project = Project.create(folder, settings={"store": {"url": url}})
    with Store.open(url) as store:
        fill(store, size.few)
        few = next_task_ms(store, size)
        fill(store, size.many)
        many = next_task_ms(store, size)
        now = datetime.now(UTC)
        tokens = [accounts.invite(store, "labeler", f"labeler {n}", by="load", now=now) for n in range(size.labelers)]
        opened = Servers(project.path, servers)
        try:
            witness = Witness(folder / "acknowledged.jsonl")
            calm, cut = Log(witness), Log(witness)
            visitors = [Visitor(opened.address(n)) for n in range(size.labelers)]
            for visitor, token in zip(visitors, tokens, strict=True):
                visitor.join(token)
            taken = at_work(visitors, calm, 0, lambda: time.sleep(size.seconds))
            at_work(visitors, cut, 1_000, lambda: kill_often(opened, size))
        finally:
            opened.close()
        times = sorted(calm.milliseconds)
        return {
            "labelers": size.labelers,
            "server_processes": servers,
            **checked(url, store, witness),
            "requests_per_s": round(len(times) / taken, 1),
            "p50_ms": round(times[len(times) // 2], 1),
            "p99_ms": round(times[int(len(times) * 0.99)], 1),
            "kills": size.kills,
            "server_errors": sum(count for status, count in (calm.statuses + cut.statuses).items() if status >= 500),
            "next_task_ms_1k": few,
            "next_task_ms_1m": many,
            "tasks": size.many,
        }


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The address of a blank database in a private server that syncs to disk."""
    with postgres_server(folder) as (_, url):
        yield url


@contextmanager
def postgres_server(folder: Path) -> Iterator[tuple[Any, str]]:
    """A private server that syncs to disk, and the address of a blank database in it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from feedback.conftest import Postgres

    server = Postgres(folder)
    try:
        url = server.database()
        with Store.open(url) as store, store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ALTER SYSTEM SET fsync = on"))
            connection.execute(text("SELECT pg_reload_conf()"))
        yield server, url
    finally:
        server.stop()


def run(size: Size, stores: list[str]) -> dict[str, Any]:
    """The figures of each store."""
    found: dict[str, Any] = {}
    for name in stores:
        folder = Path(tempfile.mkdtemp(prefix="accord-load-", dir="/tmp"))
        try:
            if name == "sqlite":
                found[name] = measure(f"sqlite:///{folder}/feedback.db", folder / "project", size, 1)
            else:
                (folder / "pg").mkdir()
                folder.chmod(0o755)
                with postgres(folder / "pg") as url:
                    found[name] = measure(url, folder / "project", size, size.servers)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="in miniature")
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--seconds", type=float, help="of load without kills")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "labeling_load.json")
    given = parser.parse_args(words)
    size = SHORT if given.short else Size()
    figures = run(replace(size, seconds=given.seconds or size.seconds), given.stores)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(given.out, json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return int(any(f[name] for f in figures.values() for name in WRONG))


if __name__ == "__main__":
    sys.exit(main())
