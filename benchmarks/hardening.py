"""What others feel while a server is attacked: p99 of their requests, with the attack and without it in turns, over real servers.

    python benchmarks/hardening.py [--quick] [--only WORDS] [--out benchmarks/results/hardening.json]        about 13 minutes; --quick: 3

Starts servers on loopback with 1,024 open files each: `serve` as a gate with an input filter, `serve` with a tiny model, `label` on SQLite
and on PostgreSQL behind a network that stops delivering, and `chat`. One client sends a request every 50 ms on a connection of its own,
for some seconds in peace and for some under attack, several rounds. The machine's other load falls on both, so that their ratio is the
attack's. Attackers run on the same cores, which no stranger's do; how many seconds of a processor they use is in the record.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from itertools import count, cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attacks
from attacks import DRIPPING, Attack, Wire, again, chat, endless_heads, halves, request
from visitor import Visitor

from accord import Project, Sampling, Store
from accord.feedback import accounts, chats, consents, reactions

ROOT = Path(__file__).parent.parent
ACCORD = [sys.executable, "-m", "accord"]
PACE = 0.05
"""Seconds between two requests of the client that is not an attacker."""
HEAD = b"GET /health HTTP/1.1\r\nHost: local"
BODY = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\nx"
DOCUMENT = " ".join(f"d{i}" for i in range(20_000))
QUESTION = " ".join(f"q{i}" for i in range(20_000))
LONG = "The baker opens the shop at seven, and closes it at noon. " * 70
HIDDEN = "ECHO:" + "Aa-" * 2650
"""A message of a chat, near the longest that there may be, which the search for names finds hard."""


@dataclass(frozen=True)
class Size:
    """How long each attack is measured."""

    rounds: int
    calm: float
    attacked: float
    warm: float
    """Seconds from the beginning of an attack until it is measured, and after its end."""


FULL, QUICK = Size(3, 5.0, 7.0, 1.5), Size(1, 2.0, 4.0, 1.0)


@dataclass
class Server:
    """A server of ours in a process of its own."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 80


@dataclass
class Felt:
    """What the other client felt."""

    times: list[float] = field(default_factory=list[float])
    lost: int = 0

    def at(self, share: float) -> float:
        return round(sorted(self.times)[min(len(self.times) - 1, int(share * len(self.times)))], 3)

    def ask(self, port: int, sent: Iterator[bytes], seconds: float) -> None:
        """Send requests for so many seconds."""
        end = time.monotonic() + seconds
        while (start := time.monotonic()) < end:
            self.lost += attacks.status(port, next(sent)) != 200
            took = time.monotonic() - start
            self.times.append(took)
            time.sleep(max(0.0, PACE - took))


