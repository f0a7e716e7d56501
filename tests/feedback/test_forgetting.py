"""A person is forgotten in the store and in the copies that runs hold, and nobody else is; papers of prompts; leaving out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

import accord.feedback
import accord.report
import accord.serving
from accord.errors import StoreError
from accord.feedback import provenance, withdrawals
from accord.feedback.audit import entries
from accord.feedback.erasure import forget, person, remove, rewrite, traces
from accord.feedback.privacy import erase_user
from accord.feedback.provenance import Provenance
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "Where did my uncle Ebenezer bury it?"


def prompt(id: str, user: str, words: str = "Name a colour of the sky, please.") -> Prompt:
    return Prompt(id, (Message("user", words),), user=user, source="file.jsonl")


def fill(store: Store) -> None:
    """Bob asked a and b, Eve asked c; both had answers ranked, and Bob also labels (he used the chat)."""
    asked = [prompt("a", "bob", SECRET), prompt("b", "bob"), prompt("c", "eve")]
    answers = [Response(f"{p.id}{n}", p.id, f"answer {n}", "m", (1, 2)) for p in asked for n in "01"]
    ranked = [Ranking(f"k{p.id}", p.id, "ann", (f"{p.id}0", f"{p.id}1"), (1, 2), Guideline("training", "v"), "now") for p in asked]
    store.add(
        prompts=asked,
        labelers=[Labeler("ann", "person"), Labeler("bob", "user")],
        demonstrations=[Demonstration("da", asked[0], "Under the oak.", "ann"), Demonstration("dc", asked[2], "Blue.", "bob")],
        responses=answers,
        rankings=[*ranked, Ranking("kbob", "c", "bob", ("c0", "c1"), (2, 1), Guideline("training", "v"), "now")],
    )


def test_what_a_person_asked_and_said_is_gone_and_the_rest_stays(store: Store) -> None:
    fill(store)
    provenance.record(store, [Provenance("a", "file.jsonl", consent="given"), Provenance("c", "file.jsonl")])
    forgotten = forget(store, person(store, "bob"), by="operator", why="asked", now=NOW)
    assert forgotten["prompts"] == 2
    assert [p.id for p in store.prompts()] == ["c"]
    assert [r.id for r in store.rankings()] == ["kc"]
    assert list(store.demonstrations()) == []
    assert [p.prompt_id for p in provenance.papers(store)] == ["c"]
    with store.read() as connection:
        tables = ("prompts", "responses", "demonstrations", "answers")
        everything = [row for table in tables for row in connection.execute(text(f"SELECT * FROM {table}"))]
    assert "Ebenezer" not in str(everything)
    assert "oak" not in str(everything)
    assert "erase" in [entry.what for entry in entries(store)]


def test_nobody_is_nobody(store: Store) -> None:
    fill(store)
    for name in ("", "carl"):
        with pytest.raises(StoreError, match="has no user"):
            person(store, name)


def test_the_copies_of_runs_lose_the_persons_rows_alone(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/f.db") as store:
        fill(store)
        reward, ppo = tmp_path / "runs" / "reward", tmp_path / "runs" / "ppo"
        for folder in (reward, ppo):
            folder.mkdir(parents=True)
        digest = write_snapshot(store.ranked_prompts(), reward / "rankings.jsonl")
        write_snapshot(store.prompts(), ppo / "prompts.jsonl")
        samples = [{"step": 1, "prompt": f"<|user|>{SECRET}<|end|>", "response": "no"}, {"step": 1, "prompt": "other", "response": "yes"}]
        (ppo / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
        (ppo / "metrics.jsonl").write_text('{"step": 1}\n')
        bob = person(store, "bob")
    found = traces(tmp_path / "runs", bob)
    assert {(trace.path.parent.name, trace.path.name): trace.rows for trace in found} == {
        ("ppo", "prompts.jsonl"): 2,
        ("ppo", "samples.jsonl"): 1,
        ("reward", "rankings.jsonl"): 3,
    }
    assert digest in {trace.digest for trace in found}
    assert remove(found, bob, now=NOW) == 6
    assert traces(tmp_path / "runs", bob) == []
    left = [json.loads(line) for line in (reward / "rankings.jsonl").read_text().splitlines()]
    assert [(row["prompt"]["id"], row["labeler"]) for row in left] == [("c", "ann")]
    assert "Ebenezer" not in (ppo / "samples.jsonl").read_text()
    assert "forgotten" in (ppo / "log.txt").read_text()


def test_stored_texts_are_rewritten_everywhere_with_an_audit_row(store: Store) -> None:
    fill(store)
    changed = rewrite(store, lambda words: words.replace("Ebenezer", "[NAME_1]").replace("answer 0", "x"), by="operator", why="", now=NOW)
    assert (changed["prompts"], changed["responses"], changed["demonstrations"]) == (1, 3, 0)
    assert next(store.prompts()).messages[0].content == SECRET.replace("Ebenezer", "[NAME_1]")
    assert {r.id: r.tokens for r in store.responses()}["a0"] == ()
    assert {r.id: r.tokens for r in store.responses()}["a1"] == (1, 2)
    assert [entry.what for entry in entries(store)] == ["redact"]


def test_papers_are_kept_replaced_and_counted(store: Store) -> None:
    fill(store)
    provenance.record(store, [Provenance("a", "x", kind="few-shot", consent="given", terms="v1"), Provenance("b", "x")])
    with store.write() as connection:
        tagged = [Provenance(id, "other", language="en", use_case="open_qa") for id in "abc"]
        provenance.write(connection, tagged, tags_only=True)
    a, _, c = provenance.papers(store)
    assert (a.origin, a.kind, a.consent, a.terms, a.language) == ("x", "few-shot", "given", "v1", "en")
    assert c.origin == "other"
    assert provenance.mark(store, user="bob", consent="refused", by="operator", now=NOW) == 2
    assert [p.consent for p in provenance.papers(store)] == ["refused", "refused", "unknown"]
    assert provenance.summary(store)["consent"] == {"refused": 2, "unknown": 1}
    assert provenance.summary(store)["origin"] == {"file.jsonl": 3}
    with pytest.raises(StoreError, match="kind"):
        provenance.record(store, [Provenance("a", "x", kind="odd")])  # pyright: ignore[reportArgumentType]
    with pytest.raises(StoreError, match="no prompts are named"):
        provenance.mark(store, consent="given", by="operator", now=NOW)


def test_what_was_left_out_comes_back_unless_it_was_erased(store: Store) -> None:
    fill(store)
    with store.write() as connection:
        assert withdrawals.withdraw(connection, "prompt", [("a", "too long"), ("b", "erased")], by="pipeline", now=NOW) == 2
        assert withdrawals.withdraw(connection, "prompt", [("a", "again"), ("c", "no consent")], by="lead", now=NOW) == 1
        assert withdrawals.reasons(connection, "prompt") == {"erased": 1, "no consent": 1, "too long": 1}
    assert list(store.prompts()) == []
    with store.write() as connection:
        assert withdrawals.restore(connection, "prompt", by="pipeline") == 1
        assert set(withdrawals.withdrawn_ids(connection, "prompt", "abc")) == {"b", "c"}
    assert [p.id for p in store.prompts()] == ["a"]


def test_what_was_erased_after_it_was_left_out_never_comes_back(store: Store) -> None:
    fill(store)
    with store.write() as connection:
        withdrawals.withdraw(connection, "prompt", [("a", "too long"), ("c", "too long")], by="pipeline", now=NOW)
    erase_user(store, "bob", by="lead", why="asked for it", now=NOW)
    with store.write() as connection:
        assert withdrawals.restore(connection, "prompt", by="pipeline") == 1
        assert withdrawals.reasons(connection, "prompt") == {"erased": 2}
    assert [p.id for p in store.prompts()] == ["c"], "an emptied prompt was restored"


def test_one_module_asks_whether_a_record_was_withdrawn() -> None:
    rooms = [Path(package.__file__ or "").parent for package in (accord.feedback, accord.serving, accord.report)]
    files = {path.name: path.read_text("utf-8") for room in rooms for path in room.rglob("*.py")}
    asking = {name for name, text in files.items() if "schema.withdrawn" in text}
    assert asking == {"withdrawals.py", "lead_metrics.py"}, "lead_metrics.py counts its rows; all others ask withdrawals.py"
