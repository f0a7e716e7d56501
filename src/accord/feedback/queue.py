"""Labeling tasks, each written once. ``accord.feedback.tasks`` decides who gets which task, and when."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from typing import Any, Literal, get_args

from sqlalchemy import Connection, exists, func, select, update

from accord.errors import StoreError
from accord.feedback import rows, schema
from accord.feedback.inserts import add_responses, add_rows, batches, by_id, insert_rows, prompts_by_id
from accord.feedback.store import Store
from accord.records import GuidelineSet, Prompt, Response
from accord.settings.questions import TaskKind

Kind = TaskKind
Purpose = Literal["work", "gold", "qualification", "repeat"]
Part = Literal["flags", "ratings"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What a ranking can do without: flags of the prompt and the responses, and the rating of each response with its flags."""
KINDS: tuple[Kind, ...] = get_args(Kind)
WEIGHED: tuple[Kind, ...] = ("rank", "compare", "evaluate")
"""Kinds in which responses are weighed against each other; a correction can complete one that breaks off."""
RESPONSES: dict[Kind, tuple[int, int]] = {
    "rank": (2, 9),
    "compare": (2, 2),
    "demonstrate": (0, 0),
    "correct": (1, 1),
    "conversation": (0, 1),
    "evaluate": (2, 9),
    "prompt": (0, 0),
    "mark": (1, 1),
    "fact": (1, 1),
}
"""Least and largest number of responses that a task of each kind shows."""
DRAFTED: tuple[Kind, ...] = ("demonstrate", "correct")
"""Kinds that can begin with a model's draft: the response after those of ``RESPONSES``. Never those in which responses are weighed."""
EVERYBODY = 1_000_000_000
"""The overlap of a task meant for every labeler, such as a gold task."""


LONGEST_DOCUMENT = 20_000
"""Maximum length in characters of the document beside a claim: what a person reads for one answer."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A claim of a response, and the document that it is checked against."""

    claim: str
    start: int
    """Where the claim begins in the response's text, in characters."""
    document: str
    title: str = ""

    @property
    def key(self) -> str:
        """What tells one fact of a response from another."""
        return digest(self.claim, str(self.start), self.document, self.title)


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work for a labeler.

    rank: rate each response 1-7 with flags, then rank all with ties. compare: pick one of two. demonstrate: write a response. correct:
    edit a response. conversation: rate the assistant's turns. evaluate: rank blindly, under the evaluation guideline. prompt: write a
    prompt; the task's own one (``written.brief``) says of which kind. mark: mark passages of a response, each with a kind of error. fact:
    check a claim of a response against a document.
    """

    id: str
    kind: Kind
    prompt: Prompt
    responses: tuple[Response, ...] = ()
    guideline: GuidelineSet = "training"
    overlap: int = 1
    """Number of labelers who answer it."""
    priority: float = 0.0
    """Higher comes first; equal ones follow in order of addition."""
    purpose: Purpose = "work"
    expected: Mapping[str, Any] | None = None
    """The right answer to a gold or qualification task, as the payload of an answer."""
    reserved_for: str = ""
    """The only labeler who may get it, if any."""
    repeats: str = ""
    """The earlier task that this one shows again, to the labeler it is reserved for."""
    without: tuple[Part, ...] = ()
    """Parts that are not asked, in the order of ``PARTS``. With neither, a ranking is one page."""
    fact: Fact | None = None
    """What a fact task checks; None as well once its prompt was erased."""

    def __post_init__(self) -> None:
        least, most = RESPONSES.get(self.kind, (1, 0))
        count, drafts = len(self.responses), self.kind in DRAFTED
        takes = f"{least} to {most}{', and a draft' if drafts else ''}"
        _hold(least <= count <= most + drafts, self, f"{count} responses (a {self.kind} task takes {takes})")
        _hold(len({r.id for r in self.responses}) == len(self.responses), self, "a response stands in it twice")
        _hold(all(r.prompt_id == self.prompt.id for r in self.responses), self, "a response of another prompt")
        _hold(self.fact is None or self.kind == "fact", self, f"a {self.kind} task has no claim to check")
        _hold(self.overlap >= 1, self, f"overlap {self.overlap}, which must be 1 at least")
        _hold(not self.without or self.kind in ("rank", "evaluate"), self, f"a {self.kind} task has no parts to leave out")
        _hold(self.without == tuple(part for part in PARTS if part in self.without), self, f"without {self.without}")
        _hold(self.priority == self.priority and abs(self.priority) < 1e300, self, f"priority {self.priority}")

    @property
    def shown(self) -> tuple[Response, ...]:
        """The responses that the task is about: all but the draft."""
        return self.responses[: RESPONSES[self.kind][1]]

    @property
    def draft(self) -> Response | None:
        """What a model wrote for the labeler to begin with, if anything."""
        return next(iter(self.responses[RESPONSES[self.kind][1] :]), None)


def _hold(condition: bool, task: Task, what: str) -> None:
    if not condition:
        raise StoreError(f"task {task.id}: {what}", hint=rows.UNCHANGED)


def task_id(kind: Kind, guideline: GuidelineSet, prompt_id: str, response_ids: Iterable[str], *more: str) -> str:
    """Return an id determined by the task's content, whoever queues it and in whatever order."""
    return "t-" + digest(kind, guideline, prompt_id, *sorted(response_ids), *more)


