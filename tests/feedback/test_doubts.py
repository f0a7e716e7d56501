"""A labeler's doubt: a thread with the lead beside a task, and the rule that it becomes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from accord.feedback import doubts, guidelines, privacy, tasks
from accord.feedback.export import values
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.records import Guideline, Labeler, Message, Prompt, Response

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROMPT = Prompt("p", (Message("user", "How much?"),), user="u1")
TASK = Task("t", "rank", PROMPT, tuple(Response(f"r{n}", "p", str(n), "sft") for n in range(2)), overlap=2)


@pytest.fixture
def asked(store: Store) -> Store:
    """Ann has doubted her task; Bob has none."""
    store.add_labelers([Labeler(name, "person") for name in ("ann", "bob", "lea")])
    tasks.add(store, [TASK])
    tasks.next_task(store, "ann", now=NOW, lease_seconds=60)
    doubts.ask(store, "ann", "t", " Is a tie allowed here?\n", now=NOW)
    return store


def test_a_thread_goes_back_and_forth(asked: Store) -> None:
    (thread,) = doubts.threads(asked)
    assert (thread.waits, thread.answered, doubts.waiting(asked)) == (True, False, 1)
    doubts.reply(asked, thread.id, "Yes.", by="lea", now=NOW + timedelta(hours=1))
    (thread,) = doubts.threads(asked, labeler="ann", task_id="t")
    assert [(note.by, note.text) for note in thread.notes] == [("ann", "Is a tie allowed here?"), ("lea", "Yes.")]
    assert (thread.waits, thread.answered) == (False, True)
    doubts.settle(asked, thread.id, by="lea", now=NOW)
    assert doubts.threads(asked)[0].settled
    assert doubts.ask(asked, "ann", "t", "Also among three?", now=NOW) == thread.id, "one thread per task and labeler"
    assert doubts.threads(asked)[0].waits, "what the labeler asks again is open again"
    assert doubts.threads(asked, labeler="bob") == []


@pytest.mark.parametrize(
    ("who", "text", "key"), [("bob", "?", "not_yours"), ("ann", " \n", "nothing_said"), ("ann", "x" * 4_001, "too_long")]
)
def test_what_is_no_doubt_of_this_labeler_is_refused(asked: Store, who: str, text: str, key: str) -> None:
    with pytest.raises(Refused) as caught:
        doubts.ask(asked, who, "t", text, now=NOW)
    assert caught.value.key == key
    with pytest.raises(Refused) as caught:
        doubts.reply(asked, "q-none", "Yes.", by="lea", now=NOW)
    assert (caught.value.key, caught.value.status) == ("no_such_doubt", 404)


def test_a_rule_grows_in_both_languages_and_makes_a_version(asked: Store, tmp_path: Path) -> None:
    before, other = guidelines.keep(asked, "training", now=NOW, project=tmp_path), guidelines.reference("evaluation", tmp_path)
    guidelines.mark_read(asked, "ann", before, now=NOW)
    (thread,) = doubts.threads(asked)
    first = doubts.grow_rule(asked, tmp_path, thread.id, {"en": "A tie\nis fine.", "zh": "可以并列。"}, by="lea", now=NOW)
    second = doubts.grow_rule(asked, tmp_path, thread.id, {"en": "", "zh": "三个也可以。"}, by="lea", now=NOW)
    assert len({before, first, second}) == 3
    assert guidelines.reference("training", tmp_path) == second
    assert guidelines.reference("evaluation", tmp_path) == other, "the other guideline stays as it was"
    english, chinese = (guidelines.load("training", language, tmp_path) for language in ("en", "zh"))
    assert english == guidelines.load("training") + "\n## Grown from doubts\n- A tie is fine.\n- 三个也可以。\n"
    assert chinese.endswith("\n\n## 由疑问而来\n- 可以并列。\n- 三个也可以。\n")
    added = [change.line for change in guidelines.changes_since_read(asked, "ann", second) if change.kind == "added"]
    assert "- A tie is fine." in added
    newest, oldest = doubts.rules_of(asked, "training")
    assert (newest.guideline, oldest.guideline, oldest.doubt) == (second, first, thread.id)
    assert oldest.text == "A tie is fine.\n可以并列。"
    assert doubts.rules_of(asked, "evaluation") == []
    assert doubts.threads(asked)[0].settled
    with pytest.raises(Refused):
        doubts.grow_rule(asked, tmp_path, thread.id, {"en": " "}, by="lea", now=NOW)


def test_an_export_has_the_threads_and_an_erasure_empties_them(asked: Store, tmp_path: Path) -> None:
    (thread,) = doubts.threads(asked)
    guideline: Guideline = doubts.grow_rule(asked, tmp_path, thread.id, {"en": "Tie them."}, by="lea", now=NOW)
    (line,) = values(asked, "doubts")
    assert [note["text"] for note in line["notes"]] == ["Is a tie allowed here?"]
    assert line["rules"][0]["guideline"]["version"] == guideline.version
    privacy.erase_user(asked, "u1", by="lea", why="asked", now=NOW)
    assert [note.text for note in doubts.threads(asked)[0].notes] == [""]