@contextmanager
def running(log: Path, *words: str) -> Generator[Server]:
    """Start a command of ours with 1,024 open files, and yield it once it tells its address; it is killed in the end."""

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    with log.open("wb") as said:
        process = subprocess.Popen([*ACCORD, *words], stdout=said, stderr=said, start_new_session=True, preexec_fn=few_files)
    try:
        end = time.monotonic() + 180
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{' '.join(words)} did not start: {log.read_text()[-500:]}")
            time.sleep(0.2)
        yield Server(process, found[0], log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def felt(server: Server, others: Sequence[bytes], attack: Attack, size: Size, after: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Return what another client felt in peace and under attack, in turns.

    Args:
        after: called when an attack is over.
    """
    calm, attacked = Felt(), Felt()
    asked, used, sent, own = cycle(others), 0.0, 0, 0.0
    for _ in range(size.rounds):
        calm.ask(server.port, asked, size.calm)
        with attack.going_on(server.address) as attacker:
            time.sleep(size.warm)
            before, began = attacker.sent, attacker.seconds
            own_before = attacks.cpu_seconds(server.process.pid)
            attacked.ask(server.port, asked, size.attacked)
            sent, used = sent + attacker.sent - before, used + attacker.seconds - began
            own += attacks.cpu_seconds(server.process.pid) - own_before
        after()
        Felt().ask(server.port, asked, size.warm)  # what an attack has left behind is no part of the peace
    seconds = size.rounds * size.attacked
    return {
        "calm_p50": calm.at(0.5),
        "calm_p99": calm.at(0.99),
        "p50": attacked.at(0.5),
        "p99": attacked.at(0.99),
        "worst": attacked.at(1.0),
        "ratio_p99": round(attacked.at(0.99) / max(calm.at(0.99), 0.001), 1),
        "requests": len(attacked.times),
        "lost": attacked.lost + calm.lost,
        "attacks_per_second": round(sent / seconds, 1),
        "attacker_cpu": round(used / seconds, 2),
        "server_cpu": round(own / seconds, 2),
    }


GATE: dict[str, Attack] = {
    "1 documents of 258 KB": again(chat(QUESTION, documents=[{"text": DOCUMENT}])),
    "2 45 KB of Aa- for the filter": again(chat("Aa-" * 15_000)),
    "2 60 KB of addresses for the filter": again(chat("a@b.co " * 8_600)),
    "3 1,200 half requests": halves(HEAD, BODY % b"/v1/chat/completions"),
    "3 endless heads": endless_heads(),
    "5 an upstream that drips comments": again(chat(DRIPPING.decode()), side_by_side=16),
}
MODEL: dict[str, Attack] = {
    "2 truncation auto: 401 messages, 174 KB": again(chat(*["m" + "ab " * 144] * 401, model="tiny", truncation="auto")),
    "2 truncation auto: six of 4 MB, left after 4 s": again(
        chat(*["m" + "abc " * 475] * 2047, model="tiny", truncation="auto"), side_by_side=6, seconds=4.0
    ),
}
SITE: dict[str, Attack] = {
    "3 1,200 half bodies": halves(BODY % b"/join"),
    "3 1,200 half heads and bodies": halves(HEAD, BODY % b"/join"),
    "3 endless heads": endless_heads(),
}
REVIEW = "4 the review of ten long messages"
HOLE = "6 PostgreSQL behind a black hole"


def tiny_model(project: Project) -> None:
    """Write a model of two layers with random weights into a project."""
    sys.path.insert(0, str(ROOT / "tests"))
    from accord.models.folders import save_model

    tiny: Any = import_module("tiny")
    tokenizer = tiny.chat().tokenizer
    model = tiny.llama(1, vocab=len(tokenizer), std=0.1)
    model.config.max_position_embeddings = 8192
    save_model(project.model("tiny"), model, tokenizer)
    record = {"name": "tiny", "parents": {}, "data": {}, "at": "2026-01-01T00:00:00Z"}
    (project.model("tiny") / "lineage.json").write_text(json.dumps(record))


def long_talk(store: Store) -> None:
    """Store a user's conversation of ten long messages, with their consent and a thumb on each answer."""
    now, names = datetime.now(UTC), count()
    store_user = accounts.account(store, _account(store, "user", "mallory"))
    assert store_user
    consents.answer(store, store_user.id, True, now=now)
    said = chats.begin(store, store_user.id, HIDDEN, system="", key="k0", now=now)
    for number in range(10):
        how: dict[str, Any] = {"model": "far", "digest": "", "sampling": Sampling(max_tokens=16), "seed": 0, "finish": "stop"}
        answer = chats.answer(store, said, HIDDEN + f" {number}", id=f"t{next(names)}", now=now, **how)
        reactions.react(store, store_user.id, "thumb", answer.id, {"up": True}, now=now)
        text = f"{HIDDEN} {number}"
        said = chats.say(store, store_user.id, said.conversation, text, parent=answer.id, key=f"k{number + 1}", now=now)


def _account(store: Store, role: accounts.Role, name: str) -> str:
    now = datetime.now(UTC)
    session = accounts.redeem(store, accounts.invite(store, role, name, by="operator", now=now), now=now)
    found = accounts.session(store, session, now=now)
    assert found
    return found.id


def come_in(store: Store, address: str, role: accounts.Role, name: str) -> str:
    """Let somebody in by invitation, and return their cookies."""
    visitor = Visitor(address)
    visitor.join(accounts.invite(store, role, name, by="operator", now=datetime.now(UTC)))
    return "; ".join(f"{key}={value}" for key, value in visitor.cookies.items())


def on_the_gate(folder: Path, wanted: Callable[[str], bool], size: Size) -> Iterator[tuple[str, dict[str, Any]]]:
    project = Project.create(folder / "gate")
    with attacks.upstream() as far:
        words = ("--upstream", far, "--no-keys", "--port", "0", "--input-filter", "refuse", "--seconds", "5")
        with running(folder / "serve.log", "serve", str(project.path), *words) as gate:
            for name in filter(wanted, GATE):
                yield f"serve, {name}", felt(gate, [chat("Hi")], GATE[name], size)


def on_a_model(folder: Path, wanted: Callable[[str], bool], size: Size) -> Iterator[tuple[str, dict[str, Any]]]:
    if not any(map(wanted, MODEL)):
        return
    project = Project.create(folder / "model")
    tiny_model(project)
    words = ("--no-keys", "--port", "0")
    with running(folder / "model.log", "serve", str(project.path), *words) as served:
        for name in filter(wanted, MODEL):
            yield f"serve, {name}", felt(served, [chat("Hi", model="tiny"), chat(LONG, model="tiny")], MODEL[name], size)


def on_the_site(folder: Path, wanted: Callable[[str], bool], size: Size) -> Iterator[tuple[str, dict[str, Any]]]:
    project = Project.create(folder / "label")
    with running(folder / "label.log", "label", str(project.path), "--port", "0") as site, Store.open(project.store_url) as store:
        cookie = come_in(store, site.address, "labeler", "anna")
        for name in filter(wanted, SITE):
            yield f"label, {name}", felt(site, [request("/health"), request("/", cookie=cookie)], SITE[name], size)


def on_the_chat(folder: Path, wanted: Callable[[str], bool], size: Size) -> Iterator[tuple[str, dict[str, Any]]]:
    if not wanted(REVIEW):
        return
    project = Project.create(folder / "chat", settings={"chat": {"turns_per_minute": 0}})
    with Store.open(project.store_url) as store, attacks.upstream() as far:
        long_talk(store)
        words = ("--upstream", far, "--port", "0")
        with running(folder / "chat.log", "chat", str(project.path), *words) as site:
            lead, user = (come_in(store, site.address, role, role) for role in ("lead", "user"))
            page = again(request("/review", cookie=lead), side_by_side=2)
            yield f"chat, {REVIEW}", felt(site, [request("/", cookie=user), request("/mine", cookie=user)], page, size)


def behind_a_hole(folder: Path, wanted: Callable[[str], bool], size: Size) -> Iterator[tuple[str, dict[str, Any]]]:
    """Others ask for what needs no database; those who need it are the attackers here, and get a 503 in time."""
    if not wanted(HOLE):
        return
    sys.path.insert(0, str(ROOT / "tests"))
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        postgres: Any = import_module("feedback.conftest").Postgres(Path(place))
        url = postgres.database()
        wire = Wire(Path(place) / ".s.PGSQL.5432")
        far = f"postgresql+psycopg://accord@127.0.0.1:{wire.port}/{url.split('/')[3].split('?')[0]}"
        project = Project.create(folder / "hole", settings={"store": {"url": far}})
        try:
            with running(folder / "hole.log", "label", str(project.path), "--port", "0") as site, Store.open(url) as store:
                cookie = come_in(store, site.address, "labeler", "anna")
                hole = wire.hole(again(request("/", cookie=cookie), side_by_side=40, pause=0.2))
                found = felt(site, [request("/health")], hole, size, wire.cut.clear)
                yield f"label, {HOLE}", found | back_again(site, cookie)
        finally:
            wire.close()
            postgres.stop()


def back_again(site: Server, cookie: str) -> dict[str, Any]:
    """Return how long it takes until a page that needs the database is there again."""
    began = time.monotonic()
    while attacks.status(site.port, request("/", cookie=cookie)) != 200:
        time.sleep(0.2)
        if time.monotonic() > began + 120:
            raise SystemExit("the site did not come back with its database")
    return {"back_after_seconds": round(time.monotonic() - began, 1)}


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "") or platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="words of the attacks to run, separated by commas")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "hardening.json")
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192 if hard == resource.RLIM_INFINITY else max(soft, min(hard, 8192)), hard))
    size, words = QUICK if given.quick else FULL, [word for word in given.only.split(",") if word]

    def wanted(name: str) -> bool:
        return not words or any(word in name for word in words)

    began, load, found = time.monotonic(), os.getloadavg()[1], dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for part in (on_the_gate, on_a_model, on_the_site, on_the_chat, behind_a_hole):
            for name, figures in part(folder, wanted, size):
                found[name] = figures
                print(name, figures, flush=True)
        logs = {log.stem: log.stat().st_size for log in folder.glob("*.log")}
    record = {
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "shared_with_other_programs": True,
        "load_before": round(load, 1),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "seconds_per_attack": size.rounds * size.attacked,
        "log_bytes": logs,
        "felt_by_others": found,
    }
    given.out.write_text(json.dumps(record, indent=2) + "\n")
    print(given.out)


if __name__ == "__main__":
    main()
