"""An answer is stored once, as it was meant, with all that follows from it, or refused with a reason."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from accord.errors import StoreError
from accord.feedback import accounts, answers, audit, payloads, tasks
from accord.feedback.answers import Conflict, Pace, Refused, Saved
from accord.feedback.privacy import erase_labeler, erase_user
from accord.feedback.store import Store
from accord.feedback.tasks import Kind, Leased, Task
from accord.records import FORMER_FLAGS, PROMPT_FLAGS, RESPONSE_FLAGS, Demonstration, Guideline, Labeler, Message, Prompt, Rating, Response

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TRAINING, EVALUATION = Guideline("training", "v1"), Guideline("evaluation", "v9")
TURNS = (Message("user", "Hello?"), Message("assistant", "Hi."), Message("user", "And now?"))
PROMPT = Prompt("p", TURNS, user="u1")
RESPONSES = tuple(Response(f"r{n}", "p", f"Answer {n}.", "sft") for n in range(3))
COUNT: dict[Kind, int] = {"rank": 3, "evaluate": 3, "compare": 2, "demonstrate": 0, "correct": 1, "conversation": 0}
RATED = {"ratings": {"r0": {"quality": 7, "flags": [RESPONSE_FLAGS[3], RESPONSE_FLAGS[0]]}, "r1": {"quality": 1}, "r2": {"quality": 4}}}
GOOD: dict[Kind, dict[str, Any]] = {
    "rank": {"ranks": {"r0": 5, "r1": 9, "r2": 5}, **RATED, "prompt_flags": [PROMPT_FLAGS[1]], "reason": "Clear."},
    "evaluate": {"ranks": {"r0": 1, "r1": 2, "r2": 3}, **RATED},
    "compare": {"choice": "second", "reason": "Shorter."},
    "demonstrate": {"text": "Like this.\0\u2028"},
    "correct": {"response_id": "r0", "text": "Answer 0, mended."},
    "conversation": {"turns": {1: {"quality": 6}}},
}


def task(kind: Kind, **given: Any) -> Task:
    return Task(f"t-{kind}", kind, PROMPT, RESPONSES[: COUNT[kind]], "evaluation" if kind == "evaluate" else "training", **given)


@pytest.fixture
def people(store: Store) -> Store:
    store.add_labelers(Labeler(name, "person", "g") for name in ("ann", "bob"))
    return store


def lease(store: Store, kind: Kind = "rank", who: str = "ann", **given: Any) -> Leased:
    tasks.add(store, [task(kind, **given)])
    leased = tasks.next_task(store, who, now=NOW, lease_seconds=60)
    assert leased
    return leased


def send(store: Store, kind: Kind = "rank", payload: Any = None, who: str = "ann", **given: Any) -> Saved:
    rest: dict[str, Any] = {"key": "k1", "revision": 0, "seconds": 12.5, "now": NOW}
    guideline = EVALUATION if kind == "evaluate" else TRAINING
    content = GOOD[kind] if payload is None else payload
    return answers.submit(store, who, f"t-{kind}", content, **{"guideline": guideline, **rest, **given})


def test_a_ranking_is_kept_as_it_was_shown(people: Store) -> None:
    leased = lease(people)
    saved = send(people)
    (ranking,) = people.rankings()
    assert ranking.response_ids == leased.order
    assert dict(zip(ranking.response_ids, ranking.ranks, strict=True)) == {"r0": 1, "r1": 2, "r2": 1}
    assert set(ranking.ratings) == {Rating("r0", 7, (RESPONSE_FLAGS[0], RESPONSE_FLAGS[3])), Rating("r1", 1), Rating("r2", 4)}
    assert (ranking.guideline, ranking.at, ranking.labeler) == (TRAINING, NOW.isoformat(), "ann")
    (answer,) = answers.own(people, "ann")
    assert (answer.id, answer.revision, answer.seconds, answer.withdrawn) == (saved.id, 1, 12.5, False)
    assert answer.payload["prompt_flags"] == [PROMPT_FLAGS[1]]


def test_evaluations_are_for_measuring(people: Store) -> None:
    lease(people, "evaluate")
    send(people, "evaluate")
    assert list(people.ranked_prompts()) == []
    assert [r.guideline for r in people.rankings()] == [EVALUATION]


@pytest.mark.parametrize(("choice", "ranks"), [("first", (1, 2)), ("second", (2, 1)), ("tie", (1, 1)), ("both_bad", (1, 1))])
def test_a_choice_is_a_ranking_of_two_as_they_were_shown(people: Store, choice: str, ranks: tuple[int, int]) -> None:
    leased = lease(people, "compare")
    send(people, "compare", {"choice": choice})
    (ranking,) = people.rankings()
    assert (ranking.response_ids, ranking.ranks) == (leased.order, ranks)


def test_a_text_is_a_demonstration(people: Store) -> None:
    lease(people, "demonstrate")
    saved = send(people, "demonstrate")
    assert list(people.demonstrations()) == [Demonstration(f"d-{saved.id}", PROMPT, "Like this.\0\u2028", "ann")]


def test_a_correction_is_a_demonstration_and_preferred(people: Store) -> None:
    lease(people, "correct")
    send(people, "correct")
    (written,) = people.demonstrations()
    (row,) = people.ranked_prompts()
    assert written.text == "Answer 0, mended."
    assert {r.text: rank for r, rank in zip(row.responses, row.ranks, strict=True)} == {written.text: 1, "Answer 0.": 2}


def test_all_bad_is_a_tie(people: Store) -> None:
    lease(people)
    send(people, payload={"all_bad": True})
    assert [r.ranks for r in people.rankings()] == [(1, 1, 1)]


R = GOOD["rank"]
BAD: dict[str, tuple[Kind, Any, str]] = {
    "a response missing": ("rank", R | {"ranks": {"r0": 1, "r1": 2}}, "ranks_incomplete"),
    "a foreign response": ("rank", R | {"ranks": {"r0": 1, "r1": 2, "x": 3}}, "ranks_incomplete"),
    "a rank of 0": ("rank", R | {"ranks": {"r0": 0, "r1": 2, "r2": 3}}, "ranks_incomplete"),
    "a rank that is true": ("rank", R | {"ranks": {"r0": True, "r1": 2, "r2": 3}}, "ranks_incomplete"),
    "a rank that is a word": ("rank", R | {"ranks": {"r0": "1", "r1": 2, "r2": 3}}, "ranks_incomplete"),
    "ranks that are a list": ("rank", R | {"ranks": [1, 2, 3]}, "malformed"),
    "no rating": ("rank", R | {"ratings": {}}, "rating_missing"),
    "quality 8": ("rank", R | {"ratings": RATED["ratings"] | {"r1": {"quality": 8}}}, "rating_missing"),
    "an unknown flag": ("rank", R | {"ratings": RATED["ratings"] | {"r1": {"quality": 1, "flags": ["odd"]}}}, "malformed"),
    "an unknown field": ("rank", R | {"x": 1}, "malformed"),
    "an unknown prompt flag": ("rank", R | {"prompt_flags": ["x"]}, "malformed"),
    "half a surrogate pair": ("rank", R | {"reason": "\ud83e"}, "malformed"),
    "a reason without end": ("rank", R | {"reason": "x" * 100_001}, "too_long"),
    "no choice": ("compare", {}, "choice_missing"),
    "a choice of neither": ("compare", {"choice": "third"}, "choice_missing"),
    "no text": ("demonstrate", {"text": " \n"}, "text_missing"),
    "the same text": ("correct", {"text": "Answer 0."}, "text_unchanged"),
    "another response": ("correct", {"response_id": "r1", "text": "x"}, "malformed"),
    "a turn missing": ("conversation", {"turns": {}}, "turn_missing"),
    "a turn of the user": ("conversation", {"turns": {0: {"quality": 1}, 1: {"quality": 1}}}, "turn_missing"),
    "a skip and more": ("rank", {"skip": "", "ranks": {}}, "malformed"),
}


@pytest.mark.parametrize(("kind", "payload", "key"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_and_nothing_is_stored(people: Store, kind: Kind, payload: Any, key: str) -> None:
    lease(people, kind)
    with pytest.raises(Refused) as caught:
        send(people, kind, payload)
    assert (caught.value.key, caught.value.status) == (key, 422)
    assert list(answers.every(people)) == []
    assert people.counts()["rankings"] == people.counts()["demonstrations"] == 0
    send(people, kind)


def test_another_guideline_than_the_tasks_is_refused(people: Store) -> None:
    lease(people)
    with pytest.raises(Refused, match="another guideline"):
        send(people, guideline=EVALUATION)


def test_a_task_that_was_never_given_is_not_to_be_seen_by_its_answer(people: Store) -> None:
    lease(people, who="bob")
    for kind in ("rank", "compare"):
        with pytest.raises(Refused) as caught:
            send(people, kind)
        assert (caught.value.key, caught.value.status) == ("not_yours", 403)
    with pytest.raises(Refused, match="not given"):
        answers.draft(people, "ann", "t-rank", {}, now=NOW)
    assert tasks.held(people, "ann", "t-rank") is None


def test_sent_twice_is_one(people: Store) -> None:
    lease(people)
    saved = send(people)
    assert send(people) == saved
    assert send(people, now=NOW + timedelta(days=1), seconds=0.1) == saved
    assert len(list(answers.every(people, withdrawn=True))) == people.counts()["rankings"] == 1


def test_a_key_stands_for_one_content(people: Store) -> None:
    lease(people)
    send(people)
    with pytest.raises(Conflict) as caught:
        send(people, payload={"skip": "no"})
    assert (caught.value.key, caught.value.status) == ("key_reused", 409)


@pytest.mark.parametrize("key", ["", "x" * 81, "a\nb"])
def test_a_key_is_a_short_word(people: Store, key: str) -> None:
    lease(people)
    with pytest.raises(Refused, match="key"):
        send(people, key=key)


def test_a_correction_is_a_new_revision_and_the_old_one_is_kept(people: Store) -> None:
    lease(people)
    first = send(people)
    with pytest.raises(Conflict, match="changed elsewhere"):
        send(people, key="k2", revision=1 + 1)
    second = send(people, payload=R | {"ranks": {"r0": 3, "r1": 2, "r2": 1}}, key="k2", revision=1)
    with pytest.raises(Conflict, match="changed elsewhere"):
        send(people, key="k3", revision=1)
    assert second.revision == 2
    assert [(a.id, a.withdrawn) for a in answers.every(people, withdrawn=True)] in (
        [(first.id, True), (second.id, False)],
        [(second.id, False), (first.id, True)],
    )
    (ranking,) = people.rankings()
    assert dict(zip(ranking.response_ids, ranking.ranks, strict=True)) == {"r0": 3, "r1": 2, "r2": 1}
    assert people.counts()["rankings"] == 2, "history is kept"
    third = send(people, payload={"skip": "on second thought"}, key="k4", revision=2)
    assert third.revision == 3
    assert list(people.rankings()) == []


def test_a_retracted_answer_is_out_of_sight_and_its_place_is_free_for_others(people: Store) -> None:
    lease(people)
    saved = send(people)
    answers.retract(people, saved.id, by="lead", why="asked for it", now=NOW)
    assert list(people.rankings()) == answers.own(people, "ann") == []
    (entry,) = audit.entries(people)
    assert (entry.who, entry.what, entry.on, entry.why) == ("lead", "retract", saved.id, "asked for it")
    for again in (lambda: answers.retract(people, saved.id, by="lead", why="", now=NOW), lambda: send(people, key="k2", revision=1)):
        with pytest.raises(Refused, match="retracted"):
            again()
    assert tasks.next_task(people, "ann", now=NOW, lease_seconds=60) is None
    assert tasks.next_task(people, "bob", now=NOW, lease_seconds=60)


def test_drafts_come_back_until_the_answer_is_sent(people: Store) -> None:
    lease(people)
    assert answers.read_draft(people, "ann", "t-rank") is None
    for draft in ({"ranks": {"r0": 1}}, {"reason": "half a se"}):
        answers.draft(people, "ann", "t-rank", draft, now=NOW)
        assert answers.read_draft(people, "ann", "t-rank") == draft
    assert answers.read_draft(people, "bob", "t-rank") is None
    with pytest.raises(Refused, match="too long"):
        answers.draft(people, "ann", "t-rank", {"reason": "x" * 400_000}, now=NOW)
    send(people)
    assert answers.read_draft(people, "ann", "t-rank") is None


def test_pace_and_skips(people: Store) -> None:
    lease(people)
    send(people, payload={"skip": "not my language"})
    assert tasks.next_task(people, "ann", now=NOW, lease_seconds=60) is None
    assert answers.pace(people, "ann", now=NOW) == Pace(0, 0, 0, 0.0)
    lease(people, "compare")
    send(people, "compare", key="k2", seconds=float("inf"))
    lease(people, "demonstrate")
    send(people, "demonstrate", key="k3", now=NOW + timedelta(hours=2), seconds=7)
    assert answers.pace(people, "ann", now=NOW + timedelta(hours=2)) == Pace(2, 2, 1, 7.0)
    assert answers.pace(people, "ann", now=NOW + timedelta(days=1)) == Pace(2, 0, 0, 7.0)


def test_excluded_labelers_are_not_heard_until_they_are_included(people: Store) -> None:
    lease(people)
    send(people)
    for _ in range(2):
        accounts.exclude(people, "ann", by="lead", why="random", now=NOW)
        assert list(people.rankings()) == list(people.ranked_prompts()) == []
    accounts.include(people, "ann", by="lead", now=NOW)
    assert len(list(people.ranked_prompts())) == 1
    assert [entry.what for entry in audit.entries(people)] == ["exclude", "exclude", "include"]


def test_a_labelers_personal_data_is_erased_and_what_was_said_where_asked(people: Store, tmp_path: Path) -> None:
    accounts.invite(people, "labeler", "Ann Unmistakable", by="lead", now=NOW, labeler="ann")
    lease(people, "demonstrate")
    send(people, "demonstrate", {"text": "Something I alone would write."})
    erase_labeler(people, "ann", by="lead", why="asked for it", now=NOW)
    assert (accounts.people(people)[0].name, accounts.people(people)[0].revoked) == ("", True)
    assert len(list(people.demonstrations())) == 1
    assert erase_labeler(people, "ann", by="lead", why="all of it", now=NOW, answers=True)["answers"] == 1
    assert list(people.demonstrations()) == answers.own(people, "ann") == []
    assert [entry.what for entry in audit.entries(people)][-2:] == ["erase", "erase"]
    people.database.close()
    for file in tmp_path.glob("feedback.db*"):
        content = file.read_bytes()
        assert b"Unmistakable" not in content
        assert b"alone would write" not in content


def test_a_users_prompts_are_emptied_with_all_that_was_made_of_them(people: Store) -> None:
    lease(people)
    send(people)
    people.add(prompts=[Prompt("q", TURNS[:1], user="u2")])
    assert erase_user(people, "u1", by="lead", why="asked for it", now=NOW) == {"prompts": 1, "responses": 3, "demonstrations": 0}
    assert [prompt.id for prompt in people.prompts()] == ["q"]
    assert list(people.rankings()) == list(people.responses()) == list(answers.every(people)) == []
    assert tasks.next_task(people, "bob", now=NOW, lease_seconds=60) is None


def test_a_page_from_before_flags_were_identifiers_still_sends_its_answer() -> None:
    former = {name: sentence for sentence, name in FORMER_FLAGS.items()}
    rated = {id: rating | {"flags": [former[flag] for flag in rating.get("flags", ())]} for id, rating in RATED["ratings"].items()}
    payload = GOOD["rank"] | {"ratings": rated, "prompt_flags": ["intent unclear", "sensitive"]}
    cleaned = payloads.clean(task("rank"), payload)
    assert cleaned["ratings"] == payloads.clean(task("rank"), GOOD["rank"])["ratings"]
    assert cleaned["prompt_flags"] == ["sensitive", "intent_unclear"]


def test_ranks_are_made_dense() -> None:
    assert payloads.dense({"a": 4, "b": 9, "c": 4}) == {"a": 1, "b": 2, "c": 1}


CLIENT = """
import sys
from datetime import UTC, datetime
from accord.feedback import answers, tasks
from accord.feedback.store import Store
from accord.records import Guideline
url, who = sys.argv[1:]
with Store.open(url) as store:
    while leased := tasks.next_task(store, who, now=datetime.now(UTC), lease_seconds=600):
        payload = {"ranks": {id: n for n, id in enumerate(leased.order, 1)}, "ratings": {id: {"quality": 3} for id in leased.order}}
        saved = answers.submit(store, who, leased.task.id, payload, key=leased.task.id, revision=0, seconds=1.0,
                               guideline=Guideline("training", "v1"), now=datetime.now(UTC))
        print(saved.id, flush=True)
"""


def clients(url: str, names: list[str]) -> list[subprocess.Popen[str]]:
    return [subprocess.Popen([sys.executable, "-c", CLIENT, url, name], stdout=subprocess.PIPE, text=True) for name in names]


def crowd(store: Store, names: list[str], n: int, overlap: int) -> None:
    prompts = {f"q{i:03}": Prompt(f"q{i:03}", TURNS) for i in range(n)}
    responses = [Response(f"{id}-{j}", id, f"{j}", "m") for id in prompts for j in range(4)]
    store.add_labelers(Labeler(name, "person") for name in names)
    tasks.add(store, tasks.from_responses(prompts, responses, overlap=overlap))


def test_many_processes_at_once_lose_nothing_and_double_nothing(store: Store, url: str) -> None:
    names = [f"l{n}" for n in range(4)]
    crowd(store, names, n=20, overlap=3)
    said = [client.communicate(timeout=120)[0].split() for client in clients(url, names)]
    found = list(answers.every(store))
    assert sorted(id for ids in said for id in ids) == sorted(answer.id for answer in found)
    assert len({(answer.labeler, answer.task_id) for answer in found}) == len(found) == 60
    assert sum(1 for _ in store.rankings()) == 60


def test_what_was_acknowledged_outlives_the_kill_of_its_server(store: Store, url: str) -> None:
    names = ["l0", "l1"]
    crowd(store, names, n=400, overlap=2)  # each has all of them to answer, however late the other starts
    running = clients(url, names)
    said = [client.stdout.readline() for client in running for _ in range(5) if client.stdout]
    for client in running:
        client.send_signal(signal.SIGKILL)
    said += [line for client in running for line in client.communicate()[0].splitlines()]
    found = {answer.id for answer in answers.every(store)}
    assert {line.strip() for line in said} <= found
    assert len(found) <= len(said) + len(names), "an answer more than was being sent"
    assert sum(1 for _ in store.rankings()) == len(found), "an answer without its ranking"


def test_a_read_only_store_says_so(people: Store, url: str) -> None:
    if people.database.is_sqlite:
        lease(people)
        with Store.open(f"sqlite:///file:{people.database.place}?mode=ro&uri=true") as reader, pytest.raises(StoreError, match="readonly"):
            send(reader)
        send(people)


@pytest.mark.parametrize(
    ("without", "payload", "key"),
    [
        (("flags", "ratings"), {"ranks": {"r1-0": 1, "r1-1": 2}}, ""),
        (("ratings",), {"ranks": {"r1-0": 1, "r1-1": 2}, "prompt_flags": ["sensitive"]}, ""),
        (("ratings",), {"ranks": {"r1-0": 1, "r1-1": 2}, "ratings": {"r1-0": {"quality": 4}, "r1-1": {"quality": 4}}}, "malformed"),
        (("flags",), {"ranks": {"r1-0": 1, "r1-1": 2}, "ratings": {"r1-0": {"quality": 4}, "r1-1": {"quality": 4}}}, ""),
        (("flags",), {"ranks": {"r1-0": 1, "r1-1": 2}, "prompt_flags": ["sensitive"]}, "malformed"),
        (("flags",), {"ranks": {"r1-0": 1, "r1-1": 2}}, "rating_missing"),
        ((), {"ranks": {"r1-0": 1, "r1-1": 2}}, "rating_missing"),
    ],
)
def test_a_task_asks_for_what_it_does_not_do_without(without: tuple[str, ...], payload: dict[str, object], key: str) -> None:
    prompt = Prompt("p1", (Message("user", "Which?"),))
    responses = tuple(Response(f"r1-{n}", "p1", f"text {n}", "m") for n in range(2))
    asked = Task("t1", "rank", prompt, responses, without=without)
    if not key:
        assert payloads.clean(asked, payload)["ranks"] == payload["ranks"]
        return
    with pytest.raises(Refused) as refused:
        payloads.clean(asked, payload)
    assert refused.value.key == key
