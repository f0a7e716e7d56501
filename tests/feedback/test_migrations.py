"""A blank store, and one of every older version, come to the same tables; one that is interrupted stays what it was."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, create_engine, event, inspect, select, text

from accord.errors import StoreError
from accord.feedback import answers, schema
from accord.feedback.criteria import by_criterion
from accord.feedback.migrations import upgrade
from accord.feedback.store import Store
from accord.records import FORMER_FLAGS, PROMPT_FLAGS, RESPONSE_FLAGS

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


FLAGGED = (
    """INSERT INTO tasks
    (id, kind, prompt_id, guideline_set, overlap, priority, purpose, expected, reserved_for, repeats, place, taken, open)
    VALUES ('t', 'rank', 'p', 'training', 1, 0, 'gold', :expected, '', '', 0, 0, true)""",
    """INSERT INTO answers (id, task_id, labeler, revision, key, payload, shown, seconds, guideline_set, guideline_version, at)
    VALUES ('a', 't', 'ann', 1, 'key', :answer, '["r0"]', 1.0, 'training', 'v', 'now')""",
    "INSERT INTO drafts (task_id, labeler, payload, at) VALUES ('t', 'ann', :draft, 'now')",
    """INSERT INTO thumbs (id, prompt_id, response_id, labeler, up, flags, at)
    VALUES ('u', 'p', 'r0', 'ann', false, '["gives harmful advice"]', 'now')""",
    """UPDATE ranking_items SET flags = '["expresses an opinion", "hallucination", "of my own"]' WHERE position = 0""",
)
SENTENCES = ["encourages or fails to discourage violence, abuse, terrorism or self-harm", "sexual content"]
ANSWER = {
    "prompt_flags": ["sensitive", "intent unclear"],
    "ratings": {"r0": {"flags": SENTENCES, "quality": 1}},
    "reason": "sexual content",
}
RENAMED = {
    "prompt_flags": ["sensitive", "intent_unclear"],
    "ratings": {"r0": {"flags": ["encourages_harm", "sexual_content"], "quality": 1}},
    "reason": "sexual content",
}


def flagged(url: str) -> None:
    """A store of version 4, whose flags are sentences, wherever flags can stand."""
    oldest(url)
    engine = create_engine(url)
    payloads = {"expected": json.dumps(ANSWER, sort_keys=True), "answer": compact(ANSWER)}
    payloads["draft"] = compact({"turns": {"1": {"flags": ["closed domain", "violent content"]}}, "note": "é"})
    with engine.begin() as connection:
        upgrade(connection, to="0004")
        for statement in FLAGGED:
            connection.execute(text(statement), payloads)
        # more rows than are rewritten in one go
        many = [{"id": f"u{n:05}"} for n in range(2500)]
        connection.execute(text(FLAGGED[3].replace("'u'", ":id")), many)
    engine.dispose()


def compact(payload: dict[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def test_flags_that_were_sentences_are_identifiers_everywhere(url: str) -> None:
    flagged(url)
    with Store.open(url) as store, store.read() as connection:
        (ranking,) = store.rankings()
        assert ranking.ratings[0].flags == ("expresses_opinion", "hallucination", "of my own")
        assert by_criterion(ranking, "harmless") == {"r1": 1}
        column = lambda table, name: connection.scalars(select(schema.metadata.tables[table].c[name])).all()  # noqa: E731
        assert set(column("thumbs", "flags")) == {'["gives_harmful_advice"]'}
        assert len(column("thumbs", "flags")) == 2501
        assert column("answers", "payload") == [compact(RENAMED)], "an answer that is sent again would be another one"
        assert column("tasks", "expected") == [json.dumps(RENAMED, sort_keys=True)]
        assert column("drafts", "payload") == [compact({"turns": {"1": {"flags": ["closed_domain", "violent_content"]}}, "note": "é"})]
        (answer,) = answers.every(store, purposes=("gold",))
        assert answer.payload == RENAMED


def test_every_former_sentence_has_an_identifier_that_is_in_use() -> None:
    assert set(FORMER_FLAGS.values()) <= {*RESPONSE_FLAGS, *PROMPT_FLAGS}
    assert not set(FORMER_FLAGS) & {*RESPONSE_FLAGS, *PROMPT_FLAGS}
    assert all(re.fullmatch("[a-z_]+", flag) for flag in (*RESPONSE_FLAGS, *PROMPT_FLAGS))
