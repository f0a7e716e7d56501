"""A store of version 5, in which imports had made doubles of its prompts, is migrated and its doubles are joined.

``store-of-version-5.jsonl`` holds the rows that the code of that version left: 14 prompts of users with four sampled responses each (three
of them cut), then rankings, thumbs and demonstrations of the same prompts from files that name no user; two equal prompts of the chat; a
prompt of the world with a ranking from a file; and a task on the responses of one double.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select, text

import accord
from accord.commands.data.import_ import import_
from accord.feedback import schema
from accord.feedback.leaks import leaks
from accord.feedback.migrations import upgrade
from accord.feedback.store import Store
from accord.runtime.project import Project

TEXTS = ["It is", "{} Well,", "It is", "I cannot say."]


@pytest.fixture
def old(url: str, tmp_path: Path) -> Project:
    """A project with the store as the former version left it."""
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection, to="0005")
        for line in Path(__file__).with_name("store-of-version-5.jsonl").read_text("utf-8").splitlines():
            row: dict[str, Any] = json.loads(line)["row"]
            names = ", ".join(f'"{name}"' for name in row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {json.loads(line)['table']} ({names}) VALUES ({values})"), row)
    engine.dispose()
    return accord.create(tmp_path / "project", settings={"store": {"url": url}})


def test_doubles_are_joined_and_what_rested_on_them_moves_along(old: Project) -> None:
    with accord.store(old) as store:
        assert schema.VERSION >= 9
        prompts = {prompt.id: prompt for prompt in store.prompts()}
        assert len(prompts) == 17
        assert sum(prompt.source == "prompts.jsonl" for prompt in prompts.values()) == 14
        assert {"chat-u-0", "chat-u-1", "world-0-00000"} <= prompts.keys(), "the project's own prompts are never joined to others"
        ranked = {row.prompt.messages[0].content: row for row in store.ranked_prompts() if row.labeler == "ann"}
        assert len(ranked) == 14
        for asked, row in ranked.items():
            assert row.prompt == prompts[row.prompt.id]
            assert [response.text for response in row.responses] == [text.format(asked) for text in TEXTS]
            if not asked.startswith("What is 3 "):
                assert [(r.model, len(r.tokens), r.finished) for r in row.responses] == [("sft", 2, n == 3) for n in range(4)]
        shown = ranked["What is 3 and 3?"]
        assert {response.model for response in shown.responses} == {"rankings.jsonl"}, "labelers' answers name these by id"
        assert [(thumb.response.text, thumb.response.finished, thumb.prompt.id in prompts) for thumb in store.thumbs()] == [
            ("It is", False, True)
        ] * 5
        assert {demonstration.prompt.id in prompts for demonstration in store.demonstrations()} == {True}
        assert len(list(store.demonstrations())) == 8
        of_the_world = [row for row in store.ranked_prompts() if row.prompt.id == "world-0-00000"]
        assert sorted([(r.id if r.tokens else r.text) for r in row.responses] for row in of_the_world) == [["w0", "No."], ["w0", "w1"]]
        assert leaks(store) == []
        assert store.counts() == {"prompts": 45, "labelers": 2, "demonstrations": 8, "responses": 122, "rankings": 16}, "nothing is deleted"


def test_the_files_can_be_imported_again_and_add_nothing(old: Project, tmp_path: Path) -> None:
    asked = [f"What is {n} and {n}?" for n in range(14)]
    rows = [{"prompt": one, "responses": [text.format(one) for text in TEXTS], "ranks": [2, 3, 2, 1], "labeler": "ann"} for one in asked]
    path = tmp_path / "rankings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with accord.store(old) as store:
        before = (store.counts(), list(store.rankings()))
    metrics = import_(old, path, quiet=True)
    with accord.store(old) as store:
        after = (store.counts(), list(store.rankings()))
    # Where labelers had been shown a double's responses, these stay beside the sampled ones, and the file's ranking is of the sampled.
    assert metrics["prompts"] == metrics["responses"] == 0
    assert metrics["rankings"] == 1
    assert after[0]["prompts"] == before[0]["prompts"]


def test_a_store_without_doubles_stays_as_it_is(url: str) -> None:
    engine = create_engine(url)
    row = """INSERT INTO prompts (id, split, use_case, "user", source, messages) VALUES (:id, 'train', 'chat', :user, 'f', :messages)"""
    turns = {"system": '[["system", "Be brief."], ["user", "Hi?"]]', "plain": '[["user", "Hi?"]]', "erased": "[]"}
    rows = [{"id": f"p-{kind}-{user}", "user": user, "messages": told} for kind, told in turns.items() for user in ("ann", "ben")]
    rows.append({"id": "p-erased", "user": "", "messages": "[]"})
    with engine.begin() as connection:
        upgrade(connection, to="0008")
        for values in rows:
            connection.execute(text(row), values)
    engine.dispose()
    with Store.open(url) as store, store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.withdrawn)) == 0
        keys = dict(connection.execute(select(schema.prompts.c.id, schema.prompts.c.key)).all())
    assert [keys[f"p-{kind}-ann"] == keys[f"p-{kind}-ben"] for kind in turns] == [True] * 3
    assert keys["p-erased"] == ""
    assert len(set(keys.values())) == 3
