"""Kill -9 at random moments in every command that writes: is anything lost, doubled or wrong? Judged through SQL and the files alone.

    python benchmarks/kills.py [--kills 100] [--kinds import undo ...] [--stores sqlite postgresql] [--out benchmarks/results/kills.json]

A command is killed at a moment drawn evenly over the time that it takes. What stands then must be all of the old or all of the new. The
same command is run again, as a user would, and what stands then is compared with what went in. Servers are killed while clients work;
each client writes down what was acknowledged, and the databases are read by their drivers, without any code of the package.

lost      acknowledged or brought in before, and gone
doubled   there twice
wrong     another content than what was sent, half of something, or a command that cannot be run again
left      files with a temporary name that a later run of the command did not clear
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forked import LOADED, SLOW, Ended, Forked, Site
from talking import Asker, Sender, talking_model
from witness import Witness, rows, verdict

HERE = Path(__file__).parent
Found = Counter[str]
WRONG = ("lost", "doubled", "wrong")
"""Figures that must be zero."""


@dataclass
class Ground:
    """What a kind of kill works on."""

    forked: Forked
    folder: Path
    kills: int
    chance: random.Random
    blank: Callable[[], str]
    """Returns the address of a blank database; the former one's may be the same, emptied."""
    found: Found = field(default_factory=Found)
    took: float = 0.0
    """Seconds that the command takes when nobody kills it, as far as is known."""
    faults: list[str] = field(default_factory=list[str])

    def project(self, name: str, url: str) -> Path:
        """Return a new project on a database."""
        path = self.folder / name
        self.must(self.forked.run("init", str(path)))
        toml = path / "accord.toml"
        if not url.startswith("sqlite"):
            toml.write_text(toml.read_text() + f'\n[store]\nurl = "{url}"\n')
        return path

    def must(self, ended: Ended) -> Ended:
        """Return how a command ended; one that had to succeed and did not is a fault."""
        if ended.code != 0:
            self.wrong(f"exit code {ended.code}: {ended.said[-600:]}")
        return ended

    def cut(self, *words: str) -> Ended:
        """Run a command, and kill it at a random moment of the time that it takes."""
        ended = self.forked.run(*words, seconds=self.chance.uniform(0.0, 1.05) * self.took)
        self.found["kills" if ended.killed else "ended_first"] += 1
        if not ended.killed:
            self.must(ended)
        return ended

    def again(self, *words: str) -> Ended:
        """Run a command to its end, and remember how long it took."""
        ended = self.must(self.forked.run(*words))
        self.took = ended.seconds if not self.took else 0.7 * self.took + 0.3 * ended.seconds
        return ended

    def wrong(self, what: str, count: int = 1) -> None:
        self.count("wrong", what, count)

    def count(self, name: str, what: str, count: int = 1) -> None:
        if count:
            self.found[name] += count
            self.faults.append(f"{name}: {what}")

    def compare(self, there: Counter[str], wanted: Counter[str], what: str) -> None:
        """Count what is missing and what is too many."""
        self.count("lost", f"{what}: {list((wanted - there).items())[:2]}", (wanted - there).total())
        more = there - wanted
        self.count("doubled", f"{what}: {list(more.items())[:2]}", sum(count for key, count in more.items() if key in wanted))
        self.count("wrong", f"{what}: {list(more.items())[:2]}", sum(count for key, count in more.items() if key not in wanted))

    def left(self, folder: Path) -> None:
        names = [str(path) for path in folder.rglob("*") if path.name.startswith(".tmp-") or path.name.endswith(".pending")]
        self.count("left", f"{names[:3]}", len(names))


def one(url: str, query: str) -> Any:
    """Return the first value of a query's first row."""
    return next(rows(url, query))[0]


def store_of(project: Path) -> str:
    """Return the address that accord.toml names, read without the package."""
    import tomllib

    url = tomllib.loads((project / "accord.toml").read_text()).get("store", {}).get("url", "sqlite:///feedback.db")
    place = url.removeprefix("sqlite:///")
    return f"sqlite:///{project / place}" if url.startswith("sqlite:///") else url


