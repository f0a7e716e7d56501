"""A blank store, and one of every older version, come to the same tables; one that is interrupted stays what it was."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, create_engine, event, inspect

from accord.errors import StoreError
from accord.feedback import schema
from accord.feedback.migrations import upgrade
from accord.feedback.store import Store

first: Any = importlib.import_module("accord.feedback.migrations.versions.0001_records")
ROWS = (
    "INSERT INTO meta VALUES ('version', '1')",
    """INSERT INTO prompts (id, split, use_case, "user", source, messages) VALUES ('p', 'train', 'chat', 'u', 's', '[["user", "Hi?"]]')""",
    "INSERT INTO labelers VALUES ('ann', 'person', 'g')",
    "INSERT INTO demonstrations VALUES ('d', 'p', 'ann', 'Hello.')",
    "INSERT INTO responses VALUES ('r0', 'p', 'a', 'm', '1,2', true), ('r1', 'p', 'b', 'm', '', false)",
    "INSERT INTO rankings VALUES ('k', 'p', 'ann', 'training', 'v', 'now')",
    "INSERT INTO ranking_items VALUES ('k', 0, 'r1', 1, 7, '[]'), ('k', 1, 'r0', 2, NULL, NULL)",
)


def shape(engine: Engine) -> dict[str, Any]:
    """Every column, key and index, by table."""
    with engine.connect() as connection:
        seen = inspect(connection)
        return {
            table: {
                "columns": {c["name"]: (str(c["type"]), c["nullable"]) for c in seen.get_columns(table)},
                "key": seen.get_pk_constraint(table)["constrained_columns"],
                "foreign": sorted((f["constrained_columns"], f["referred_table"]) for f in seen.get_foreign_keys(table)),
                "unique": sorted(u["column_names"] for u in seen.get_unique_constraints(table)),
                "indexes": {i["name"]: (i["column_names"], i.get("expressions")) for i in seen.get_indexes(table)},
            }
            for table in seen.get_table_names()
        }


def oldest(url: str) -> None:
    """A store of version 1, as it was made before there were migrations, with something in it."""
    engine = create_engine(url)
    with engine.begin() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            first.upgrade()
        for statement in ROWS:
            connection.exec_driver_sql(statement)
    engine.dispose()


def contents(store: Store) -> list[object]:
    return [list(store.prompts()), list(store.labelers()), list(store.demonstrations()), list(store.responses()), list(store.rankings())]


def test_the_oldest_store_becomes_what_a_new_one_is(url: str, request: pytest.FixtureRequest) -> None:
    oldest(url)
    with Store.open(url) as store:
        migrated, held = shape(store.engine), contents(store)
        assert [len(records) for records in held] == [1, 1, 1, 2, 1]
        with store.write() as connection:
            schema.metadata.drop_all(connection)
    with Store.open(url) as store:
        assert shape(store.engine) == migrated
        assert store.counts()["prompts"] == 0
        with store.write() as connection:
            schema.metadata.drop_all(connection)
            upgrade(connection)
        assert shape(store.engine) == migrated, "all migrations from a blank database"
    with Store.open(url) as store:
        assert store.counts()["prompts"] == 0


def test_the_tables_are_what_the_schema_says(store: Store) -> None:
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        from alembic.autogenerate import compare_metadata

        differences = compare_metadata(context, schema.metadata)
    assert differences == [], "the schema was changed without a migration"


def test_an_interrupted_migration_leaves_the_older_store(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    oldest(url)
    before = create_engine(url)
    shape_before = shape(before)

    def break_down(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "CREATE TABLE sessions" in statement:
            raise KeyboardInterrupt

    event.listen(Engine, "before_cursor_execute", break_down)
    try:
        with pytest.raises(KeyboardInterrupt):
            Store.open(url)
    finally:
        event.remove(Engine, "before_cursor_execute", break_down)
    assert shape(before) == shape_before
    before.dispose()
    with Store.open(url) as store:
        assert [len(records) for records in contents(store)] == [1, 1, 1, 2, 1]


def test_an_older_store_that_cannot_be_written_is_refused_in_words(tmp_path: Any) -> None:
    oldest(f"sqlite:///{tmp_path}/old.db")
    with pytest.raises(StoreError, match="readonly"):
        Store.open(f"sqlite:///file:{tmp_path}/old.db?mode=ro&uri=true")


def test_a_store_that_is_up_to_date_opens_without_alembic(url: str) -> None:
    Store.open(url).database.close()
    script = "import sys; from accord.feedback.store import Store; Store.open(sys.argv[1]); print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_two_processes_open_a_blank_store_at_once(url: str) -> None:
    script = "import sys; from accord.feedback.store import Store; Store.open(sys.argv[1]).counts()"
    openers = [subprocess.Popen([sys.executable, "-c", script, url]) for _ in range(3)]
    assert [opener.wait(timeout=60) for opener in openers] == [0, 0, 0]
