"""Tasks that programs create and answer: the labeling site's queue, leases and checks, for labelers of an app's own.

An answer goes through ``answers.submit``, as one from the site's form does: the same checks, revisions and records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, func, or_, select, update

from accord.errors import StoreError
from accord.feedback import schema, written
from accord.feedback.apps import App, NotTaken, pseudonym
from accord.feedback.identity import known_prompts
from accord.feedback.inserts import insert_new, prompts_by_id, responses_by_id
from accord.feedback.privacy import ERASED
from accord.feedback.queue import Fact, Kind, Task, digest, load_all, put, task_id
from accord.feedback.withdrawals import is_withdrawn, withdraw
from accord.records import GuidelineSet, Message, Prompt, Response, conversation_key

MOST = 200
"""Tasks or answers on a page."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A task to create."""

    kind: Kind
    prompt: str = ""
    """The id of a stored prompt; or a conversation:"""
    messages: Sequence[Message] = ()
    responses: Sequence[str] = ()
    """Ids of stored responses to the prompt; or texts:"""
    texts: Sequence[tuple[str, str]] = ()
    """Each response's text and model."""
    guideline: GuidelineSet = "training"
    overlap: int = 1
    priority: float = 0.0
    fact: tuple[str, str, str] | None = None
    """Claim, document and its title, for a task of the kind fact."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A task with its place in the queue."""

    task: Task
    taken: int
    """Labelers who have it or answered it."""
    open: bool


def create(connection: Connection, app: App, wanted: Wanted, *, now: datetime) -> Queued:
    """Queue a task inside a transaction; the same one again is the one that is there.

    The conversation of a task that asks for a prompt is its brief: one message of the user, who wants to use the assistant for something.

    Raises:
        NotTaken: a prompt or a response is not there (404), or the task's kind takes other responses or another prompt (400).
    """
    prompt = _prompt(connection, app, wanted)
    responses = [*_known(connection, prompt, wanted.responses), *(_sent(prompt, text, model) for text, model in wanted.texts)]
    if wanted.kind == "prompt":
        # Before it is stored: nobody reads a brief as a prompt to learn from.
        withdraw(connection, "prompt", [(prompt.id, written.WHY)], by=written.BY, now=now)
    fact = _fact(wanted, responses)
    id = task_id(wanted.kind, wanted.guideline, prompt.id, (response.id for response in responses), *([fact.key] if fact else []))
    t = schema.tasks
    if connection.scalar(select(t.c.id).where(t.c.id == id)) is None:
        try:
            task = Task(id, wanted.kind, prompt, tuple(responses), wanted.guideline, wanted.overlap, wanted.priority, fact=fact)
        except StoreError as error:  # the number of responses does not fit the kind
            raise NotTaken(error.what.partition(": ")[2], code="invalid_value", status=400, param="responses") from error
        put(connection, [task], (connection.scalar(select(func.max(t.c.place))) or 0) + 1)
    return one(connection, id)


def one(connection: Connection, id: str) -> Queued:
    """Return a task of work. Raises NotTaken (404) when there is none."""
    found = _queued(connection, [id]) if id.isprintable() else []
    if not found or found[0].task.purpose != "work":
        raise NotTaken("there is no such task", code="no_such_task", status=404)
    return found[0]


def any_purpose(connection: Connection, id: str) -> Task:
    """Return a task that may have been leased, whatever it is for. Raises NotTaken (404) when there is none."""
    found = list(load_all(connection, {id})) if id.isprintable() else []
    if not found:
        raise NotTaken("there is no such task", code="no_such_task", status=404)
    return found[0]


def page(connection: Connection, *, after: str, limit: int, open: bool | None) -> list[Queued]:
    """Return tasks of work in the order of their ids, from the one after ``after`` on."""
    t = schema.tasks
    query = select(t.c.id).where(t.c.purpose == "work", t.c.id > after, t.c.reserved_for != ERASED)
    query = query.where(or_(t.c.kind == "prompt", ~is_withdrawn("prompt", t.c.prompt_id)))  # briefs are withdrawn from the start
    if open is not None:
        query = query.where(t.c.open == open)
    return _queued(connection, list(connection.scalars(query.order_by(t.c.id).limit(min(limit, MOST)))))


