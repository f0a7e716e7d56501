"""Faults of PostgreSQL while people label, an app sends demonstrations and files are imported: is anything lost, doubled or wrong?

    python benchmarks/postgres_faults.py [--faults 200] [--out benchmarks/results/postgres_faults.json]

Every second or so one of these happens, drawn at random:

restart      the server is stopped as by a crash, and started again
backend      a process of the server is killed (kill -9), upon which the server ends all connections and recovers
terminated   a connection is ended in the middle of its transaction, if one is in the middle of any
black hole   the network delivers nothing for a while and closes nothing

The sites give an unanswered database up after a second here, and after 30 otherwise. What was acknowledged is compared by the witness,
through SQL alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from forked import LOADED, SLOW, Forked, Site
from kills import HERE, Ground, demonstrations, pairs, processor, stored, written
from talking import Sender, talking_model
from wire import Wire
from witness import Witness, verdict

sys.path.insert(0, str(HERE.parent / "tests"))
SOON = 1.0
"""Seconds after which the sites give up a database that does not answer."""


def impatient(*words: str) -> None:
    """Run a server's command with a shorter patience; run by the process that forks."""
    import importlib

    from accord.commands.app import main

    for module in ("accord.commands.feedback.label", "accord.commands.serve.serve"):
        importlib.import_module(module).ANSWER_SECONDS = SOON
    main(list(words))


class Faults:
    """What can happen to a server."""

    def __init__(self, server: Any, wire: Wire, chance: random.Random) -> None:
        self.server, self.wire, self.chance = server, wire, chance
        self.database = ""
        self.happened = Counter[str]()

    def one(self) -> None:
        """Let one fault happen."""
        kinds: list[tuple[str, Callable[[], str]]] = [
            ("restart", self._restart),
            ("backend", self._backend),
            ("terminated", self._terminated),
            ("black hole", self._black_hole),
        ]
        name, fault = self.chance.choice(kinds)
        self.happened[fault() or name] += 1

    def _restart(self) -> str:
        """Stop the server as a crash would, and start it again."""
        self.server.restart()
        return ""

    def _backend(self) -> str:
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        (pid,) = self._ask(f"SELECT pid FROM pg_stat_activity WHERE {others} LIMIT 1") or (0,)
        if not pid:
            return "nothing to kill"
        os.kill(pid, signal.SIGKILL)
        return "backend killed"

    def _terminated(self) -> str:
        """End a connection that is in a transaction; look for one for two seconds."""
        end = time.monotonic() + 2
        while time.monotonic() < end:
            inside = "xact_start IS NOT NULL AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            if self._ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {inside} LIMIT 1"):
                return "terminated in a transaction"
        return "nothing in a transaction"

    def _black_hole(self) -> str:
        self.wire.cut.set()
        time.sleep(self.chance.uniform(0.2, 2.5))
        self.wire.cut.clear()
        return ""

    def _ask(self, query: str) -> tuple[Any, ...]:
        for _ in range(900):
            with suppress(psycopg.Error), psycopg.connect(self.database, autocommit=True) as connection:
                return connection.execute(query.encode()).fetchone() or ()
            time.sleep(0.1)
        raise RuntimeError("the database did not come back")