def digest(*parts: str) -> str:
    """Return 20 hex digits of the SHA-256 of the parts, each hashed with its length."""
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:20]


def shown_order(seed: int, labeler: str, task: Task) -> tuple[str, ...]:
    """Return the ids of a task's responses in the order in which a labeler sees them.

    The shuffle follows only from the seed, the labeler, the prompt and the set of responses. The world's simulated labelers make the
    same shuffle with the world's seed, so they see the same page on the site and without it.
    """
    ids = sorted(response.id for response in task.shown)
    shown = list(ids)
    random.Random(f"{seed} {labeler} {task.prompt.id} {' '.join(ids)}").shuffle(shown)
    return tuple(shown)


def add(store: Store, tasks: Iterable[Task]) -> int:
    """Queue tasks, adding prompts and responses that are new to the store; return the number of new tasks.

    It is one transaction. Adding a task again has no effect.

    Raises:
        StoreError: the id of a task, prompt or response exists with another content; nothing was stored.
    """
    added = 0
    with store.write() as connection:
        place = (connection.scalar(select(func.max(schema.tasks.c.place))) or 0) + 1
        for batch in batches(tasks):
            added += put(connection, batch, place + added)
    return added


def unknown(store: Store, tasks: Iterable[Task]) -> int:
    """Return how many of the tasks ``add`` would add."""
    ids = {task.id for task in tasks}
    with store.read() as connection:
        return len(ids) - len(list(by_id(connection, schema.tasks, ids)))


def close(store: Store, ids: Iterable[str]) -> int:
    """Remove tasks that nobody has received from the queue; return their number."""
    t, a = schema.tasks, schema.assignments
    untouched = (t.c.open, ~exists().where(a.c.task_id == t.c.id))
    with store.write() as connection:
        return sum(connection.execute(update(t).where(t.c.id.in_(part), *untouched).values(open=False)).rowcount for part in batches(ids))


def prioritise(store: Store, priorities: Mapping[str, float]) -> int:
    """Set the priorities of queued tasks; return the number of tasks changed."""
    t, moved = schema.tasks, 0
    with store.write() as connection:
        for part in batches(sorted(priorities)):
            for id in connection.scalars(select(t.c.id).where(t.c.id.in_(part)).order_by(t.c.id)).all():
                moved += connection.execute(update(t).where(t.c.id == id).values(priority=float(priorities[id]))).rowcount
    return moved


def put(connection: Connection, tasks: Sequence[Task], place: int) -> int:
    """Add one batch of tasks inside a transaction, at positions in the queue from ``place``."""
    add_rows(connection, schema.prompts, [rows.of_prompt(task.prompt) for task in tasks])
    add_responses(connection, list(chain.from_iterable(task.responses for task in tasks)))
    ids = {task.id for task in tasks}
    there = {task.id: task for task in load_all(connection, ids)}
    new: dict[str, Task] = {}
    for task in tasks:
        known = there.get(task.id) or new.setdefault(task.id, task)
        if known != task:
            raise StoreError(f"task {task.id} is in the store with another content", hint=rows.UNCHANGED)
    insert_rows(connection, schema.tasks, [_row(task, place + n) for n, task in enumerate(new.values())])
    shown: list[dict[str, Any]] = []
    for task in new.values():
        shown += [{"task_id": task.id, "position": n, "response_id": r.id} for n, r in enumerate(task.responses)]
    insert_rows(connection, schema.task_responses, shown)
    return len(new)


