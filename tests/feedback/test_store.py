"""What goes into the store comes out of it, once and unchanged; what does not fit leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accord.data.importers import read
from accord.errors import StoreError
from accord.feedback import database
from accord.feedback.export import lines
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, RankedPrompt, Ranking, Rating, Response

ODD = 'a "quote", a tab\t, a line\u2028separator, \x85, \x00, 你好, 🦆'
PROMPTS = (
    Prompt("p0", (Message("system", "Be brief."), Message("user", ODD)), "open_qa", "u0", "train", "here"),
    Prompt("p1", (Message("user", "Question?"),), "chat", "u1", "test"),
)
LABELERS = (Labeler("ann", "person", "a"), Labeler("bob", "simulated", "b"))
RESPONSES = tuple(Response(f"r{i}{k}", f"p{i}", f"{ODD} {k}", "sft", (i, k, 0) if k else (), k == 0) for i in range(2) for k in range(3))
DEMONSTRATION = Demonstration("d0", PROMPTS[0], ODD, "ann")
RATINGS = (Rating("r01", 7, ("opinion", "other")), Rating("r00", 1))
AT = "2026-01-02T03:04:05+00:00"
RANKINGS = (
    Ranking("k0", "p0", "ann", ("r01", "r00", "r02"), (2, 1, 1), Guideline("training", "v1"), AT, RATINGS),
    Ranking("k1", "p1", "bob", ("r10", "r11"), (1, 2), Guideline("evaluation", "v2"), AT),
)
EVERYTHING: dict[str, Any] = {
    "prompts": PROMPTS,
    "labelers": LABELERS,
    "demonstrations": (DEMONSTRATION,),
    "responses": RESPONSES,
    "rankings": RANKINGS,
}
NOTHING = dict.fromkeys(EVERYTHING, 0)
ALL = {kind: len(records) for kind, records in EVERYTHING.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feedback.db"


@pytest.fixture
def file_store(path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{path}") as opened:
        yield opened


def records(store: Store) -> dict[str, Any]:
    return {kind: tuple(getattr(store, kind)()) for kind in EVERYTHING}


def test_every_record_comes_out_as_it_went_in(store: Store, url: str) -> None:
    assert store.add(**EVERYTHING) == ALL
    assert records(store) == EVERYTHING
    with Store.open(url) as again:
        assert records(again) == EVERYTHING
        assert again.counts() == ALL


def test_kind_by_kind_is_the_same_as_all_at_once(store: Store) -> None:
    for kind, given in EVERYTHING.items():
        assert getattr(store, f"add_{kind}")(iter(given)) == len(given)
    assert records(store) == EVERYTHING


def test_adding_again_adds_nothing(store: Store) -> None:
    store.add(**EVERYTHING)
    assert store.add(**EVERYTHING) == NOTHING
    assert records(store) == EVERYTHING


def test_the_same_record_twice_in_one_call_is_one(store: Store) -> None:
    assert store.add(**{kind: given * 2 for kind, given in EVERYTHING.items()}) == ALL
    assert records(store) == EVERYTHING


def test_a_demonstration_brings_its_prompt(store: Store) -> None:
    store.add_labelers(LABELERS)
    assert store.add_demonstrations([DEMONSTRATION]) == 1
    assert tuple(store.prompts()) == PROMPTS[:1]


def test_reading_by_split_use_case_and_model(store: Store) -> None:
    store.add(**EVERYTHING)
    assert tuple(store.prompts(split="test")) == PROMPTS[1:]
    assert tuple(store.prompts(use_case="open_qa")) == PROMPTS[:1]
    assert tuple(store.demonstrations(split="test")) == ()
    assert tuple(store.responses(model="ppo")) == ()
    assert tuple(store.responses(model="sft")) == RESPONSES


def test_ranked_prompts_carry_responses_as_shown_and_the_labelers_group(store: Store) -> None:
    store.add(**EVERYTHING)
    shown = (RESPONSES[1], RESPONSES[0], RESPONSES[2])
    assert list(store.ranked_prompts(split="train")) == [RankedPrompt(PROMPTS[0], shown, (2, 1, 1), "ann", "a")]
    assert [row.group for row in store.ranked_prompts(guideline=None)] == ["a", "b"]


def test_models_do_not_learn_from_the_evaluation(store: Store) -> None:
    store.add(**EVERYTHING)
    assert [row.labeler for row in store.ranked_prompts()] == ["ann"]
    assert [row.labeler for row in store.ranked_prompts(guideline="evaluation")] == ["bob"]


BAD = {
    "unknown labeler": ("rankings", replace(RANKINGS[0], labeler="eve"), "no labeler eve"),
    "unknown prompt": ("rankings", replace(RANKINGS[0], prompt_id="p9"), "no prompt p9"),
    "unknown response": ("rankings", replace(RANKINGS[1], response_ids=("r10", "r99")), "no response r99"),
    "foreign response": ("rankings", replace(RANKINGS[1], response_ids=("r10", "r00")), "r00 answers prompt p0, not p1"),
    "rating of another response": ("rankings", replace(RANKINGS[1], ratings=(Rating("r00", 3),)), "ratings"),
    "two ratings of a response": ("rankings", replace(RANKINGS[1], ratings=(Rating("r10", 3), Rating("r10", 4))), "ratings"),
    "response to an unknown prompt": ("responses", replace(RESPONSES[0], id="new", prompt_id="p9"), "no prompt p9"),
    "demonstration by nobody": ("demonstrations", replace(DEMONSTRATION, id="new", labeler="eve"), "no labeler eve"),
    "quality above 7": ("rankings", replace(RANKINGS[1], ratings=(Rating("r10", 8),)), "bad: quality 8 of r10"),
    "quality below 1": ("rankings", replace(RANKINGS[1], ratings=(Rating("r10", 0),)), "bad: quality 0 of r10"),
    "rank below 1": ("rankings", replace(RANKINGS[1], ranks=(0, 1)), "bad: rank 0"),
    "no such guideline set": ("rankings", replace(RANKINGS[1], guideline=Guideline("mood", "v1")), "bad: guideline set 'mood'"),
    "no such split": ("prompts", replace(PROMPTS[0], split="dev"), "bad: split 'dev'"),
    "no such role": ("prompts", replace(PROMPTS[0], messages=(Message("bot", "Hi."),)), "bad: role 'bot'"),
    "no such kind of labeler": ("labelers", replace(LABELERS[0], kind="cat"), "bad: kind 'cat'"),
    "half a surrogate pair": ("responses", replace(RESPONSES[0], id="new", text="\ud83e"), "surrogate"),
}


@pytest.mark.parametrize(("kind", "record", "message"), BAD.values(), ids=BAD)
def test_one_bad_record_and_nothing_is_stored(store: Store, kind: str, record: Any, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        store.add(**EVERYTHING | {kind: (*EVERYTHING[kind], replace(record, id="bad"))})
    assert store.counts() == NOTHING


CONFLICTS = {
    "prompts": replace(PROMPTS[0], split="validation"),
    "labelers": replace(LABELERS[0], group="c"),
    "demonstrations": replace(DEMONSTRATION, text="Another."),
    "responses": replace(RESPONSES[0], tokens=(9,)),
    "rankings": replace(RANKINGS[0], at="2027-01-01T00:00:00+00:00"),
    "ranks": replace(RANKINGS[0], ranks=(1, 2, 3)),
    "order": replace(RANKINGS[0], response_ids=("r00", "r01", "r02")),
    "ratings": replace(RANKINGS[0], ratings=()),
}


@pytest.mark.parametrize("what", CONFLICTS)
def test_history_is_not_rewritten(store: Store, what: str) -> None:
    kind = what if what in EVERYTHING else "rankings"
    store.add(**EVERYTHING)
    new = Prompt("p9", (Message("user", "New?"),))
    with pytest.raises(StoreError, match=CONFLICTS[what].id):
        store.add(**{"prompts": [new]} | {kind: [*([new] if kind == "prompts" else []), CONFLICTS[what]]})
    assert records(store) == EVERYTHING


@pytest.mark.parametrize("what", CONFLICTS)
def test_two_contents_under_one_id_in_one_call_are_refused(store: Store, what: str) -> None:
    kind = what if what in EVERYTHING else "rankings"
    with pytest.raises(StoreError, match=CONFLICTS[what].id):
        store.add(**EVERYTHING | {kind: (*EVERYTHING[kind], CONFLICTS[what])})
    assert store.counts() == NOTHING


def test_more_ids_than_one_query_takes(store: Store) -> None:
    prompts = [Prompt(f"p{i:05}", (Message("user", str(i)),)) for i in range(2501)]
    assert store.add_prompts(prompts[:1300]) == 1300
    assert store.add_prompts(prompts) == 1201
    assert list(store.prompts()) == prompts


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"these are not the bytes of a database" * 100)
    with pytest.raises(StoreError, match=r"feedback\.db.*cannot be opened.*not a database"):
        Store.open(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"these are not")


def test_a_database_damaged_in_the_middle(file_store: Store, path: Path) -> None:
    file_store.add_prompts(Prompt(f"p{i:05}", (Message("user", "word " * 50),)) for i in range(3000))
    file_store.engine.dispose()
    content = bytearray(path.read_bytes())
    content[600_000:] = b"\xff" * (len(content) - 600_000)
    path.write_bytes(content)
    with Store.open(f"sqlite:///{path}") as damaged, pytest.raises(StoreError, match=r"cannot be read.*malformed"):
        list(damaged.prompts())


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="belongs to another program"):
        Store.open(f"sqlite:///{path}")
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("songs",)]
    other.close()
    assert len(path.read_bytes()) == len(before)


def test_a_newer_version_is_refused(file_store: Store, path: Path) -> None:
    with file_store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE meta SET value = '99'")
    with pytest.raises(StoreError, match=r"version 99.*newer Accord"):
        Store.open(f"sqlite:///{path}")


def test_a_read_only_store_is_read_and_not_written(file_store: Store, path: Path) -> None:
    file_store.add(**EVERYTHING)
    with Store.open(f"sqlite:///file:{path}?mode=ro&uri=true") as reader:
        assert records(reader) == EVERYTHING
        with pytest.raises(StoreError, match="readonly"):
            reader.add_prompts([Prompt("new", (Message("user", "?"),))])
        assert records(reader) == EVERYTHING


def test_a_full_disk_stores_nothing_and_leaves_what_was_there(file_store: Store) -> None:
    file_store.add(**EVERYTHING)
    with file_store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="full"):
        file_store.add_prompts(Prompt(f"n{i}", (Message("user", "word " * 1000),)) for i in range(100))
    assert records(file_store) == EVERYTHING


@pytest.mark.parametrize("url", ["", "feedback.sqlite", "nonsense://here", "sqlite:////no/such/folder/feedback.sqlite"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(StoreError):
        Store.open(url)


def test_a_password_in_the_address_is_not_said() -> None:
    with pytest.raises(StoreError) as caught:
        Store.open("nonsense://me:secret@here/store")
    assert "secret" not in str(caught.value)


WRITER = """
import sys
from accord.feedback.store import Store
from accord.records import Message, Prompt
with Store.open(sys.argv[1]) as store:
    for batch in range(10_000):
        store.add_prompts(Prompt(f"{batch:05}-{i}", (Message("user", "word " * 200),)) for i in range(20))
        print(batch, flush=True)