def measure(faults: int, seed: int = 0, seconds: float = 1e9) -> dict[str, Any]:
    """Return the figures of so many faults, or of as many as the seconds allow."""
    from feedback.conftest import Postgres

    folder = Path(tempfile.mkdtemp(prefix="accord-faults-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "pg").mkdir()
    server = Postgres(folder / "pg")
    wire = Wire(server.folder / ".s.PGSQL.5432")
    try:
        url = server.database()
        far = f"postgresql+psycopg://accord@127.0.0.1:{wire.port}/{url.split('/')[3].split('?')[0]}?connect_timeout=10"
        with (
            talking_model() as upstream,
            Forked(
                folder, (*LOADED, *SLOW), environment={"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
            ) as forked,
        ):
            ground = Ground(forked, folder, faults, random.Random(seed), lambda: url)
            return _worked(ground, server, wire, url, far, upstream, seconds)
    finally:
        wire.close()
        with suppress(Exception):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _worked(ground: Ground, server: Any, wire: Wire, url: str, far: str, upstream: str, seconds: float) -> dict[str, Any]:
    from labeling_load import Log, fill, labor
    from visitor import Visitor

    from accord import Store
    from accord.feedback import accounts

    psycopg.connect(url.replace("+psycopg", ""), autocommit=True).execute("ALTER SYSTEM SET fsync = on").connection.close()
    project = ground.project("p", far)
    with Store.open(url) as store:
        fill(store, max(4_000, 100 * ground.kills))
        tokens = [accounts.invite(store, "labeler", f"labeler {n}", by="faults", now=datetime.now(UTC)) for n in range(3)]
    words = ("keys", "add", str(project), "faults", "--scope", "chat", "--scope", "feedback", "--store", "feedback", "--json")
    key = json.loads(ground.must(ground.forked.run(*words)).said)["key"]
    site = Site(ground.forked, "!postgres_faults:impatient", "label", str(project))
    free = ("--requests-per-minute", "0", "--tokens-per-minute", "0")
    api = Site(ground.forked, "!postgres_faults:impatient", "serve", str(project), "--upstream", upstream, *free)
    witness, over = Witness(ground.folder / "acknowledged.jsonl"), threading.Event()
    log, sender = Log(witness), Sender(api.address, key, "app")
    visitors = [Visitor(site.address) for _ in tokens]
    for visitor, token in zip(visitors, tokens, strict=True):
        visitor.join(token)
    happened = Faults(server, wire, ground.chance)
    happened.database = url.replace("+psycopg", "")
    threads = [threading.Thread(target=labor, args=(visitor, log, over, n), daemon=True) for n, visitor in enumerate(visitors)]
    threads.append(threading.Thread(target=sender.work, args=(over,), daemon=True))
    for thread in threads:
        thread.start()
    number, failed, began = 0, 0, time.monotonic()
    try:
        while happened.happened.total() < ground.kills and time.monotonic() - began < seconds:
            # Every other fault falls into an import.
            if number % 2:
                time.sleep(ground.chance.uniform(0.1, 0.8))
                happened.one()
            else:
                failed += _imported(ground, project, number, happened)
            number += 1
    finally:
        over.set()
        for thread in threads:
            thread.join(120)
        log.closing.set()
    slow = sum(thread.is_alive() for thread in threads)
    healthy = _healthy(site.address)
    ground.forked.kill(site.pid)
    ground.forked.kill(api.pid)
    found = verdict(url, witness)
    for each in range(0, number, 2):
        wanted = Counter(f"{asked}|{answer}" for asked, answer in pairs("Row", each, 200))
        ground.compare(stored(url, "Row", each), wanted, f"import {each}")
    written(ground, url, sender.written)
    ground.count("lost", "answers", found["lost"])
    ground.count("doubled", "answers", found["doubled"])
    ground.count("wrong", "answers", found["changed"] + found["unrecorded"])
    ground.count("wrong", "clients that never came back", slow + (not healthy))
    return {
        "faults": happened.happened.total(),
        "kinds": dict(sorted(happened.happened.items())),
        "answers_acknowledged": found["acknowledged"],
        "demonstrations_acknowledged": len(sender.written),
        "imports": (number + 1) // 2,
        "imports_that_had_to_be_repeated": failed,
        "statuses": {str(status): count for status, count in sorted(log.statuses.items())},
        **{name: ground.found[name] for name in ("lost", "doubled", "wrong")},
        "seconds": round(time.monotonic() - began, 1),
        **({"said": ground.faults[:5]} if ground.faults else {}),
    }


def _imported(ground: Ground, project: Path, number: int, happened: Faults) -> int:
    """Import a file while a fault happens, again until it is in; return whether it had to be repeated."""
    source = demonstrations(ground.folder / f"rows-{number}.jsonl", pairs("Row", number, 200))
    fault = threading.Timer(ground.chance.uniform(0.0, 0.6), happened.one)
    fault.start()
    tries, end = 0, time.monotonic() + 600
    while (ended := ground.forked.run("import", str(project), str(source), seconds=120)).code:
        tries += 1
        time.sleep(0.2)
        if ended.killed:  # its statement was lost in the black hole, which a command waits half an hour for
            continue
        if "accord: " not in ended.said or "Traceback" in ended.said or time.monotonic() > end:
            ground.wrong(f"an import ended without a message: {ended.said[-300:]}")
            break
    fault.join()
    source.unlink()
    return tries > 0


def _healthy(address: str) -> bool:
    import httpx

    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{address}/health", timeout=30).status_code == 200:
                return True
        time.sleep(0.2)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "postgres_faults.json")
    given = parser.parse_args()
    found = measure(given.faults, given.seed, given.seconds)
    record = {"at": f"{datetime.now(UTC):%Y-%m-%d}", "processor": processor(), "shared_with_other_programs": True} | found
    given.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))
    return int(any(found[name] for name in ("lost", "doubled", "wrong")))


if __name__ == "__main__":
    sys.exit(main())
