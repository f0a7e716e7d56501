"""A team on one site: labelers at a human pace, chats and a training at once, then kill -9 of each part. Is anything lost, and who waits?

    python benchmarks/site_load.py                      200 labelers (an answer in 20 s), 50 chats, one training; about 10 minutes
    python benchmarks/site_load.py --quick              20 labelers and 5 chats at ten times the pace; 1 to 2 minutes
    python benchmarks/site_load.py --stores postgresql  one store alone

`accord open` serves the project: on SQLite as one process, on PostgreSQL with two workers and the process that answers. A lead starts the
training on the page and watches it. First everybody works undisturbed, and requests are timed; then, while they go on, each of these is
killed with kill -9 and comes back: a worker, the process that answers, the training (the lead resumes it), PostgreSQL, the whole site.
Whether anything is lost is said by the witness (witness.py): what was acknowledged, looked up by SQL alone.
The clients are threads of this program, on the same cores: the figures hold for the site and its clients together.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from chat_kills import ANSWER, ASKED, CSRF
from labeling_load import ROOT, Log, checked, fill, labor, postgres_server
from visitor import Visitor
from witness import Witness, verdict_on_talk

from accord import Demonstration, Labeler, Message, PretrainConfig, Project, Prompt, SftConfig, Store
from accord.data.corpus import write_documents
from accord.feedback import accounts
from accord.feedback.accounts import Role
from accord.feedback.web.workers import SINGLE_AT
from accord.runtime import jobs, owners
from accord.runtime.files import write_atomic

PROGRAM = "from accord.commands.app import main; main()"
RUN = "watched"
CHAT: dict[str, Any] = {"turns_per_minute": 0, "max_tokens": 32, "two": 0.0}
BACK = 120.0
"""Seconds within which everything must be back after a kill, on a busy machine too."""
WRONG = ("lost", "changed", "unrecorded", "doubled", "over_overlap", "lost_turns", "doubled_turns", "server_errors", "steps_missing")
"""Figures that must be zero."""


@dataclass(frozen=True)
class Size:
    """How much is tried."""

    labelers: int = 200
    chats: int = 50
    pace: float = 20.0
    """Mean seconds between two answers of a labeler, and between two questions of a chat."""
    seconds: float = 120.0
    """Of work without kills."""
    between: float = 20.0
    """Seconds of work after each kill."""
    tasks: int = 100_000
    documents: int = 20_000
    """Of raw text from which the models are pretrained."""
    hidden: int = 64


QUICK = Size(labelers=20, chats=5, pace=2.0, seconds=15.0, between=2.0, tasks=2_000, documents=400, hidden=32)
SMALL = Size(labelers=6, chats=2, pace=0.5, seconds=3.0, between=0.5, tasks=400, documents=60, hidden=16)


@dataclass
class Talk:
    """What the people of the chat saw, all threads together."""

    witness: Witness
    closing: threading.Event = field(default_factory=threading.Event)
    first: list[float] = field(default_factory=list[float])
    """Milliseconds from a question to the first words of its answer."""
    statuses: Counter[int] = field(default_factory=Counter[int])


class Site:
    """`accord open` on a project; after the first start it comes back on the same port."""

    def __init__(self, project: Project, workers: int) -> None:
        self.project, self.workers, self.port = project, workers, 0
        self.start()

    def start(self) -> None:
        """Start the site, again where the old one's processes still hold the port."""
        end = time.monotonic() + BACK
        while not self._started():
            if time.monotonic() > end:
                raise RuntimeError(self.said.read_text())
            time.sleep(0.5)

    def _started(self) -> bool:
        self.said = self.project.path / f"site-{time.monotonic_ns()}.txt"
        words = ["-c", PROGRAM, "open", str(self.project.path), "--port", str(self.port), "--workers", str(self.workers)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with self.said.open("wb") as said:
            self.process = subprocess.Popen([sys.executable, *words], stdout=said, stderr=said, env=environment)
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", self.said.read_text())):
            if self.process.poll() is not None:
                return False
            time.sleep(0.05)
        self.port = int(found[1])
        self.address = f"http://127.0.0.1:{self.port}"
        return True

    def processes(self) -> tuple[list[int], list[int]]:
        """The workers, and the process that answers; none where the site is one process."""
        pid, found = self.process.pid, (list[int](), list[int]())
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            try:
                passes_on = f"{SINGLE_AT}=".encode() in Path(f"/proc/{child}/environ").read_bytes()
                is_ours = b"ACCORD_LISTENING=" in Path(f"/proc/{child}/environ").read_bytes()
            except OSError:
                continue
            if is_ours:
                found[0 if passes_on else 1].append(int(child))
        return found

    def kill(self) -> None:
        """kill -9 of the first process; the kernel ends its workers."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


def prepared(url: str, folder: Path, size: Size) -> Project:
    """A project with a queue, a language model that chats, and demonstrations to train on."""
    from accord import pretrain, sft

    project = Project.create(folder, settings={"store": {"url": url}, "chat": CHAT})
    chance = random.Random(0)
    texts = [" ".join(chance.choices(ASKED, k=6)) for _ in range(size.documents)]
    write_documents(project.path / "corpus" / "text.jsonl", texts)
    prompts = [Prompt(f"d{n}", (Message("user", f"{chance.choice(ASKED)} ({n})"),), user=f"u{n}") for n in range(40)]
    with Store.open(url) as store:
        fill(store, size.tasks)
        written = [Demonstration(prompt.id, prompt, "The miller keeps it.", "writer") for prompt in prompts]
        store.add(labelers=[Labeler("writer", "person")], demonstrations=written)
    shape: dict[str, Any] = {"vocab_size": 300, "hidden_size": size.hidden, "layers": 2, "heads": 2, "intermediate_size": 2 * size.hidden}
    pretrain(project, config=PretrainConfig(**shape, context=256, tokens=20_000, warmup_steps=2))
    sft(project, config=SftConfig(epochs=1, ptx_tokens=0))
    return project


class Team:
    """Everybody at work on a site until they are told to stop."""

    def __init__(self, site: Site, store: Store, size: Size, log: Log, talk: Talk) -> None:
        self.site, self.store, self.size, self.log, self.talk = site, store, size, log, talk
        self.over = threading.Event()
        self.pages: list[float] = []
        """Milliseconds of the pages that the lead looks at."""
        self.lead = self.come("lead", "lead")
        self.threads: list[threading.Thread] = []
        for number in range(size.labelers):
            visitor = Visitor(site.address)
            visitor.join(accounts.invite(store, "labeler", f"labeler {number}", by="load", now=datetime.now(UTC)))
            self.threads.append(threading.Thread(target=labor, args=(visitor, log, self.over, number, size.pace)))
        for number in range(size.chats):
            person = self.come("user", f"person {number}")
            self.threads.append(threading.Thread(target=self._converse, args=(person, number)))
        self.threads.append(threading.Thread(target=self._watch))

    def come(self, role: Role, name: str) -> httpx.Client:
        """Somebody who has come in by an invitation."""
        token = accounts.invite(self.store, role, name, by="load", now=datetime.now(UTC))
        client = httpx.Client(base_url=self.site.address, timeout=60)
        assert client.post("/join", data={"token": token}).status_code == 303
        return client

    def first_answer(self) -> float:
        """Ask a question before everybody else, and return the seconds until its answer: the models are loaded for it."""
        person, began = self.come("user", "the first"), time.monotonic()
        to = str(self._sent(person, "/say", {"text": "Who comes first?", "key": "the-first-question-of-all"})["next"])
        awaited("the first answer", lambda: ANSWER.search(person.get(to, headers={"Accept": "text/html"}).text))
        person.close()
        return round(time.monotonic() - began, 1)

    def begin(self) -> None:
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.lead.close()

    def _converse(self, client: httpx.Client, number: int) -> None:
        """Somebody who asks one thing after another and reads the answers; what is not acknowledged is sent again with the same key."""
        chance, asked = random.Random(number), 0
        self.over.wait(chance.random() * self.size.pace)
        while not self.over.is_set():
            asked += 1
            text, key = f"{chance.choice(ASKED)} (person {number}, {asked})", f"person-{number}-{asked}-{chance.random()}"
            began = time.perf_counter()
            reply = self._sent(client, "/say", {"text": text, "key": key})
            self.talk.witness.said(text)
            to = str(reply["next"])
            try:
                with client.stream("GET", f"{to}/live") as stream:
                    for line in stream.iter_lines():
                        if line.startswith("event: text") and began:
                            self.talk.first.append(1000 * (time.perf_counter() - began))
                            began = 0.0
                for id in ANSWER.findall(client.get(to, headers={"Accept": "text/html"}).text):
                    self.talk.witness.heard(id)
            except httpx.HTTPError:
                pass  # a process that died has shown nothing
            self.over.wait(chance.uniform(0.5, 1.5) * self.size.pace)
        client.close()

    def _sent(self, client: httpx.Client, path: str, form: dict[str, str]) -> dict[str, Any]:
        """What the site says of a form, sent until it is acknowledged."""
        while True:
            try:
                form = form | {"csrf": CSRF.findall(client.get("/mine").raise_for_status().text)[0]}
                reply = client.post(path, data=form, headers={"Accept": "application/json"})
                self.talk.statuses[reply.status_code] += 1
                return reply.raise_for_status().json()
            except (httpx.HTTPError, IndexError):
                time.sleep(0.2)

    def _watch(self) -> None:
        """The lead looks at the first page and at the training."""
        while not self.over.wait(self.size.pace / 4):
            for path in ("/", f"/run/{RUN}/live", "/lead"):
                began = time.perf_counter()
                try:
                    self.lead.get(path, headers={"Accept": "text/html"}).raise_for_status()
                except httpx.HTTPError:
                    continue
                self.pages.append(1000 * (time.perf_counter() - began))

    def train(self) -> None:
        """Start the training on the page."""
        self._posted("/runs/new/sft", {"name": RUN, "model.base": "base", "do": "start", **TRAINING})
        awaited("the training", lambda: self.run().state == "running" and steps(self.site.project) > 0)

    def run(self) -> jobs.Job:
        """The newest job of the training."""
        return next(job for job in jobs.newest(self.site.project) if job.run == RUN)

    def resume(self) -> None:
        self._posted(f"/run/{RUN}/resume", {})

    def stop(self) -> None:
        self._posted(f"/run/{RUN}/stop", {})

    def _posted(self, path: str, form: dict[str, str]) -> None:
        """Send a lead's form until it is taken."""
        end = time.monotonic() + BACK
        while True:
            try:
                token = CSRF.findall(self.lead.get("/runs", headers={"Accept": "text/html"}).raise_for_status().text)[0]
                reply = self.lead.post(path, data=form | {"csrf": token}, headers={"Accept": "text/html"})
                if reply.status_code in (200, 303):
                    return
                problem = reply.text
            except (httpx.HTTPError, IndexError) as error:
                problem = repr(error)
            if time.monotonic() > end:
                raise RuntimeError(f"{path}: {problem[-2000:]}")
            time.sleep(0.5)


TRAINING = {"set.epochs": "100000", "set.batch_size": "8", "set.ptx_tokens": "0", "set.save_every": "20"}


def steps(project: Project) -> int:
    """The last step that the training has written down."""
    return max((int(row["step"]) for row in rows(project)), default=0)


def rows(project: Project) -> Iterator[dict[str, Any]]:
    path = project.run(RUN) / "metrics.jsonl"
    yield from (json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")) if path.exists() else ()


def awaited(what: str, true: Callable[[], object], seconds: float = BACK) -> float:
    """Wait for something, and return the seconds that it took."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > seconds:
            raise RuntimeError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)
    return round(time.monotonic() - began, 1)


def faults(team: Team, size: Size, server: Any) -> dict[str, float]:
    """Kill each part while everybody goes on; return the seconds until it was back."""
    site, back = team.site, dict[str, float]()

    def work() -> None:
        """Let everybody go on until something more is acknowledged on both sides."""
        time.sleep(size.between)
        answers, talk = count(team.log.witness), count(team.talk.witness)
        awaited("labeling goes on", lambda: count(team.log.witness) > answers)
        awaited("the chat goes on", lambda: count(team.talk.witness) > talk)

    def new(kind: int, before: Sequence[int]) -> Callable[[], bool]:
        return lambda: len(site.processes()[kind]) == len(before) and set(site.processes()[kind]) != set(before)

    if site.workers > 1:
        for kind, name in enumerate(("worker", "process_that_answers")):
            before = site.processes()[kind]
            os.kill(before[0], signal.SIGKILL)
            back[name] = awaited(name, new(kind, before))
            work()

    run = team.run()
    owner = owners.living(run.folder / "process.json")
    assert owner is not None
    os.killpg(owner.pid, signal.SIGKILL)
    began = time.monotonic()
    awaited("the end of the training is seen", lambda: not team.run().unfinished)
    assert team.run().state == "failed"
    at = steps(site.project)
    team.resume()
    awaited("the training goes on", lambda: team.run().state == "running" and steps(site.project) > at)
    back["training"] = round(time.monotonic() - began, 1)
    work()

    if server is not None:
        os.kill(int((server.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        time.sleep(1.0)
        back["postgresql"] = awaited("PostgreSQL", lambda: started(server))
        work()

    job = team.run()
    site.kill()
    assert team.run().state == "running", "the training outlives the site"
    at = steps(site.project)
    began = time.monotonic()
    site.start()
    back["site"] = round(time.monotonic() - began, 1)
    work()
    awaited("the training goes on", lambda: steps(site.project) > at)
    assert team.run().number == job.number, "and is the same one"
    return back


def started(server: Any) -> bool:
    """Start PostgreSQL again; False while the processes of the one that was killed still go."""
    try:
        server._run("pg_ctl", "start", "--wait", "--pgdata", server.data, "--log", server.folder / "log.txt")
    except AssertionError:
        time.sleep(0.5)
        return False
    return True


def count(witness: Witness) -> int:
    return len(list(witness.lines()))


def measure(url: str, folder: Path, size: Size, workers: int, server: Any = None) -> dict[str, Any]:
    """All figures of one store."""
    project = prepared(url, folder, size)
    log, talk = Log(Witness(folder / "rankings.jsonl")), Talk(Witness(folder / "talk.jsonl"))
    with Store.open(url) as store:
        site = Site(project, workers)
        try:
            team = Team(site, store, size, log, talk)
            first_answer = team.first_answer()
            team.train()
            began, at = time.monotonic(), steps(project)
            team.begin()
            time.sleep(size.seconds)
            awaited("everybody is answered", lambda: talk.first and log.milliseconds and team.pages)
            calm = time.monotonic() - began
            figures: dict[str, Any] = {
                "labelers": size.labelers,
                "chats": size.chats,
                "seconds_per_answer": size.pace,
                "workers": workers,
                "first_answer_s": first_answer,
                "calm_seconds": round(calm, 1),
                "labeling_ms": quantiles(log.milliseconds),
                "first_words_ms": quantiles(talk.first),
                "lead_pages_ms": quantiles(team.pages),
                "answers_per_s": round(count(log.witness) / calm, 2),
                "questions_per_s": round(len(talk.first) / calm, 2),
                "training_steps_per_s": round((steps(project) - at) / calm, 2),
                "server_errors": sum(n for status, n in (log.statuses + talk.statuses).items() if status >= 500),
            }
            figures["back_after_s"] = faults(team, size, server)
            log.closing.set()
            team.stop()
            awaited("the training saves and ends", lambda: not team.run().unfinished)
            figures["training_ended"] = team.run().state
            team.end()
        finally:
            stop_training(project)
            site.close()
    seen = {int(row["step"]) for row in rows(project) if "loss" in row}
    figures["steps_missing"] = len(set(range(1, max(seen) + 1)) - seen)
    with Store.open(url) as store:  # anew: the connections from before the kill are dead
        return figures | checked(url, store, log.witness) | verdict_on_talk(url, talk.witness)


def stop_training(project: Project) -> None:
    """End the training, however the measurement went."""
    for job in jobs.newest(project):
        if job.unfinished:
            jobs.stop(project, job.number, at_once=True)


def quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {
        "p50": round(ordered[len(ordered) // 2], 1),
        "p99": round(ordered[int(len(ordered) * 0.99)], 1),
        "most": round(ordered[-1], 1),
        "requests": len(ordered),
    }


def run(size: Size, stores: Sequence[str]) -> dict[str, Any]:
    """The figures of each store."""
    found: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    for name in stores:
        folder = Path(tempfile.mkdtemp(prefix="accord-load-", dir="/tmp"))
        folder.chmod(0o755)  # PostgreSQL's own user must be able to enter it
        try:
            with ExitStack() as stack:
                server, url, workers = None, f"sqlite:///{folder}/feedback.db", 1
                if name == "postgresql":
                    (folder / "pg").mkdir()
                    (server, url), workers = stack.enter_context(postgres_server(folder / "pg")), 2
                found[name] = measure(url, folder / "project", size, workers, server)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def processor() -> str:
    named = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return named[1] if named else platform.machine()


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--quick", action="store_true", help="20 labelers and 5 chats at ten times the pace")
    much.add_argument("--small", action="store_true", help="6 labelers and 2 chats, to see that it works")
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--out", type=Path, help="file for the figures; benchmarks/results/site_load.json, or site_load_quick.json")
    given = parser.parse_args(words)
    figures = run(SMALL if given.small else QUICK if given.quick else Size(), given.stores)
    out = given.out or ROOT / "benchmarks" / "results" / f"site_load{'_small' if given.small else '_quick' if given.quick else ''}.json"
    kept = json.loads(out.read_text()) if out.exists() else {}  # a store measured alone leaves the other's figures
    write_atomic(out, json.dumps(kept | figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return int(any(figures[store][name] for store in given.stores for name in WRONG))


if __name__ == "__main__":
    sys.exit(main())
