"""Every import has a number and can be taken back whole; what else rests on its records stays, and is said."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

import accord
from accord.commands.data.import_ import import_
from accord.commands.data.imports import imports
from accord.commands.data.remove import remove
from accord.commands.data.undo import undo
from accord.errors import StoreError
from accord.feedback import queue, schema
from accord.feedback.privacy import erase_user
from accord.feedback.snapshot import write_snapshot
from accord.records import Labeler, Ranking, Response
from accord.runtime.project import Project

PAIRS: list[dict[str, Any]] = [
    {"prompt": f"{n} + {n}?", "chosen": f"It is {2 * n}.", "rejected": "No.", "labeler": "ann"} for n in range(6)
]


@pytest.fixture
def project(tmp_path: Path, url: str) -> Project:
    return accord.create(tmp_path / "project", settings={"store": {"url": url}})


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def in_use(project: Project) -> dict[str, int]:
    with accord.store(project) as store:
        kinds = {"prompts": store.prompts(), "demonstrations": store.demonstrations(), "responses": store.responses()}
        return {name: len(list(rows)) for name, rows in (kinds | {"rankings": store.rankings(), "thumbs": store.thumbs()}).items()}


def test_imports_are_listed_undone_and_come_back(project: Project, tmp_path: Path) -> None:
    files = [
        lines(tmp_path / "pairs.jsonl", PAIRS),
        lines(tmp_path / "more.jsonl", [{"prompt": "0 + 0?", "response": "None."}, {"prompt": "7 + 7?", "response": "14"}]),
        lines(tmp_path / "thumbs.jsonl", [{"prompt": "1 + 1?", "completion": "It is 2.", "label": True}]),
    ]
    numbers = [import_(project, file, quiet=True)["import"] for file in files]
    full = {"prompts": 7, "demonstrations": 2, "responses": 12, "rankings": 6, "thumbs": 1}
    assert in_use(project) == full
    found = imports(project)["imports"]
    assert [(one["number"], Path(one["source"]).name, one["counts"]["read"]) for one in found] == [
        (numbers[0], "pairs.jsonl", 6),
        (numbers[1], "more.jsonl", 2),
        (numbers[2], "thumbs.jsonl", 1),
    ]
    assert found[0]["counts"]["rankings"] == 6
    undone = undo(project, numbers[0], why="the wrong file")
    # Prompts 0 and 1 and a response were found by the other two imports: they are theirs from now on.
    assert undone["handed_over"] == 3
    assert undone["withdrawn"] == {"ranking": 6, "response": 11, "prompt": 4}
    assert in_use(project) == {"prompts": 3, "demonstrations": 2, "responses": 1, "rankings": 0, "thumbs": 1}
    assert imports(project)["imports"][0]["why"] == "the wrong file"
    with pytest.raises(StoreError, match="was taken back"):
        undo(project, numbers[0])
    with pytest.raises(StoreError, match="no import 99"):
        undo(project, 99)
    again = import_(project, files[0], quiet=True)
    assert (again["rankings"], again["responses"], again["prompts"]) == (6, 11, 4)
    assert in_use(project) == full
    assert undo(project, again["import"])["withdrawn"] == {"ranking": 6, "response": 11, "prompt": 4}


def test_what_others_rest_on_stays_and_is_told(project: Project, tmp_path: Path) -> None:
    number = import_(project, lines(tmp_path / "pairs.jsonl", PAIRS), quiet=True)["import"]
    with accord.store(project) as store:
        rankings = {ranking.prompt_id: ranking for ranking in store.rankings()}
        prompts = {prompt.messages[0].content: prompt for prompt in store.prompts()}
        sampled, judged, shown = (prompts[f"{n} + {n}?"] for n in range(3))
        theirs = rankings[judged.id]
        store.add(
            responses=[Response("s", sampled.id, "0", "sft", (1,))],
            labelers=[Labeler("ben", "person")],
            rankings=[Ranking("kb", judged.id, "ben", theirs.response_ids, (2, 1), theirs.guideline, "")],
        )
        waiting = [response for response in store.responses() if response.prompt_id == shown.id]
        queue.add(store, queue.from_responses({shown.id: shown}, waiting))
    undone = undo(project, number)
    assert undone["kept"] == {"prompts": 3, "responses": 4}
    assert in_use(project) == {"prompts": 3, "demonstrations": 0, "responses": 5, "rankings": 1, "thumbs": 0}


def test_an_undo_takes_back_what_was_added_to_prompts(project: Project, tmp_path: Path) -> None:
    import_(project, lines(tmp_path / "a.jsonl", [{"prompt": "2+2?", "extra": {"level": 1}}]), quiet=True)
    number = import_(project, lines(tmp_path / "b.jsonl", [{"prompt": "2+2?", "user": "ann", "extra": {"answer": "4"}}]), quiet=True)[
        "import"
    ]
    assert undo(project, number)["changed_back"] == 1
    with accord.store(project) as store:
        assert [(prompt.user, prompt.extra) for prompt in store.prompts()] == [("", {"level": 1})]


def test_what_two_imports_added_to_a_prompt_stays_until_both_are_undone(project: Project, tmp_path: Path) -> None:
    import_(project, lines(tmp_path / "a.jsonl", [{"prompt": "2+2?"}]), split="train", quiet=True)
    given = {"prompt": "2+2?", "user": "ann", "extra": {"answer": "4"}}
    numbers = [
        import_(project, lines(tmp_path / name, [row]), split="train", quiet=True)["import"]
        for name, row in (("b.jsonl", given), ("c.jsonl", given), ("d.jsonl", given | {"extra": {"answer": "5"}}))
    ]
    left = list[tuple[str, Any]]()
    for number in numbers:
        undo(project, number)
        with accord.store(project) as store:
            left += [(prompt.user, dict(prompt.extra)) for prompt in store.prompts()]
    assert left == [("ann", {"answer": "4"}), ("ann", {}), ("", {})]


def test_no_import_remembers_whom_it_named_once_the_user_is_erased(project: Project, tmp_path: Path) -> None:
    for name, row in (("a.jsonl", {"prompt": "2+2?"}), ("b.jsonl", {"prompt": "2+2?", "user": "Ann Droid", "extra": {"age": "9"}})):
        number = import_(project, lines(tmp_path / name, [row]), split="train", quiet=True)["import"]
    with accord.store(project) as store:
        erase_user(store, "Ann Droid", by="lead", why="asked for it", now=datetime.now(UTC))
        assert not list(store.database.rows(select(schema.import_changes)))
    assert undo(project, number)["changed_back"] == 0


def test_raw_text_of_an_undone_import_leaves_the_corpus(project: Project, tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("Once upon a time.\n", encoding="utf-8")
    one, other = (import_(project, text, quiet=True)["import"] for _ in range(2))
    assert undo(project, one)["files"] == [], "the second import brought the same text"
    (name,) = undo(project, other)["files"]
    assert not (project.path / name).exists()
    assert [path.read_text("utf-8") for path in (project.path / "undone").iterdir()] == ['{"text": "Once upon a time."}\n']
    assert import_(project, text, quiet=True)["documents"] == 1


def test_models_that_learned_from_an_import_are_named(project: Project, tmp_path: Path) -> None:
    one = import_(project, lines(tmp_path / "a.jsonl", PAIRS[:3]), quiet=True)["import"]
    other = import_(project, lines(tmp_path / "b.jsonl", PAIRS[3:]), quiet=True)["import"]
    with accord.store(project) as store:
        ranked = sorted(store.ranked_prompts(), key=lambda row: row.prompt.messages[0].content)
    digest = write_snapshot(ranked[:3], project.path / "runs" / "reward" / "rankings.jsonl")
    for name, record in (
        ("reward", {"data": {"rankings": digest}}),
        ("ppo", {"parents": {"reward": "x"}, "data": {}}),
        ("sft", {"data": {}}),
    ):
        (project.path / "models" / name).mkdir(parents=True)
        (project.path / "models" / name / "config.json").write_text("{}")
        (project.path / "models" / name / "lineage.json").write_text(json.dumps(record))
    with accord.store(project) as store:
        ranking = next(ranking for ranking in store.rankings() if ranking.prompt_id == ranked[0].prompt.id)
    assert remove(project, ranking.id)["models"] == {"reward": "learned from it", "ppo": "descends from reward"}
    assert undo(project, other)["models"] == {}
    assert undo(project, one)["models"] == {"reward": "learned from it", "ppo": "descends from reward"}


@pytest.mark.parametrize("kind", ["prompt", "response", "ranking", "demonstration", "thumb"])
def test_one_record_is_removed_and_nothing_learns_from_it(project: Project, tmp_path: Path, kind: str) -> None:
    rows = [{"prompt": "2+2?", "responses": ["4", "5", "6"], "ranks": [1, 2, 3]}, {"prompt": "2+2?", "response": "Four."}]
    import_(project, lines(tmp_path / "ranks.jsonl", rows[:1]), quiet=True)
    import_(project, lines(tmp_path / "written.jsonl", rows[1:]), quiet=True)
    import_(project, lines(tmp_path / "thumbs.jsonl", [{"prompt": "2+2?", "completion": "5", "label": False}]), quiet=True)
    with accord.store(project) as store:
        (ranked,), (thumb,) = store.ranked_prompts(), store.thumbs()
        ids = {"prompt": ranked.prompt.id, "response": ranked.responses[1].id, "ranking": next(iter(store.rankings())).id}
        ids |= {"demonstration": next(iter(store.demonstrations())).id}
        with store.read() as connection:
            ids |= {"thumb": connection.exec_driver_sql("SELECT id FROM thumbs").scalar_one()}
    assert thumb.response.text == "5"
    before = in_use(project)
    withdrawn = remove(project, ids[kind], why="wrong")["withdrawn"]
    left = {
        "prompt": dict.fromkeys(before, 0),
        "response": before | {"responses": 2, "thumbs": 0},
        "ranking": before | {"rankings": 0},
        "demonstration": before | {"demonstrations": 0},
        "thumb": before | {"thumbs": 0},
    }
    assert in_use(project) == left[kind]
    assert withdrawn[kind] == 1
    if kind == "response":
        with accord.store(project) as store:
            assert [([r.text for r in row.responses], row.ranks) for row in store.ranked_prompts()] == [(["4", "6"], (1, 3))]
        remove(project, ranked.responses[0].id)
        assert in_use(project)["rankings"] == 0, "one response alone is no ranking"
    with pytest.raises(StoreError, match="withdrawn already"):
        remove(project, ids[kind])
    with pytest.raises(StoreError, match="has no prompt, response"):
        remove(project, "x-1")


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from accord.commands.data.import_ import import_

def kill(connection, cursor, statement, *rest):
    if sys.argv[3] in statement:
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", kill)
import_(Path(sys.argv[1]), Path(sys.argv[2]), quiet=True)
"""