def load(connection: Connection, id: str) -> Task:
    """Return the task of an existing id."""
    return next(load_all(connection, {id}))


def load_all(connection: Connection, ids: set[str]) -> Iterator[Task]:
    """Yield the existing tasks among the ids, with their prompts and responses."""
    found = list(by_id(connection, schema.tasks, ids))
    prompts = prompts_by_id(connection, (row["prompt_id"] for row in found))
    responses = _responses(connection, [row["id"] for row in found])
    return (_task(row, prompts[row["prompt_id"]], responses.get(row["id"], ())) for row in found)


def _responses(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[Response, ...]]:
    link, response = schema.task_responses, schema.responses
    found: dict[str, tuple[Response, ...]] = {}
    for part in batches(sorted(ids)):
        query = select(link.c.task_id, response).join(response, response.c.id == link.c.response_id)
        query = query.where(link.c.task_id.in_(part)).order_by(link.c.task_id, link.c.position)
        for id, group in groupby(connection.execute(query).mappings(), key=lambda row: row["task_id"]):
            found[id] = tuple(rows.response(row) for row in group)
    return found


def _row(task: Task, place: int) -> rows.TableRow:
    rows.allowed(task.id, "purpose", task.purpose, get_args(Purpose))
    rows.allowed(task.id, "guideline set", task.guideline, get_args(GuidelineSet))
    _hold(task.kind != "fact" or (task.fact is not None and bool(task.fact.claim.strip() and task.fact.document.strip())), task, "no claim")
    expected = None if task.expected is None else json.dumps(task.expected, ensure_ascii=False, sort_keys=True)
    return {
        "id": task.id,
        "kind": task.kind,
        "prompt_id": task.prompt.id,
        "guideline_set": task.guideline,
        "overlap": task.overlap,
        "priority": float(task.priority),
        "purpose": task.purpose,
        "expected": expected,
        "reserved_for": task.reserved_for,
        "repeats": task.repeats,
        "without": " ".join(task.without),
        "fact": json.dumps(asdict(task.fact), ensure_ascii=False, sort_keys=True) if task.fact else "",
        "place": place,
        "taken": 0,
        "open": True,
    }


def _task(row: Mapping[Any, Any], prompt: Prompt, responses: tuple[Response, ...]) -> Task:
    return Task(
        id=row["id"],
        kind=row["kind"],
        prompt=prompt,
        responses=responses,
        guideline=row["guideline_set"],
        overlap=row["overlap"],
        priority=row["priority"],
        purpose=row["purpose"],
        expected=None if row["expected"] is None else json.loads(row["expected"]),
        reserved_for=row["reserved_for"],
        repeats=row["repeats"],
        without=tuple(part for part in PARTS if part in row["without"].split()),
        fact=Fact(**json.loads(row["fact"])) if row["fact"] else None,
    )


def from_responses(
    prompts: Mapping[str, Prompt],
    responses: Iterable[Response],
    *,
    kind: Kind = "rank",
    k: int = 9,
    guideline: GuidelineSet = "training",
    overlap: int = 1,
    priority: float = 0.0,
    without: tuple[Part, ...] = (),
) -> Iterator[Task]:
    """Yield tasks made of responses, grouped by prompt, at most k per task; a remainder too small for a task is left out.

    Args:
        prompts: by id; responses to other prompts are skipped.
        responses: in any order.
        kind: rank, compare, correct, evaluate or mark.
        k: largest number of responses per task; the kind's minimum takes precedence.
        without: parts that are not asked; the same responses can be queued with them and without.
    """
    least, most = RESPONSES[kind]
    ordered = sorted((r for r in responses if r.prompt_id in prompts), key=lambda r: (r.prompt_id, r.id))
    for prompt_id, group in groupby(ordered, key=lambda r: r.prompt_id):
        for part in batches(group, max(least, min(k, most))):
            if len(part) >= least:
                id = task_id(kind, guideline, prompt_id, (r.id for r in part), *(f"without {each}" for each in without))
                yield Task(id, kind, prompts[prompt_id], tuple(part), guideline, overlap, priority, without=without)
