"""A blank store on each database: a file of SQLite's, and a database in a PostgreSQL server that the tests start for themselves."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from accord.feedback import schema
from accord.feedback.store import Store

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def program(name: str) -> str:
    """A program of PostgreSQL's. A machine without it fails the tests: .ci/postgres installs it."""
    found = shutil.which(name, path=os.pathsep.join([*map(str, INSTALLED), os.environ["PATH"]]))
    assert found, f"{name} is not installed; `bash .ci/postgres` installs PostgreSQL"
    return found


WATCH = """
import os, shutil, signal, sys
from pathlib import Path
sys.stdin.read()
folder = Path(sys.argv[1])
number = folder / "data" / "postmaster.pid"
if number.exists():
    os.kill(int(number.read_text().split()[0]), signal.SIGQUIT)
    shutil.rmtree(folder, ignore_errors=True)
"""
"""Stops a server at once when whoever started it is gone, however it went: its end of the pipe closes then."""


def empty(store: Store, keep: frozenset[str] = frozenset({"meta", "alembic_version"})) -> None:
    """Takes every row out of a store's tables."""
    names = [table.name for table in reversed(schema.metadata.sorted_tables) if table.name not in keep]
    with store.write() as connection:
        if store.database.is_sqlite:
            for name in names:
                connection.exec_driver_sql(f'DELETE FROM "{name}"')
        else:
            connection.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY"))


class Postgres:
    """A private server in a folder of its own, reached by a socket in it alone, run by a user without privileges."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.emptied = folder, folder / "data", ""
        self.watch = subprocess.Popen([sys.executable, "-c", WATCH, folder], stdin=subprocess.PIPE, start_new_session=True)
        self.user = None if os.getuid() else "postgres"
        if self.user:
            owner = pwd.getpwnam(self.user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "--pgdata", self.data, "--username", "accord", "--auth", "trust", "--no-sync", "--no-locale", "--encoding=UTF8")
        settings = {"listen_addresses": "", "unix_socket_directories": folder, "fsync": "off", "max_connections": 200}
        (self.data / "postgresql.auto.conf").write_text("".join(f"{key} = '{value}'\n" for key, value in settings.items()))
        self._run("pg_ctl", "start", "--wait", "--pgdata", self.data, "--log", folder / "log.txt")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--mode=immediate", "--pgdata", self.data)
        self.watch.communicate()

    def restart(self) -> None:
        """Stop the server as a crash would, and start it again."""
        log = self.folder / "log.txt"
        self._run("pg_ctl", "restart", "--wait", "--timeout=120", "--mode=immediate", "--pgdata", self.data, "--log", log)

    def database(self) -> str:
        """The address of a new, blank database."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self._run("createdb", "--host", self.folder, "--username", "accord", name)
        return f"postgresql+psycopg://accord@/{name}?host={self.folder}"

    def blank(self) -> str:
        """The address of one database that is emptied each time: much quicker than a new one, and it leaves nothing on the disk."""
        if not self.emptied:
            self.emptied = self.database()
        with psycopg.connect(self.emptied.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self.emptied

    def _run(self, name: str, *words: object) -> None:
        command = ["nice", "-n", "10", program(name), *map(str, words)]
        with (self.folder / f"{name}.txt").open("w+") as said:
            done = subprocess.run(
                command, user=self.user, cwd=self.folder, stdout=said, stderr=said, env={"LC_ALL": "C.UTF-8"}, check=False
            )
            said.seek(0)
            assert done.returncode == 0, f"{name} as {self.user or getpass.getuser()}: {said.read()}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="accord-pg-", dir="/tmp"))
    try:
        server = Postgres(folder)
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a blank store, on each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'feedback.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.blank()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened
