"""Answers: stored once, corrected by a new revision, retracted with a reason. No acknowledged answer is ever lost or changed.

``submit`` is one transaction: it stores the answer, its training records, the withdrawal of an earlier revision, the lease and the
task's count together or not at all. Only answers to ``work`` tasks become records; gold, qualification and repeated tasks measure the
labeler.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select

from accord.feedback import outbox, payloads, schema, written
from accord.feedback.audit import note
from accord.feedback.inserts import add_demonstrations, add_rankings, add_responses
from accord.feedback.queue import Kind, Purpose, Task, digest, load
from accord.feedback.refusals import Conflict, Refused
from accord.feedback.store import Store
from accord.feedback.tasks import last_revision, lock_labeler, lock_task, set_state
from accord.feedback.withdrawals import is_withdrawn, withdraw
from accord.records import Demonstration, Guideline, Ranking, Rating, Response
from accord.settings.questions import Questions, usual

__all__ = ["Answer", "Conflict", "Pace", "Refused", "Saved", "draft", "every", "kinds", "own", "pace", "read_draft", "retract", "submit"]

CORRECTION = "correction"
"""The model name of a response that a labeler wrote by correcting another."""
LONGEST_DRAFT = 400_000
"""Maximum length of a draft as JSON, in characters."""
LAST = 50
"""Number of recent answers whose median time is a labeler's pace."""


@dataclass(frozen=True, slots=True)
class Saved:
    """An answer that is on disk."""

    id: str
    revision: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A labeler's answer, as it was given."""

    id: str
    task_id: str
    kind: Kind
    purpose: Purpose
    prompt_id: str
    labeler: str
    revision: int
    payload: Mapping[str, Any]
    shown: tuple[str, ...]
    """Response ids in the order of the page."""
    seconds: float
    guideline: Guideline
    at: str
    """ISO 8601 in UTC."""
    withdrawn: bool
    """Whether it was corrected by a later revision, or retracted."""
    repeats: str
    """For an answer to a repeated task, the task that was repeated."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A labeler's amount of work. Skipped tasks do not count."""

    total: int
    today: int
    last_hour: int
    median_seconds: float
    """Median of the last ``LAST`` answers; 0 when there are none."""


def submit(
    store: Store,
    labeler: str,
    task_id: str,
    payload: Mapping[str, Any],
    *,
    key: str,
    revision: int,
    seconds: float,
    guideline: Guideline,
    now: datetime,
    questions: Questions | None = None,
    asked: str = "",
) -> Saved:
    """Store an answer; it is on disk when this returns.

    Args:
        payload: its form depends on the task's kind, see ``payloads.clean``; ``{"skip": reason}`` fits any kind.
        key: the submission's own key; the same key with the same content is the same answer, however often it arrives.
        revision: of the answer that the page showed, 0 for none.
        seconds: time spent on it.
        guideline: the version that the labeler read.
        now: UTC.
        questions: in force in the project; None means those of a project that has none of its own.
        asked: the version of the questions on the page (``Questions.version``); empty is not checked.

    Raises:
        Conflict: the answer has another revision by now, the key was used for another content, or the questions have changed since the
            page was made (409).
        Refused: the task was not given to this labeler (403), others filled it after the lease expired (410), it was retracted (410), or
            the payload does not fit (422).
        StoreError: the store cannot be written.
    """
    with store.write() as connection:
        lock_labeler(connection, labeler)
        row, given = lock_task(connection, task_id), _given(connection, task_id, labeler)
        if row is None or given is None:
            raise Refused("not_yours", 403, task_id)
        task = load(connection, task_id)
        known = questions or usual()
        if asked and asked != known.version(task.kind) and "skip" not in payload:
            if saved := _known_key(connection, labeler, task_id, key):
                return saved
            raise Conflict("questions_changed", f"the page had {asked}")
        cleaned = payloads.clean(task, payload, known)
        if saved := _sent_before(connection, labeler, task_id, key, cleaned):
            return saved
        last = last_revision(connection, task_id, labeler)
        _check(task, given["state"], last, revision, row["open"] or "skip" in cleaned, guideline)
        saved = Saved(_id(task_id, labeler, last + 1), last + 1)
        spent = min(max(seconds, 0.0), 86_400.0) if math.isfinite(seconds) else 0.0
        values = {"payload": _json(cleaned), "shown": given["shown"], "seconds": spent, "at": now.isoformat(), "key": key}
        values |= {"guideline_set": guideline.set, "guideline_version": guideline.version}
        where = {"id": saved.id, "task_id": task_id, "labeler": labeler, "revision": saved.revision}
        connection.execute(insert(schema.answers).values(**where, **values))
        if last:
            _withdraw(connection, _id(task_id, labeler, last), saved.id, labeler, "corrected", now)
        if task.purpose == "work" and "skip" not in cleaned:
            shown: list[str] = json.loads(given["shown"])
            _record(connection, task, saved.id, labeler, cleaned, shown, guideline, now)
        set_state(connection, task_id, labeler, "skipped" if "skip" in cleaned else "answered")
        _drop_draft(connection, task_id, labeler)
        told = {"answer": saved.id, "task": task_id, "kind": task.kind, "revision": saved.revision}
        outbox.emit(connection, "answer.stored", told, now=now)
        return saved


def retract(store: Store, answer_id: str, *, by: str, why: str, now: datetime) -> None:
    """Hide an answer and its records from every reader, with an audit row; the task returns to the queue.

    Raises:
        Refused: there is no such answer (403), or it was corrected or retracted already (410).
    """
    with store.write() as connection:
        a = schema.answers
        row = connection.execute(select(a).where(a.c.id == answer_id)).mappings().first()
        if row is None:
            raise Refused("not_yours", 403, answer_id)
        lock_labeler(connection, row["labeler"])
        lock_task(connection, row["task_id"])
        if connection.scalar(select(is_withdrawn("answer", answer_id))):
            raise Refused("retracted", 410, answer_id)
        _withdraw(connection, answer_id, "", by, why, now)
        set_state(connection, row["task_id"], row["labeler"], "retracted")
        note(connection, who=by, what="retract", on=answer_id, why=why, at=now)


def draft(store: Store, labeler: str, task_id: str, payload: Mapping[str, Any], *, now: datetime) -> None:
    """Store a labeler's unfinished answer. Only its size is checked, and nothing learns from it.

    Raises:
        Refused: the task was not given to this labeler (403), or the draft is too long (422).
    """
    text, d = _json(payload), schema.drafts
    if len(text) > LONGEST_DRAFT:
        raise Refused("too_long")
    with store.write() as connection:
        lock_labeler(connection, labeler)
        if _given(connection, task_id, labeler) is None:
            raise Refused("not_yours", 403, task_id)
        _drop_draft(connection, task_id, labeler)
        connection.execute(insert(d).values(task_id=task_id, labeler=labeler, payload=text, at=now.isoformat()))


def read_draft(store: Store, labeler: str, task_id: str) -> dict[str, Any] | None:
    """Return the labeler's draft of a task."""
    d = schema.drafts
    with store.read() as connection:
        text = connection.scalar(select(d.c.payload).where(d.c.task_id == task_id, d.c.labeler == labeler))
    return None if text is None else json.loads(text)


def own(store: Store, labeler: str, *, limit: int = 20, before: str = "") -> list[Answer]:
    """Return a labeler's last valid answers, newest first.

    Args:
        before: ``at`` of the last answer already seen; older ones follow.
    """
    a = schema.answers
    query = _query().where(a.c.labeler == labeler, ~is_withdrawn("answer", a.c.id)).order_by(a.c.at.desc(), a.c.id.desc()).limit(limit)
    if before:
        query = query.where(a.c.at < before)
    with store.read() as connection:
        return [_answer(row) for row in connection.execute(query).mappings()]


def every(store: Store, *, purposes: Sequence[Purpose] = ("work",), labeler: str = "", withdrawn: bool = False) -> Iterator[Answer]:
    """Yield answers in order of time, including those of excluded labelers; rows are fetched on demand.

    Args:
        purposes: only tasks with these purposes.
        labeler: only this labeler's.
        withdrawn: include corrected and retracted answers.
    """
    a, t = schema.answers, schema.tasks
    query = _query().where(t.c.purpose.in_(purposes)).order_by(a.c.at, a.c.id)
    if labeler:
        query = query.where(a.c.labeler == labeler)
    if not withdrawn:
        query = query.where(~is_withdrawn("answer", a.c.id))
    return (_answer(row) for row in store.database.rows(query))


def pace(store: Store, labeler: str, *, now: datetime) -> Pace:
    """Return a labeler's amount of work; days begin at midnight UTC.

    Reads today's answers and the last few; the total is counted in an index, without reading the answers.
    """
    a, given = schema.answers, schema.assignments
    mine = (a.c.labeler == labeler, a.c.revision == 1, a.c.payload.not_like('{"skip"%'))
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    counts = [
        select(func.count()).where(given.c.labeler == labeler, given.c.state == "answered"),
        *(select(func.count()).where(*mine, a.c.at >= since.isoformat()) for since in (midnight, now - timedelta(hours=1))),
    ]
    with store.read() as connection:
        total, today, last_hour = (connection.scalar(query) or 0 for query in counts)
        spent = sorted(connection.scalars(select(a.c.seconds).where(*mine).order_by(a.c.at.desc()).limit(LAST)))
    return Pace(total, today, last_hour, spent[len(spent) // 2] if spent else 0.0)


def kinds(store: Store) -> dict[str, Kind]:
    """Return the kind of task that each ranking given on the site answered, by ranking id. Other rankings are missing."""
    a, t = schema.answers, schema.tasks
    query: Select[Any] = select(*[a.c.id, t.c.kind]).join(t, t.c.id == a.c.task_id)
    return {f"k-{row['id']}": row["kind"] for row in store.database.rows(query)}


def _check(task: Task, state: str, last: int, revision: int, room: bool, guideline: Guideline) -> None:
    if state == "retracted":
        raise Refused("retracted", 410, task.id)
    if revision != last:
        raise Conflict("stale", f"it has revision {last}, the page had {revision}")
    if guideline.set != task.guideline:
        raise Refused("other_guideline", detail=f"{guideline.set}, not {task.guideline}")
    if state not in ("leased", "answered") and not room:
        raise Refused("late", 410, task.id)


def _given(connection: Connection, task_id: str, labeler: str) -> Mapping[Any, Any] | None:
    a = schema.assignments
    return connection.execute(select(a).where(a.c.task_id == task_id, a.c.labeler == labeler)).mappings().first()


def _sent_before(connection: Connection, labeler: str, task_id: str, key: str, cleaned: payloads.Payload) -> Saved | None:
    """Return the answer stored under the key. Raises Refused for an invalid key, Conflict for another content."""
    if not 1 <= len(key) <= 80 or not key.isprintable():
        raise Refused("malformed", detail="key")
    a = schema.answers
    row = connection.execute(select(a).where(a.c.labeler == labeler, a.c.key == key)).mappings().first()
    if row is None:
        return None
    if row["task_id"] != task_id or row["payload"] != _json(cleaned):
        raise Conflict("key_reused", key)
    return Saved(row["id"], row["revision"])


def _known_key(connection: Connection, labeler: str, task_id: str, key: str) -> Saved | None:
    """Return the answer to a task that is stored under a key, whatever it says."""
    a = schema.answers
    row = connection.execute(select(a).where(a.c.labeler == labeler, a.c.key == key, a.c.task_id == task_id)).mappings().first()
    return Saved(row["id"], row["revision"]) if row else None


def _record(
    connection: Connection,
    task: Task,
    id: str,
    labeler: str,
    payload: payloads.Payload,
    shown: list[str],
    guideline: Guideline,
    now: datetime,
) -> None:
    """Write the records for training and evaluation, under ids that follow from the answer's."""
    at = now.isoformat()

    def ranking(ranks: Mapping[str, int], ratings: tuple[Rating, ...] = ()) -> None:
        order = tuple(ranks)
        record = Ranking(f"k-{id}", task.prompt.id, labeler, order, tuple(ranks[id] for id in order), guideline, at, ratings)
        add_rankings(connection, [record])

    match task.kind:
        case "rank" | "evaluate":
            ratings = payload["ratings"]
            ranking(
                {id: payload["ranks"][id] for id in shown},
                tuple(Rating(id, ratings[id]["quality"], tuple(ratings[id].get("flags", ()))) for id in shown if id in ratings),
            )
        case "compare":
            ranks = {"first": (1, 2), "second": (2, 1)}.get(payload["choice"], (1, 1))
            ranking(dict(zip(shown, ranks, strict=True)))
        case "demonstrate":
            add_demonstrations(connection, [Demonstration(f"d-{id}", task.prompt, payload["text"], labeler)])
        case "correct":
            corrected = Response(f"r-{id}", task.prompt.id, payload["text"], CORRECTION)
            add_responses(connection, [corrected])
            add_demonstrations(connection, [Demonstration(f"d-{id}", task.prompt, payload["text"], labeler)])
            ranking({shown[0]: 2, corrected.id: 1})
        case "prompt":
            written.keep(connection, task, id, payload["text"], labeler, now)
        case "conversation" | "mark" | "fact":  # the answer is the record
            pass


def _withdraw(connection: Connection, answer_id: str, replaced_by: str, by: str, why: str, now: datetime) -> None:
    """Withdraw an answer and its records."""
    r, d, p = schema.rankings, schema.demonstrations, schema.prompts
    made = {
        "answer": [answer_id],
        "ranking": connection.scalars(select(r.c.id).where(r.c.id == f"k-{answer_id}")).all(),
        "demonstration": connection.scalars(select(d.c.id).where(d.c.id == f"d-{answer_id}")).all(),
        "prompt": connection.scalars(select(p.c.id).where(p.c.id == f"p-{answer_id}")).all(),
    }
    for kind, ids in made.items():
        withdraw(connection, kind, [(id, why) for id in ids], by=by, now=now, replaced_by=replaced_by)


def _drop_draft(connection: Connection, task_id: str, labeler: str) -> None:
    d = schema.drafts
    connection.execute(delete(d).where(d.c.task_id == task_id, d.c.labeler == labeler))


def _query() -> Select[Any]:
    a, t = schema.answers, schema.tasks
    gone = is_withdrawn("answer", a.c.id).label("withdrawn")
    return select(a, t.c.kind, t.c.purpose, t.c.prompt_id, t.c.repeats, gone).join(t, t.c.id == a.c.task_id)


def _answer(row: Mapping[Any, Any]) -> Answer:
    return Answer(
        id=row["id"],
        task_id=row["task_id"],
        kind=row["kind"],
        purpose=row["purpose"],
        prompt_id=row["prompt_id"],
        labeler=row["labeler"],
        revision=row["revision"],
        payload=json.loads(row["payload"]),
        shown=tuple(json.loads(row["shown"])),
        seconds=row["seconds"],
        guideline=Guideline(row["guideline_set"], row["guideline_version"]),
        at=row["at"],
        withdrawn=bool(row["withdrawn"]),
        repeats=row["repeats"],
    )


def _id(task_id: str, labeler: str, revision: int) -> str:
    return "a-" + digest(task_id, labeler, str(revision))


def _json(payload: Mapping[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