@pytest.mark.parametrize("at", ["ranking_items", "UPDATE imports"])
def test_an_import_that_is_killed_leaves_no_half(project: Project, tmp_path: Path, at: str) -> None:
    file = lines(tmp_path / "pairs.jsonl", PAIRS)
    with accord.store(project) as store:
        assert store.counts()["prompts"] == 0
    done = subprocess.run([sys.executable, "-c", KILLED, str(project.path), str(file), at], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not any(in_use(project).values())
    assert imports(project)["imports"] == []
    assert import_(project, file, quiet=True)["rankings"] == 6


def test_a_repeated_import_asks_the_database_per_batch_and_not_per_row(project: Project, tmp_path: Path) -> None:
    statements = list[str]()

    def count(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    def statements_of(rows: int) -> int:
        file = lines(tmp_path / f"{rows}.jsonl", [{"prompt": f"{rows}, {n}?", "chosen": f"yes {n}", "rejected": "no"} for n in range(rows)])
        import_(project, file, quiet=True)
        statements.clear()
        assert import_(project, file, quiet=True)["already_there"] == {"prompts": rows, "responses": 2 * rows, "rankings": rows}
        return len(statements)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        assert statements_of(80) == statements_of(20) > 0
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def test_a_prompt_that_an_undo_took_out_and_several_rows_bring_back_is_not_counted_as_removed(project: Project, tmp_path: Path) -> None:
    file = lines(tmp_path / "two.jsonl", [{"prompt": "1 + 1?", "chosen": better, "rejected": "No."} for better in ("2", "Two.")])
    undo(project, import_(project, file, quiet=True)["import"])
    again = import_(project, file, quiet=True)
    assert (again["prompts"], again["rankings"]) == (1, 2)
    assert "removed_before" not in again
    with accord.store(project) as store:
        (prompt,) = store.prompts()
    remove(project, prompt.id)
    assert import_(project, file, quiet=True)["removed_before"] == 2