def close(connection: Connection, id: str) -> Queued:
    """Take a task that nobody has received from the queue, inside a transaction.

    Raises:
        NotTaken: there is no such task (404), or somebody has it or has answered it (409).
    """
    one(connection, id)
    t, a = schema.tasks, schema.assignments
    free = ~exists().where(a.c.task_id == t.c.id)
    if connection.execute(update(t).where(t.c.id == id, free).values(open=False)).rowcount == 0:
        raise NotTaken("somebody has this task or has answered it", code="task_taken", status=409)
    return one(connection, id)


def labeler_of(connection: Connection, app: App, name: str) -> str:
    """Return the labeler id of a labeler of the app's, who is added at the first visit."""
    id = "l-" + pseudonym(connection, app.name, f"labeler {name}").removeprefix("u-")
    people = schema.labelers
    if connection.scalar(select(people.c.id).where(people.c.id == id)) is None:
        insert_new(connection, people, {"id": id, "kind": "person", "group": app.name})
    return id


def _queued(connection: Connection, ids: Sequence[str]) -> list[Queued]:
    t = schema.tasks
    tasks = {task.id: task for task in load_all(connection, set(ids))}
    rows = connection.execute(select(t.c.id, t.c.taken, t.c.open).where(t.c.id.in_(ids)).order_by(t.c.id))
    return [Queued(tasks[row.id], row.taken, row.open) for row in rows]


def _prompt(connection: Connection, app: App, wanted: Wanted) -> Prompt:
    """Return the stored prompt, found by its id or by its conversation; a new one names the app as its source."""
    id, messages = wanted.prompt, tuple(wanted.messages)
    if wanted.kind == "prompt":
        if len(messages) != 1 or messages[0].role != "user":
            what = "a task that asks for a prompt takes one user's message: what the prompt is to be about"
            raise NotTaken(what, code="invalid_value", status=400, param="messages")
        return written.brief("user-based", messages[0].content)
    if not id:
        if not messages or messages[-1].role != "user":
            raise NotTaken("the conversation must end with a user's message", code="invalid_value", status=400, param="messages")
        key = conversation_key(messages)
        used = [prompt.id for prompt in known_prompts(connection, [key]).get(key, ()) if prompt.in_use and not prompt.user]
        if not used:
            any_before = len(known_prompts(connection, [key]).get(key, ()))
            return Prompt(f"q-{digest('task', key, str(any_before))}", messages, source=f"tasks {app.name}")
        id = used[0]
    p = schema.prompts
    there = connection.scalar(select(p.c.id).where(p.c.id == id, ~is_withdrawn("prompt", p.c.id))) if id.isprintable() else None
    if there is None:
        raise NotTaken("there is no such prompt", code="no_such_prompt", status=404, param="prompt_id")
    return prompts_by_id(connection, [id])[id]


def _fact(wanted: Wanted, responses: Sequence[Response]) -> Fact | None:
    """Return the claim with its place in the response. Raises NotTaken (400) when the response does not make it."""
    if wanted.fact is None:
        return None
    claim, document, title = wanted.fact
    start = responses[0].text.find(claim) if responses and claim.strip() and document.strip() else -1
    if start < 0:
        raise NotTaken("the response does not say this in these words", code="invalid_value", status=400, param="fact")
    return Fact(claim, start, document, title)


def _known(connection: Connection, prompt: Prompt, ids: Sequence[str]) -> list[Response]:
    r = schema.responses
    asked = [id for id in ids if id.isprintable()]
    there = set(connection.scalars(select(r.c.id).where(r.c.id.in_(asked), r.c.prompt_id == prompt.id)))
    if there != set(ids):
        what = "a response is not there, or answers another prompt"
        raise NotTaken(what, code="no_such_response", status=404, param="responses")
    known = responses_by_id(connection, ids)
    return [known[id] for id in ids]


def _sent(prompt: Prompt, text: str, model: str) -> Response:
    return Response(f"q-{digest('response', prompt.id, model, text)}", prompt.id, text, model)
