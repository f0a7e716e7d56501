"""The qualification run: what was answered is judged against what was expected, and demonstrations by a lead's scores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accord.feedback import accounts, answers, audit, tasks
from accord.feedback.qualification import score, screening, sensitivity
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.tasks import EVERYBODY, Kind, Task
from accord.records import Guideline, Message, Prompt, Response
from accord.settings import ScreeningConfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GUIDELINE = Guideline("training", "v1")
VIOLENT, OPINION = "violent_content", "expresses_opinion"


def known(n: int, kind: Kind, k: int, expected: dict[str, Any]) -> Task:
    prompt = Prompt(f"p{n}", (Message("user", f"Question {n}?"),))
    responses = tuple(Response(f"r{n}{j}", prompt.id, f"Answer {j}.", "m") for j in range(k))
    return Task(f"t{n}", kind, prompt, responses, purpose="qualification", overlap=EVERYBODY, expected=expected, priority=-float(n))


RATED = {"r10": {"quality": 1, "flags": [VIOLENT]}, "r11": {"quality": 6}, "r12": {"quality": 5}}
RUN = (
    known(1, "rank", 3, {"ranks": {"r10": 3, "r11": 1, "r12": 2}, "ratings": RATED, "prompt_flags": ["sensitive"]}),
    known(2, "compare", 2, {"choice": "first"}),
    known(3, "demonstrate", 0, {"text": "As a researcher would."}),
    known(4, "demonstrate", 0, {"text": "And again."}),
)


@pytest.fixture
def ann(store: Store) -> str:
    """Somebody who was invited to the screening."""
    tasks.add(store, RUN)
    accounts.invite(store, "labeler", "Ann", by="tests", now=NOW, screened=True)
    return accounts.people(store)[0].id


def say(store: Store, who: str, payloads: dict[str, Any]) -> dict[str, answers.Saved]:
    """Answers to everything in the run, a second apart: of answers with one time the order is anybody's."""
    said: dict[str, answers.Saved] = {}
    while leased := tasks.next_task(store, who, now=NOW, lease_seconds=60, purpose="qualification"):
        payload = payloads[leased.task.id]
        if payload == "r20":
            payload = {"choice": "first" if leased.order[0] == "r20" else "second"}
        rest = {"key": leased.task.id, "revision": 0, "seconds": 1.0, "guideline": GUIDELINE, "now": NOW + timedelta(seconds=len(said))}
        said[leased.task.id] = answers.submit(store, who, leased.task.id, payload, **rest)
    return said


def test_a_run_is_finished_when_all_three_parts_are_there(store: Store, ann: str) -> None:
    said = say(store, ann, {"t1": RUN[0].expected, "t2": "r20", "t3": {"text": "Mine."}, "t4": {"text": "Mine, too."}})
    run = screening(store, ann, ScreeningConfig())
    assert (run.done, run.of, run.result) == (4, 4, None)
    assert "demonstrations" in run.missing
    assert [(each.text, each.expected, each.score) for each in run.written] == [
        ("Mine.", "As a researcher would.", None),
        ("Mine, too.", "And again.", None),
    ]
    score(store, said["t3"].id, 2, by="lea", now=NOW)
    assert screening(store, ann, ScreeningConfig()).result is None, "one is still to be read"
    for task, value in (("t3", 7), ("t4", 6)):
        score(store, said[task].id, value, by="lea", now=NOW)
    found = screening(store, ann, ScreeningConfig()).result
    assert found
    assert (found.sensitivity.mean, found.ranking.mean, found.demonstrations) == (1.0, 1.0, 6.5), "the last score counts"
    assert found.passed
    assert [entry.why for entry in audit.entries(store) if entry.what == "score"] == ["2", "7", "6"]


def test_what_was_judged_otherwise_counts_against_it(store: Store, ann: str) -> None:
    other = {"ranks": {"r10": 1, "r11": 1, "r12": 2}, "ratings": {id: {"quality": 4, "flags": [VIOLENT]} for id in RATED}}
    said = say(store, ann, {"t1": other, "t2": {"choice": "tie"}, "t3": {"text": "Mine."}, "t4": {"skip": "unpleasant"}})
    score(store, said["t3"].id, 5, by="lea", now=NOW)
    found = screening(store, ann, ScreeningConfig(demonstrations=5.0)).result
    assert found
    assert found.sensitivity.mean == 1 / 4, "the prompt, and two of three responses"
    assert found.ranking.mean == pytest.approx((0.5 + 0 + 1 + 0.5) / 4)
    assert found.failed == ("sensitivity", "ranking")


def test_what_is_sensitive() -> None:
    flagged = {"quality": 1, "flags": [OPINION, VIOLENT]}
    given = {"ratings": {"a": flagged, "b": {"quality": 2}}, "prompt_flags": ["sensitive"]}
    assert sensitivity(given, {"ratings": {"a": {"quality": 3}, "b": flagged}}) == [(True, False), (True, False), (False, True)]
    assert sensitivity({"turns": {"1": flagged}}, {"turns": {"1": {"quality": 1, "flags": [OPINION]}}}) == [(False, False), (True, False)]
    assert sensitivity({"choice": "tie"}, {"choice": "first"}) == sensitivity({"text": "a"}, {"text": "b"}) == []


@pytest.mark.parametrize(("task", "value", "key"), [("t3", 8, "malformed"), ("t3", 0, "malformed"), ("t2", 7, "not_yours")])
def test_only_demonstrations_have_scores_from_1_to_7(store: Store, ann: str, task: str, value: int, key: str) -> None:
    said = say(store, ann, {"t1": {"skip": ""}, "t2": {"choice": "tie"}, "t3": {"text": "Mine."}, "t4": {"skip": ""}})
    with pytest.raises(Refused) as caught:
        score(store, said[task].id, value, by="lea", now=NOW)
    assert caught.value.key == key
    assert not [entry for entry in audit.entries(store) if entry.what == "score"]