def pairs(kind: str, number: int, size: int) -> list[tuple[str, str]]:
    return [
        (f"{kind} {number}.{n}: who keeps the mill?", f"{kind} {number}.{n}: the miller, {'and ' * (n % 7)}nobody else.")
        for n in range(size)
    ]


def demonstrations(path: Path, said: Sequence[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"prompt": asked, "response": answer}) + "\n" for asked, answer in said))
    return path


def raw_text(path: Path, said: Sequence[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"text": f"{asked} {answer}"}) + "\n" for asked, answer in said))
    return path


def stored(url: str, kind: str, number: int, *, in_use: bool = False) -> Counter[str]:
    """Return the stored pairs of one file; with ``in_use`` those alone that nothing withdrew."""
    query = (
        f"SELECT p.messages, d.text, d.id FROM demonstrations d JOIN prompts p ON p.id = d.prompt_id WHERE d.text LIKE '{kind} {number}.%'"
    )
    gone = set[str]()
    if in_use:
        gone = {row[0] for row in rows(url, "SELECT record_id FROM withdrawn WHERE kind = 'demonstration'")}
    return Counter(f"{json.loads(turns)[0][1]}|{text}" for turns, text, id in rows(url, query) if id not in gone)


def lines(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def imports(ground: Ground, undo: bool = False) -> None:
    """Import a file of demonstrations or of raw text; with ``undo`` take it back, and kill that."""
    project, url = Path(), ""
    for number in range(10 * ground.kills):
        if ground.found["kills"] >= ground.kills:
            break
        if number % 15 == 0:
            shutil.rmtree(project, ignore_errors=True) if number else None
            url = ground.blank()
            project = ground.project(f"import-{number}-{undo}", url)
            url = store_of(project)
        said, text = pairs("Row", number, 400), number % 2 == 1
        source = (raw_text if text else demonstrations)(ground.folder / f"rows-{number}.jsonl", said)
        words = ("import", str(project), str(source))
        if undo:
            ground.again(*words) if not ground.took else ground.must(ground.forked.run(*words))
            _undone(ground, project, url, number, said, text)
        else:
            if number < 2:
                ground.again(*words)
            else:
                ground.cut(*words)
                _imported(ground, project, url, number, said, text, whole=False)
                ground.again(*words)
            _imported(ground, project, url, number, said, text, whole=True)
            ground.left(project)
        source.unlink()


def _imported(ground: Ground, project: Path, url: str, number: int, said: Sequence[tuple[str, str]], text: bool, whole: bool) -> None:
    query = "SELECT number, files FROM imports WHERE undone = ''"
    there = list(rows(url, query)) if _has(url, "imports") else []
    files = {name for row in there for name in json.loads(row[1])}
    if text:
        mine = sorted(project.glob(f"corpus/rows-{number}-*.jsonl"))
        names = {f"corpus/{path.name}" for path in mine}
        wanted = Counter(f"{asked} {answer}" for asked, answer in said)
        for path in mine:
            marked = path.with_name(path.name + ".pending").exists()
            if f"corpus/{path.name}" in files:
                ground.compare(Counter(lines(path)), wanted, "raw text")
            elif not marked:
                ground.wrong(f"raw text that no import names, and no mark: {path.name}")
        recorded = {name for name in files if name.startswith(f"corpus/rows-{number}-")}
        ground.count("lost", f"an import names raw text that is gone: {recorded - names}", len(recorded - names))
        if whole and not recorded:
            ground.count("lost", f"raw text of import {number} after running it again")
        return
    found, wanted = stored(url, "Row", number) if there else Counter[str](), Counter(f"{asked}|{answer}" for asked, answer in said)
    if found or whole:
        ground.compare(found, wanted, "demonstrations")
        asked = one(url, f"SELECT COUNT(*) FROM prompts WHERE messages LIKE '%Row {number}.%'")
        if asked != len(said):
            ground.wrong(f"{asked} prompts of {len(said)}")
        if not there:
            ground.wrong("rows of an import that is not listed")
    elif there and one(url, f"SELECT COUNT(*) FROM prompts WHERE messages LIKE '%Row {number}.%'"):
        ground.wrong("prompts without their demonstrations")


def _has(url: str, table: str) -> bool:
    try:
        one(url, f"SELECT COUNT(*) FROM {table}")
    except Exception:  # neither driver is the other's
        return False
    return True


def _undone(ground: Ground, project: Path, url: str, number: int, said: Sequence[tuple[str, str]], text: bool) -> None:
    import_number = int(one(url, "SELECT MAX(number) FROM imports"))
    words = ("undo", str(project), str(import_number))
    ground.cut(*words)
    stands = one(url, f"SELECT undone FROM imports WHERE number = {import_number}") == ""
    if not text:
        ground.compare(stored(url, "Row", number, in_use=True), Counter(f"{a}|{b}" for a, b in said) if stands else Counter(), "in use")
    # Another command settles what the kill left; only then the files have to agree with the database.
    other = demonstrations(ground.folder / "other.jsonl", pairs("Other", number, 2))
    ground.must(ground.forked.run("import", str(project), str(other)))
    _files_agree(ground, project, number, import_number, said, text, stands)
    if stands:
        ground.must(ground.forked.run(*words))
        _files_agree(ground, project, number, import_number, said, text, False)
    ground.left(project)
    if not text:
        ground.compare(stored(url, "Row", number, in_use=True), Counter(), "in use after an undo")
        ground.compare(stored(url, "Row", number), Counter(f"{a}|{b}" for a, b in said), "kept by an undo")


def _files_agree(
    ground: Ground, project: Path, number: int, import_number: int, said: Sequence[tuple[str, str]], text: bool, stands: bool
) -> None:
    if not text:
        return
    corpus, undone = (
        list(project.glob(f"corpus/rows-{number}-*.jsonl")),
        list(project.glob(f"undone/{import_number}-rows-{number}-*.jsonl")),
    )
    there, not_there = (corpus, undone) if stands else (undone, corpus)
    if not_there:
        ground.wrong(f"raw text of an import that {'stands' if stands else 'is undone'} in {not_there[0].parent.name}/")
    wanted = Counter(f"{asked} {answer}" for asked, answer in said)
    ground.compare(Counter(line for path in there for line in lines(path)), wanted, "raw text of an undo")


def undos(ground: Ground) -> None:
    imports(ground, undo=True)


def filled(ground: Ground, name: str, size: int, url: str = "sqlite") -> Path:
    project = ground.project(name, url)
    source = demonstrations(ground.folder / f"{name}.jsonl", pairs("Row", 0, size))
    ground.must(ground.forked.run("import", str(project), str(source)))
    return project


def exports(ground: Ground) -> None:
    """Write demonstrations over an older export."""
    project, out = filled(ground, "export", 3000, ground.blank()), ground.folder / "out" / "rows.jsonl"
    out.parent.mkdir()
    url, words = store_of(project), ("export", str(project), "--what", "demonstrations", "--out", str(out))
    for number in range(1, 10 * ground.kills):
        if ground.found["kills"] >= ground.kills:
            break
        if number == 1:
            ground.again(*words)
        before = out.read_text()
        source = demonstrations(ground.folder / "more.jsonl", pairs("More", number, 1))
        ground.must(ground.forked.run("import", str(project), str(source)))
        ground.cut(*words)
        if out.read_text() != before:
            _exported(ground, out, url)
        ground.again(*words)
        _exported(ground, out, url)
        ground.left(out.parent)


def _exported(ground: Ground, out: Path, url: str) -> None:
    try:
        written = Counter(f"{row['id']}|{row['response']}" for row in map(json.loads, out.read_text().splitlines()))
    except (ValueError, KeyError) as error:
        ground.wrong(f"half an export: {error}")
        return
    ground.compare(written, Counter(f"{id}|{text}" for id, text in rows(url, "SELECT id, text FROM demonstrations")), "exported")


def backups(ground: Ground) -> None:
    """Write a project into one file."""
    project = filled(ground, "backup", 1500, ground.blank())
    url, folder = store_of(project), ground.folder / "backups"
    folder.mkdir()
    wanted = Counter(f"{id}|{text}" for id, text in rows(url, "SELECT id, text FROM demonstrations"))
    for number in range(10 * ground.kills):
        if ground.found["kills"] >= ground.kills:
            break
        out = folder / f"{number}.zip"
        words = ("backup", str(project), str(out))
        if number:
            ground.cut(*words)
            if out.exists():
                _packed(ground, out, wanted)
                out.unlink()
        ground.again(*words)
        _packed(ground, out, wanted)
        if number % 10 == 0:
            ground.must(ground.forked.run("restore", str(out), str(ground.folder / f"restored-{number}")))
            again = f"sqlite:///{ground.folder / f'restored-{number}' / 'feedback.db'}"
            ground.compare(Counter(f"{a}|{b}" for a, b in rows(again, "SELECT id, text FROM demonstrations")), wanted, "restored")
        ground.left(folder)
        out.unlink()


def _packed(ground: Ground, out: Path, wanted: Counter[str]) -> None:
    said = out.with_name(out.name + ".sha256").read_text().split()[0]
    if hashlib.sha256(out.read_bytes()).hexdigest() != said:
        ground.wrong("a backup that differs from its digest")
    try:
        with zipfile.ZipFile(out) as archive:
            written = [json.loads(line) for line in archive.read("store/demonstrations.jsonl").splitlines()]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        ground.wrong(f"half a backup: {error}")
        return
    flat = [row if isinstance(row, dict) else {} for row in written]
    ground.compare(Counter(f"{row.get('id')}|{row.get('text')}" for row in flat), wanted, "packed")


def restores(ground: Ground) -> None:
    """Make a project of a backup, on PostgreSQL with its rows in a database of its own."""
    project = filled(ground, "restore", 1500, "sqlite")
    wanted = Counter(f"{id}|{text}" for id, text in rows(store_of(project), "SELECT id, text FROM demonstrations"))
    ground.must(ground.forked.run("backup", str(project), str(ground.folder / "one.zip")))
    for number in range(10 * ground.kills):
        if ground.found["kills"] >= ground.kills:
            break
        made = ground.folder / "made" / f"{number}"
        target = ground.blank()
        words = ("restore", str(ground.folder / "one.zip"), str(made), *(() if target.startswith("sqlite") else ("--to", target)))
        if number:
            ground.cut(*words)
        if not made.exists():
            ground.again(*words)
        ground.compare(Counter(f"{a}|{b}" for a, b in rows(store_of(made), "SELECT id, text FROM demonstrations")), wanted, "restored")
        shutil.rmtree(made)
        ground.left(made.parent)


def moves(ground: Ground) -> None:
    """Move a store to another database, and go on writing into the one that is in force."""
    for number in range(10 * ground.kills):
        if ground.found["kills"] >= ground.kills:
            break
        project = filled(ground, f"move-{number}", 200)
        old, target = store_of(project), ground.blank()
        new = f"sqlite:///{project / 'new.db'}" if target.startswith("sqlite") else target
        words = ("move-store", str(project), "--to", new)
        wanted = Counter(text for (text,) in rows(old, "SELECT text FROM demonstrations"))
        if number:
            ground.cut(*words)
            # One store is in force. What it acknowledges now must arrive.
            for place in range(2):
                source = demonstrations(ground.folder / "late.jsonl", pairs(f"Late{place}", number, 1))
                if ground.forked.run("import", str(project), str(source)).code == 0:
                    wanted[pairs(f"Late{place}", number, 1)[0][1]] += 1
        if store_of(project) != new:
            ground.again(*words)
        ground.compare(Counter(text for (text,) in rows(new, "SELECT text FROM demonstrations")), wanted, "moved")
        if store_of(project) != new:
            ground.wrong("accord.toml does not name the new store")
        with suppress(sqlite3.DatabaseError), sqlite3.connect(old.removeprefix("sqlite:///")) as connection:
            connection.execute("DELETE FROM demonstrations")
            ground.wrong("the old store can still be written")
        ground.left(project)
        shutil.rmtree(project)


def oldest(path: str, size: str) -> None:
    """Make a store of version 1 with so many demonstrations; run by the process that forks."""
    import importlib

    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from sqlalchemy import create_engine

    first: Any = importlib.import_module("accord.feedback.migrations.versions.0001_records")
    engine = create_engine(path)
    with engine.begin() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            first.upgrade()
        connection.exec_driver_sql("INSERT INTO meta VALUES ('version', '1')")
        connection.exec_driver_sql("INSERT INTO labelers VALUES ('ann', 'person', 'g')")
        for n in range(int(size)):
            asked, answer = pairs("Row", 0, 1)[0]
            turns = json.dumps([["user", asked.replace("0.0", f"0.{n}")]])
            columns = 'INSERT INTO prompts (id, split, use_case, "user", source, messages)'
            connection.exec_driver_sql(f"{columns} VALUES ('p{n}', 'train', 'chat', 'u', 's', '{turns}')")
            connection.exec_driver_sql(f"INSERT INTO demonstrations VALUES ('d{n}', 'p{n}', 'ann', '{answer.replace('0.0', f'0.{n}')}')")
    engine.dispose()


def migrations(ground: Ground) -> None:
    """Open a store of version 1, which migrates it."""
    sys.path.insert(0, str(HERE))
    newest = len(list((HERE.parent / "src" / "accord" / "feedback" / "migrations" / "versions").glob("0*.py")))
    first = ground.folder / "first.db"
    ground.must(ground.forked.run("!kills:oldest", f"sqlite:///{first}", "1500"))
    query = "SELECT d.id, d.text, p.messages FROM demonstrations d JOIN prompts p ON p.id = d.prompt_id"
    wanted = Counter(map(str, rows(f"sqlite:///{first}", query)))
    for number in range(10 * ground.kills):
        if ground.found["kills"] >= ground.kills:
            break
        url = ground.blank()
        project = ground.project(f"migrate-{number}", url)
        url = store_of(project)
        if url.startswith("sqlite"):
            shutil.copy(first, project / "feedback.db")
        else:
            ground.must(ground.forked.run("!kills:oldest", url, "300"))
            wanted = Counter(map(str, rows(url, query)))
        words = ("imports", str(project))
        if number:
            ground.cut(*words)
            version = int(one(url, "SELECT value FROM meta WHERE key = 'version'"))
            if version not in (1, newest):
                ground.wrong(f"a store of version {version}, between the old and the new")
            ground.compare(Counter(map(str, rows(url, query))), wanted, "rows of a migration")
        ground.again(*words)
        if int(one(url, "SELECT value FROM meta WHERE key = 'version'")) != newest:
            ground.wrong("the store was not migrated")
        ground.compare(Counter(map(str, rows(url, query))), wanted, "rows after a migration")
        shutil.rmtree(project)


def save_steps(folder: str) -> None:
    """Save states without an end, and write down each that is on disk; run by the process that forks."""
    import torch

    from accord.runtime import checkpoints

    place, step = Path(folder), 0
    with suppress(Exception):
        step = int(checkpoints.load(place / "checkpoint")["step"])
    with (place / "acknowledged").open("a") as said:
        while True:
            step += 1
            weights = {f"layer.{n}": torch.full((64, 64), float(step + n)) for n in range(8)}
            checkpoints.save(place / "checkpoint", {"step": step, "weights": weights}, step)
            said.write(f"{step}\n")
            said.flush()
            os.fsync(said.fileno())


def checkpoints(ground: Ground) -> None:
    """Save a checkpoint after another, and go on from the last."""
    import torch

    place = ground.folder / "saving"
    place.mkdir()
    last = 0
    for _ in range(ground.kills):
        ended = ground.forked.run("!kills:save_steps", str(place), seconds=ground.chance.uniform(0.1, 0.8))
        ground.found["kills"] += ended.killed
        if not ended.killed:
            ground.must(ended)
        told = (place / "acknowledged").read_text().split("\n")[:-1] if (place / "acknowledged").exists() else []
        acknowledged = int(told[-1]) if told else 0
        state = place / "checkpoint" / "state.pt"
        if not state.exists():
            ground.count("lost", "a checkpoint", acknowledged > 0)
            continue
        try:
            found = torch.load(state, weights_only=True)
        except Exception as error:  # whatever it is, the file was torn
            ground.wrong(f"a torn checkpoint: {error}")
            continue
        ground.count("lost", f"step {found['step']} where {acknowledged} was saved", found["step"] < acknowledged)
        for n in range(8):
            if not bool((found["weights"][f"layer.{n}"] == found["step"] + n).all()):
                ground.wrong("a checkpoint of two steps")
        if found["step"] < last:
            ground.wrong("a checkpoint that went back")
        last = found["step"]
    ground.found["steps_saved"] = last
    if not last:
        ground.wrong("no checkpoint was saved in all that time")


@contextmanager
def _at_work(work: Callable[[int], None], many: int) -> Iterator[None]:
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(many)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(120)


def killed_often(ground: Ground, site: Site, done: Callable[[], int]) -> None:
    """Kill a site at random moments, each time after something was acknowledged, and start it again."""
    for _ in range(ground.kills):
        before, end = done(), time.monotonic() + 120
        while done() <= before:
            if time.monotonic() > end:
                ground.wrong("nobody is answered any more")
                return
            time.sleep(0.01)
        time.sleep(ground.chance.uniform(0.0, 0.3))
        site.kill()
        ground.found["kills"] += 1
        site.start()


def labels(ground: Ground) -> None:
    """Rank on the labeling site."""
    from labeling_load import Log, fill, labor
    from visitor import Visitor

    from accord import Store
    from accord.feedback import accounts

    project = ground.project("label", ground.blank())
    url, witness = store_of(project), Witness(ground.folder / "acknowledged.jsonl")
    with Store.open(url) as store:
        fill(store, 40_000 if ground.kills > 20 else 4_000)
        tokens = [accounts.invite(store, "labeler", f"labeler {n}", by="kills", now=datetime.now(UTC)) for n in range(4)]
    site, log, over = Site(ground.forked, "label", str(project)), Log(witness), threading.Event()
    visitors = [Visitor(site.address) for _ in tokens]
    for visitor, token in zip(visitors, tokens, strict=True):
        visitor.join(token)
    with _at_work(lambda number: labor(visitors[number], log, over, number), len(visitors)):
        try:
            killed_often(ground, site, lambda: log.statuses[200])
        finally:
            over.set()
            site.kill() if ground.faults else None
            log.closing.set() if ground.faults else None
    site.kill()
    found = verdict(url, witness)
    ground.found["acknowledged"] = found["acknowledged"]
    ground.count("lost", "answers", found["lost"])
    ground.count("doubled", "answers", found["doubled"])
    ground.count("wrong", "answers", found["changed"] + found["unrecorded"])


def chats(ground: Ground) -> None:
    """Talk on the chat's page, to a model behind it that repeats what was asked."""
    with talking_model() as upstream:
        from accord import Store
        from accord.feedback import accounts

        project = ground.project("chat", ground.blank())
        toml = project / "accord.toml"
        toml.write_text(toml.read_text() + "\n[chat]\nturns_per_minute = 0\ntwo = 0.0\n")
        url, over = store_of(project), threading.Event()
        with Store.open(url) as store:
            tokens = [accounts.invite(store, "user", f"person {n}", by="kills", now=datetime.now(UTC)) for n in range(4)]
        site = Site(ground.forked, "chat", str(project), "--upstream", upstream, "--model", "far")
        people = [Asker(site.address, token, f"person {number}") for number, token in enumerate(tokens)]
        with _at_work(lambda number: people[number].talk(over), len(people)):
            try:
                killed_often(ground, site, lambda: sum(len(person.answers) for person in people))
            finally:
                over.set()
        site.kill()
    turns = {id: (role, text, parent) for id, role, text, parent in rows(url, "SELECT id, role, text, parent FROM turns")}
    asked = Counter(text for role, text, _ in turns.values() if role == "user")
    for person in people:
        ground.found["acknowledged"] += len(person.turns) + len(person.answers)
        ground.compare(Counter({text: asked[text] for text in person.turns}), Counter(person.turns), "turns")
        for id, text in person.answers.items():
            if id not in turns:
                ground.count("lost", f"the answer {id} that a page had shown")
            elif turns[id][1] != text:
                ground.wrong(f"an answer that says {turns[id][1]!r} where {text!r} was shown")
    ground.count("doubled", "turns that were sent again", sum(count - 1 for count in asked.values()))


def written(ground: Ground, url: str, texts: Sequence[str]) -> None:
    """Compare demonstrations that an API acknowledged with the turns of the database."""
    there = Counter(text for (text,) in rows(url, "SELECT text FROM turns WHERE role = 'assistant'"))
    ground.compare(Counter({text: there[text] for text in texts}), Counter(texts), "demonstrations")


def serves(ground: Ground) -> None:
    """Ask by the API with a key that keeps answers, and send demonstrations with an idempotency key."""
    with talking_model() as upstream:
        project = ground.project("serve", ground.blank())
        url, over = store_of(project), threading.Event()
        words = ("keys", "add", str(project), "kills", "--scope", "chat", "--scope", "feedback", "--store", "feedback", "--json")
        key = json.loads(ground.must(ground.forked.run(*words)).said)["key"]
        site = Site(ground.forked, "serve", str(project), "--upstream", upstream, "--requests-per-minute", "0", "--tokens-per-minute", "0")
        senders = [Sender(site.address, key, f"app {number}") for number in range(4)]
        with _at_work(lambda number: senders[number].work(over), len(senders)):
            try:
                killed_often(ground, site, lambda: sum(len(sender.answers) + len(sender.written) for sender in senders))
            finally:
                over.set()
        site.kill()
    kept = dict(rows(url, "SELECT response, conversation FROM app_requests"))
    said: dict[str, list[str]] = {}
    for conversation, text in rows(url, "SELECT conversation, text FROM turns ORDER BY place"):
        said.setdefault(conversation, []).append(text)
    for sender in senders:
        ground.found["acknowledged"] += len(sender.answers) + len(sender.written)
        written(ground, url, sender.written)
        for id, (asked, answered) in sender.answers.items():
            if id not in kept:
                ground.count("lost", f"the answer {id}")
            elif said[kept[id]] != [asked, answered]:
                ground.wrong(f"a kept answer that says {said[kept[id]]}")


KINDS: Mapping[str, tuple[Callable[[Ground], None], bool]] = {
    "import": (imports, False),
    "undo": (undos, False),
    "export": (exports, False),
    "backup": (backups, False),
    "restore": (restores, False),
    "move": (moves, False),
    "migration": (migrations, False),
    "checkpoint": (checkpoints, False),
    "label": (labels, True),
    "chat": (chats, True),
    "serve": (serves, True),
}
"""The kinds, and whether a server is killed."""
WITHOUT_STORE = ("checkpoint",)


@contextmanager
def blanks(store: str) -> Iterator[Callable[[], str]]:
    """Yield what gives the address of a blank database: SQLite's in the project, or one of a PostgreSQL server that syncs."""
    if store == "sqlite":
        yield lambda: "sqlite"
        return
    sys.path.insert(0, str(HERE.parent / "tests"))
    from feedback.conftest import Postgres

    folder = Path(tempfile.mkdtemp(prefix="accord-kills-pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = Postgres(folder)
    try:
        yield server.blank
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def killed(kind: str, store: str, kills: int, seed: int) -> dict[str, Any]:
    """Return the figures of one kind on one store."""
    work, serves_people = KINDS[kind]
    folder, began = Path(tempfile.mkdtemp(prefix=f"accord-kills-{kind}-")), time.monotonic()
    try:
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        modules = (*LOADED, "kills", *(SLOW if serves_people else ()))
        with blanks(store) as blank, Forked(folder, modules, environment={"PYTHONPATH": path}) as forked:
            ground = Ground(forked, folder, kills, random.Random(seed), blank)
            work(ground)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures = {"kills": 0, "lost": 0, "doubled": 0, "wrong": 0, "left": 0} | dict(ground.found)
    return figures | {"seconds": round(time.monotonic() - began, 1), **({"faults": ground.faults[:5]} if ground.faults else {})}


def processor() -> str:
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return names[0] if names else "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="of each kind on each store")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "kills.json")
    given = parser.parse_args()
    record: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    bad = False
    for store in given.stores:
        for kind in given.kinds:
            if store == "postgresql" and kind in WITHOUT_STORE:
                continue
            found = killed(kind, store, given.kills, given.seed)
            print(store, kind, json.dumps(found), flush=True)
            bad |= any(found[name] for name in WRONG)
            record |= {"at": f"{datetime.now(UTC):%Y-%m-%d}", "processor": processor(), "shared_with_other_programs": True}
            record.setdefault(store, {})[kind] = found
            given.out.write_text(json.dumps(record, indent=2) + "\n")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