"""


def test_what_was_acknowledged_outlives_a_kill(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, f"sqlite:///{path}"], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    for _ in range(5):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    acknowledged = 5 + len(writer.stdout.read().split())
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    with Store.open(f"sqlite:///{path}") as store:
        batches = [prompt.id.split("-")[0] for prompt in store.prompts()]
        assert batches == sorted(f"{batch:05}" for batch in range(len(batches) // 20) for _ in range(20)), "half a batch was stored"
        assert acknowledged <= len(batches) // 20 <= acknowledged + 1


def test_two_writers_wait_for_each_other(path: Path) -> None:
    script = WRITER.replace("range(10_000)", "range(int(sys.argv[2]), int(sys.argv[2]) + 10)")
    writers = [subprocess.Popen([sys.executable, "-c", script, f"sqlite:///{path}", str(n)], stdout=subprocess.DEVNULL) for n in (0, 10)]
    assert [writer.wait() for writer in writers] == [0, 0]
    with Store.open(f"sqlite:///{path}") as store:
        assert store.counts()["prompts"] == 400


def test_an_export_of_before_flags_were_identifiers_comes_in_as_todays(store: Store, tmp_path: Path) -> None:
    plain = [Response(f"q{n}", "p1", f"Answer {n}.", "m") for n in range(2)]
    flagged = Ranking(
        "k2", "p1", "ann", ("q0", "q1"), (1, 2), Guideline("training", "v1"), AT, (Rating("q0", 2, ("sexual_content", "hallucination")),)
    )
    store.add(prompts=PROMPTS, labelers=LABELERS, responses=plain, rankings=[flagged])
    (line,) = lines(store, "rankings")
    assert '"sexual_content"' in line
    (tmp_path / "rankings.jsonl").write_text(line.replace("sexual_content", "sexual content"), "utf-8")
    (ranking,) = read(tmp_path / "rankings.jsonl").rankings
    assert ranking.ratings == flagged.ratings
    assert store.add(rankings=[ranking])["rankings"] == 0
    former = replace(flagged, ratings=(Rating("q0", 2, ("sexual content", "hallucination")),))
    assert store.add(rankings=[former])["rankings"] == 0, "the same flags under their former names are the same ranking"


def test_a_database_of_0_bytes_is_refused_by_name_unless_it_is_being_made(tmp_path: Path) -> None:
    file = tmp_path / "feedback.db"
    file.touch()
    os.utime(file, (0, 0))
    with pytest.raises(StoreError, match=r"feedback\.db.*empty, 0 bytes.*backup"):
        Store.open(f"sqlite:///{file}")
    assert file.stat().st_size == 0
    file.unlink()
    file.touch()  # as another process that opens it at the same moment has just done
    with Store.open(f"sqlite:///{file}") as store:
        assert store.counts()["prompts"] == 0


def test_a_store_that_was_interrupted_while_it_was_made_is_made_by_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(database, "_prepare_sqlite", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Store.open(f"sqlite:///{path}")
    os.utime(path, (1e9, 1e9))  # long ago
    assert path.stat().st_mode & 0o777 == 0o600
    with Store.open(f"sqlite:///{path}") as store:
        assert store.counts()["prompts"] == 0
    assert [one.name for one in path.parent.glob(".tmp-*")] == []
