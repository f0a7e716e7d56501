"""`accord restore`: what comes back is what was there, on either database; what is damaged or in use is refused, and leaves nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from full_store import TEXTS, rows
from sqlalchemy import MetaData, create_engine, inspect, select

from accord.commands.project.backup import backup
from accord.commands.project.restore import restore
from accord.errors import InputError, StoreError
from accord.feedback import accounts, audit, schema
from accord.feedback.migrations import upgrade
from accord.feedback.store import Store
from accord.records import Message, Prompt
from accord.runtime import backup_file
from accord.runtime.backup_file import packing, unpacking
from accord.runtime.project import Project


def test_every_row_comes_back_on_the_other_database(full: Project, other: str, tmp_path: Path) -> None:
    (full.path / "guidelines").mkdir()
    (full.path / "guidelines" / "training.en.md").write_text("Be kind.")
    with Store.open(full.store_url) as store:
        held = rows(store)
    made = backup(full, tmp_path / "a.zip", sessions=True)
    done = restore(tmp_path / "a.zip", tmp_path / "again", to=other)
    assert done["store"] == made["store"]
    restored = Project.open(tmp_path / "again")
    assert restored.store_url == other
    assert restored.settings["label"] == {"overlap": 0.5}
    assert (restored.path / "guidelines" / "training.en.md").read_text() == "Be kind."
    with Store.open(other) as store:
        found = rows(store, without=("attempts",))
        assert {name: found[name] for name in held} == held
        assert len(found["sessions"]) == 3
        assert {row[-1] for row in found["guidelines"]} == {"at0", "at1", "at2"}
        assert {text for row in found["turns"] for text in row} >= set(TEXTS)
        audit.audit(store, who="me", what="invite", on="you", at=datetime.now(UTC))  # numbers go on after those that came
        assert [entry.number for entry in audit.entries(store)] == [1, 2, 3, 4]
    again = backup(restored, tmp_path / "b.zip", sessions=True)
    assert again["store"] != made["store"], "the audit's new line"


def test_a_restored_store_gives_the_same_backup(full: Project, tmp_path: Path) -> None:
    one = backup(full, tmp_path / "a.zip")
    restore(tmp_path / "a.zip", tmp_path / "again")
    assert Project.open(tmp_path / "again").store_url == f"sqlite:///{tmp_path}/again/feedback.db", "never the database it came from"
    assert backup(Project.open(tmp_path / "again"), tmp_path / "b.zip")["store"] == one["store"]
    assert (tmp_path / "again" / "feedback.db").stat().st_mode & 0o777 == 0o600


def test_runs_are_as_old_as_they_were(full: Project, tmp_path: Path) -> None:
    for day, name in enumerate(("zoo", "bar"), 1):
        full.run(name).mkdir()
        summary = full.run(name) / "summary.json"
        summary.write_text(json.dumps({"win_rate": {"dpo_vs_sft": [day / 4, 0.1, 0.9]}}))
        os.utime(summary, (day * 86_400, day * 86_400))
    backup(full, tmp_path / "a.zip", runs=True)
    restore(tmp_path / "a.zip", tmp_path / "again")
    restored = Project.open(tmp_path / "again")
    assert {name: (restored.run(name) / "summary.json").stat().st_mtime for name in restored.runs()} == {"zoo": 86_400, "bar": 172_800}


def test_nothing_that_is_there_is_overwritten(full: Project, url: str, tmp_path: Path) -> None:
    backup(full, tmp_path / "a.zip")
    with pytest.raises(InputError, match="is a project already"):
        restore(tmp_path / "a.zip", full.path)
    with Store.open(full.store_url) as store, store.write() as connection:
        connection.execute(schema.audit.delete().where(schema.audit.c.number == 3))
    with Store.open(full.store_url) as store:
        held = rows(store)
    with pytest.raises(InputError, match="holds other rows"):
        restore(tmp_path / "a.zip", tmp_path / "again", to=url)
    assert not (tmp_path / "again").exists()
    with Store.open(full.store_url) as store:
        assert rows(store) == held


def test_a_restore_that_was_killed_before_the_folder_had_its_name_goes_on(full: Project, other: str, tmp_path: Path) -> None:
    backup(full, tmp_path / "a.zip")
    restore(tmp_path / "a.zip", tmp_path / "again", to=other)
    shutil.rmtree(tmp_path / "again")  # as a kill leaves it: the database is filled, and the folder not there
    restore(tmp_path / "a.zip", tmp_path / "again", to=other)
    assert Project.open(tmp_path / "again").store_url == other


def test_a_damaged_backup_is_refused_and_leaves_nothing(full: Project, other: str, tmp_path: Path) -> None:
    backup(full, tmp_path / "a.zip")
    content = (tmp_path / "a.zip").read_bytes()
    for place in range(0, len(content), len(content) // 12):
        damaged = content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
        (tmp_path / "a.zip").write_bytes(damaged)
        with pytest.raises(InputError, match="differs from its digest"):
            restore(tmp_path / "a.zip", tmp_path / "again", to=other)
        alone = tmp_path / "alone.zip"  # whose digest beside it was lost
        alone.write_bytes(damaged)
        try:
            restore(alone, tmp_path / f"again-{place}", to="")
        except (InputError, StoreError):
            assert not (tmp_path / f"again-{place}").exists()
        else:  # a byte of the archive's own bookkeeping that says nothing, such as a date
            assert backup(Project.open(tmp_path / f"again-{place}"), tmp_path / f"{place}.zip")["store"] == _store(content, tmp_path)
    assert not (tmp_path / "again").exists()
    with Store.open(other) as store:
        assert not any(rows(store).values())


def _store(content: bytes, folder: Path) -> str:
    (folder / "whole.zip").write_bytes(content)
    with unpacking(folder / "whole.zip") as whole:
        return str(whole.about["store"])


def test_a_truncated_backup_and_a_file_that_is_none(full: Project, tmp_path: Path) -> None:
    backup(full, tmp_path / "a.zip")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.zip").write_text("no backup")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    for name in ("cut.zip", "text.zip", "other.zip", "none.zip"):
        with pytest.raises(InputError):
            restore(tmp_path / name, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil", "./evil", "a//evil"])
def test_a_member_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    evil = tmp_path / "evil.zip"
    member = {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr(name, "x")
        manifest = {"format": 1, "schema": schema.VERSION, "members": {name: member}}
        archive.writestr("manifest.json", json.dumps(manifest))
    with pytest.raises(InputError, match=r"leads out of|differ"):
        restore(evil, tmp_path / "deep" / "again")
    assert not list(tmp_path.rglob("evil"))


def _made_by_hand(path: Path, members: dict[str, bytes], **about: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        said = {name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in members.items()}
        archive.writestr("manifest.json", json.dumps({"format": 1, "members": said, **about}))
    return path


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["jobs/001/job.json"], "no backup of ours"),
        (["Jobs/001/job.json"], "no backup of ours"),
        (["site.json"], "no backup of ours"),
        (["uploads/0123456789abcdef/rows.jsonl"], "no backup of ours"),
        (["feedback.db"], "no backup of ours"),
        (["feedback.db-wal"], "no backup of ours"),
        ([".tmp-1-x/a"], "no backup of ours"),
        (["a", "a/b"], "cannot be written"),
        (["x" * 300], "cannot be written"),
        (["x" * 200 + "/" + "y" * 5000], "cannot be written"),
    ],
)
def test_what_no_backup_of_ours_has_is_refused_and_leaves_nothing(tmp_path: Path, members: list[str], said: str) -> None:
    """A job that waits would run as soon as the restored project is opened; a note of a running site would lead invitations elsewhere."""
    about = {"schema": schema.VERSION, "store": "", "made": ""}
    evil = _made_by_hand(tmp_path / "evil.zip", {"accord.toml": b"", **dict.fromkeys(members, b"{}")}, **about)
    with pytest.raises(InputError, match=said):
        restore(evil, tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


def test_a_manifest_without_its_facts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="manifest is malformed"):
        restore(_made_by_hand(tmp_path / "evil.zip", {"accord.toml": b""}, schema="x"), tmp_path / "again")


def test_a_line_without_an_end_is_read_in_linear_time_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_file, "PIECE", 1 << 12)
    line = b"x" * (48 << 20)
    made = _made_by_hand(tmp_path / "a.zip", {"store/turns.jsonl": line})
    with unpacking(made) as opened:
        began = time.thread_time()
        assert next(opened.lines("store/turns.jsonl")) == line
        assert time.thread_time() - began < 5
    monkeypatch.setattr(backup_file, "LONGEST_LINE", 1 << 20)
    with unpacking(made) as opened, pytest.raises(InputError, match="turns"):
        next(opened.lines("store/turns.jsonl"))


def test_what_stands_where_the_database_was_is_no_part_of_the_project(tmp_path: Path) -> None:
    """After `accord move-store` the old database stays, with the words of people who were erased since."""
    project = Project.create(tmp_path / "town", settings={"store": {"url": f"sqlite:///{tmp_path}/moved.db"}})
    for url in (project.store_url, f"sqlite:///{project.path}/feedback.db"):
        with Store.open(url) as store:
            audit.audit(store, who="me", what="invite", on=url, at=datetime.now(UTC))
    (project.path / "uploads" / "0123456789abcdef").mkdir(parents=True)
    (project.path / "uploads" / "0123456789abcdef" / "rows.jsonl").write_text("{}")
    (project.path / "store").mkdir()
    (project.path / "store" / "turns.jsonl").write_text("{}")
    made = backup(project, tmp_path / "a.zip")
    assert made["left_out"] == ["store/"]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith(("feedback.db", "uploads"))]
    restore(tmp_path / "a.zip", tmp_path / "again")
    with Store.open(Project.open(tmp_path / "again").store_url) as store:
        assert [entry.on for entry in audit.entries(store)] == [project.store_url]


def test_a_backup_of_a_newer_accord_is_refused(full: Project, tmp_path: Path) -> None:
    with packing(tmp_path / "new.zip", {"schema": schema.VERSION + 1, "made": "", "store": ""}) as packed:
        packed.add("accord.toml", [b""])
    with pytest.raises(InputError, match="newer than"):
        restore(tmp_path / "new.zip", tmp_path / "again")


OLDER = 5


def test_a_backup_of_an_older_store_becomes_todays(url: str, tmp_path: Path) -> None:
    """As a later Accord will meet today's backups: the tables of then are filled and brought forward, in one transaction."""
    engine = create_engine(f"sqlite:///{tmp_path}/old.db")
    with engine.begin() as connection:
        upgrade(connection, f"{OLDER:04}")
        connection.exec_driver_sql(
            "INSERT INTO prompts (id, split, use_case, user, source, messages)"
            " VALUES ('p', 'train', 'chat', 'u', 's', '[[\"user\", \"Hi?\"]]')"
        )
        connection.exec_driver_sql("INSERT INTO labelers VALUES ('ann', 'person', 'g')")
    with engine.connect() as connection:
        assert "imported" not in {column["name"] for column in inspect(connection).get_columns("prompts")}, "a column of later"
        tables = MetaData()
        tables.reflect(connection)
        about: dict[str, Any] = {"schema": OLDER, "made": "", "store": ""}
        with packing(tmp_path / "old.zip", about) as packed:
            packed.add("accord.toml", [b""])
            for table in tables.sorted_tables:
                if table.name not in ("meta", "alembic_version"):
                    lines = [json.dumps(dict(row)).encode() + b"\n" for row in connection.execute(select(table)).mappings()]
                    packed.add(f"store/{table.name}.jsonl", lines)
    engine.dispose()
    assert restore(tmp_path / "old.zip", tmp_path / "again", to=url)["rows"] == 2
    with Store.open(url) as store:
        assert list(store.prompts()) == [Prompt("p", (Message("user", "Hi?"),), user="u", source="s", use_case="chat", split="train")]
        assert not accounts.people(store)
