"""Export as JSON lines: equal content gives equal bytes on either database, and rows are written as they are read.

Prompts, demonstrations, responses, rankings and thumbs name their kind in ``accord`` and contain every field including ids, so that
``accord import`` recreates exactly the same records.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy import Select, select

from accord.errors import UsageError
from accord.feedback import answers, schema
from accord.feedback.audit import entries
from accord.feedback.codec import message_value
from accord.feedback.doubts import threads
from accord.feedback.facts import checks
from accord.feedback.inserts import batches, prompts_by_id, responses_by_id
from accord.feedback.media import brought_along
from accord.feedback.questions import kept, said
from accord.feedback.queue import load_all
from accord.feedback.store import Store
from accord.feedback.transcripts import corrections, versions
from accord.feedback.word_changes import changes, word_error_rate
from accord.records import Labeler, Prompt

What = Literal[
    "prompts",
    "demonstrations",
    "responses",
    "rankings",
    "comparisons",
    "thumbs",
    "labelers",
    "tasks",
    "answers",
    "questions",
    "facts",
    "doubts",
    "audit",
    "transcripts",
]
Line = dict[str, Any]


def lines(store: Store, what: What, *, ids: Iterable[str] | None = None, folder: Path | None = None) -> Iterator[str]:
    """Yield one JSON object per line, keys sorted, with a newline, ordered by id and read on demand.

    Withdrawn records and those of excluded labelers are left out, except for ``answers``, whose rows carry this information.

    Args:
        ids: as for ``values``.
        folder: as for ``values``.

    Raises:
        UsageError: there is no such kind of record.
        StoreError: the store cannot be read.
    """
    if what not in get_args(What):
        raise UsageError(f"there is no {what!r} to export", where="--what", hint=f"one of {', '.join(get_args(What))}")
    return (
        json.dumps(line, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n"
        for line in values(store, what, ids=ids, folder=folder)
    )


def values(store: Store, what: What, *, ids: Iterable[str] | None = None, folder: Path | None = None) -> Iterable[Line]:
    """Yield the same as objects.

    Args:
        ids: of the records to yield, in order; of ``comparisons`` those of the rankings. Prompts, responses, demonstrations, rankings and
            thumbs can be named so.
        folder: where the files of pictures and recordings go; when None, they are in the lines as data URLs.

    Raises:
        UsageError: records of this kind cannot be named by ids.
    """
    if ids is None:
        return (brought_along(store, line, folder) for line in _LINES[what](store))
    if what not in _NAMED:
        raise UsageError(f"{what} cannot be exported by their ids", where="--what", hint=f"one of {', '.join(_NAMED)}")
    found = chain.from_iterable(_NAMED[what](store, batch) for batch in batches(ids))
    return (brought_along(store, line, folder) for line in found)


Ids = Sequence[str] | None


def _prompts(store: Store, ids: Ids = None) -> Iterator[Line]:
    return ({"accord": "prompt", "id": prompt.id} | _asked(prompt) for prompt in store.prompts(ids=ids))


def _demonstrations(store: Store, ids: Ids = None) -> Iterator[Line]:
    people = _people(store)
    for d in store.demonstrations(ids=ids):
        said = {"accord": "demonstration", "id": d.id, "prompt_id": d.prompt.id, "response": d.text}
        yield said | _asked(d.prompt) | _by(people[d.labeler])


def _responses(store: Store, ids: Ids = None) -> Iterator[Line]:
    for batch in batches(store.responses(ids=ids)):
        with store.read() as connection:
            asked = prompts_by_id(connection, (r.prompt_id for r in batch))
        for r in batch:
            said = {"accord": "response", "id": r.id, "prompt_id": r.prompt_id, "response": r.text, "model": r.model}
            yield said | {"tokens": r.tokens, "finished": r.finished} | _asked(asked[r.prompt_id])


def _thumbs(store: Store, ids: Ids = None) -> Iterator[Line]:
    people = _people(store)
    for thumb in store.thumbs(ids=ids):
        response = thumb.response
        said = {"accord": "thumb", "prompt_id": thumb.prompt.id, "up": thumb.up, "response": response.text, "model": response.model}
        said |= {"response_id": response.id, "tokens": response.tokens, "finished": response.finished}
        kind = people[thumb.labeler].kind if thumb.labeler in people else "person"
        yield said | _asked(thumb.prompt) | {"labeler": thumb.labeler, "group": thumb.group, "kind": kind}


def _rankings(store: Store, ids: Ids = None) -> Iterator[Line]:
    people = _people(store)
    for batch in batches(store.rankings(ids=ids)):
        with store.read() as connection:
            answers = responses_by_id(connection, chain.from_iterable(r.response_ids for r in batch))
            asked = prompts_by_id(connection, (r.prompt_id for r in batch))
        for r in batch:
            shown = [answers[id] for id in r.response_ids]
            line = {"accord": "ranking"} | _plain(r) | _asked(asked[r.prompt_id]) | _by(people[r.labeler])
            line |= {"responses": [a.text for a in shown], "models": [a.model for a in shown]}
            yield line | {"tokens": [a.tokens for a in shown], "finished": [a.finished for a in shown]}


def _comparisons(store: Store, ids: Ids = None) -> Iterator[Line]:
    """Yield every pair of every ranking: chosen and rejected, or a tie in the order of the page."""
    for r in _rankings(store, ids):
        for i in range(len(r["ranks"])):
            for j in range(i + 1, len(r["ranks"])):
                one, other = (i, j) if r["ranks"][i] <= r["ranks"][j] else (j, i)
                pair = {"chosen": r["responses"][one], "rejected": r["responses"][other], "tie": r["ranks"][i] == r["ranks"][j]}
                yield pair | {"ranking": r["id"], "messages": r["messages"], "labeler": r["labeler"], "group": r["group"]}


def _tasks(store: Store) -> Iterator[Line]:
    """Yield each task with its texts, for reading, and for marking tasks with a known answer (``accord queue --gold``)."""
    t = schema.tasks
    query: Select[Any] = select(*[t.c.id, t.c.taken, t.c.open]).order_by(t.c.id)
    for batch in batches(store.database.rows(query)):
        with store.read() as connection:
            ids = {row["id"] for row in batch}
            tasks = {task.id: task for task in load_all(connection, ids)}
        for row in batch:
            task = tasks[row["id"]]
            line = {"id": task.id, "kind": task.kind, "guideline": task.guideline, "purpose": task.purpose, **_asked(task.prompt)}
            shown = [{"id": response.id, "text": response.text, "model": response.model} for response in task.responses]
            line |= {"fact": dataclasses.asdict(task.fact)} if task.fact else {}
            yield line | {"responses": shown, "overlap": task.overlap, "taken": row["taken"], "open": row["open"]}


def _answers(store: Store) -> Iterator[Line]:
    return map(_plain, answers.every(store, purposes=("work", "gold", "qualification", "repeat"), withdrawn=True))


def _questions(store: Store) -> Iterator[Line]:
    """Yield each answer to a question with the wording that was answered and the texts that it is about."""
    wordings = {key: dataclasses.asdict(question) for key, question in kept(store).items()}
    for batch in batches(said(store)):
        with store.read() as connection:
            asked = prompts_by_id(connection, (each.prompt_id for each in batch))
            answers = responses_by_id(connection, (each.target for each in batch))
        for each in batch:
            wording = wordings.get((each.question, each.version), {})
            line = _plain(each) | {"wording": {key: wording[key] for key in ("kind", "about", "text", "definition") if key in wording}}
            response = answers.get(each.target)
            yield line | _asked(asked[each.prompt_id]) | ({"response": response.text, "model": response.model} if response else {})


def _facts(store: Store) -> Iterator[Line]:
    """Yield each fact check with the response whose claim it is about."""
    for batch in batches(checks(store)):
        with store.read() as connection:
            asked = prompts_by_id(connection, (each.prompt_id for each in batch))
            said = responses_by_id(connection, (each.response_id for each in batch))
        for each in batch:
            response = said[each.response_id]
            yield _plain(each) | _asked(asked[each.prompt_id]) | {"response": response.text, "model": response.model}


def _transcripts(store: Store) -> Iterator[Line]:
    """Yield each correction of a transcript that stands, with its recording, what it changed, and how wrong what it corrected was."""
    last = {version.recording: version.number for version in versions(store) if not version.undone}
    for each in corrections(store):
        rate = word_error_rate(each.before, each.text)
        line = {"number": each.number, "recording": each.recording, "before": each.before, "after": each.text, "labeler": each.by}
        line |= {"at": each.at, "stands": last[each.recording] == each.number, "word_error_rate": rate and round(rate, 6)}
        line |= {"changes": [dataclasses.asdict(change) for change in changes(each.before, each.text)]}
        yield line | {"media": [{"kind": "audio", "digest": each.recording}]}


_NAMED: dict[What, Callable[[Store, Ids], Iterable[Line]]] = {
    "prompts": _prompts,
    "demonstrations": _demonstrations,
    "responses": _responses,
    "rankings": _rankings,
    "comparisons": _comparisons,
    "thumbs": _thumbs,
}
"""Records that can be named by their ids."""
_LINES: dict[What, Callable[[Store], Iterable[Line]]] = {
    "prompts": _prompts,
    "demonstrations": _demonstrations,
    "responses": _responses,
    "rankings": _rankings,
    "comparisons": _comparisons,
    "thumbs": _thumbs,
    "labelers": lambda store: map(_plain, store.labelers()),
    "tasks": _tasks,
    "answers": _answers,
    "questions": _questions,
    "facts": _facts,
    "doubts": lambda store: map(_plain, threads(store)),
    "audit": lambda store: map(_plain, entries(store)),
    "transcripts": _transcripts,
}


def _plain(record: Any) -> Line:
    return dataclasses.asdict(record)


def _asked(prompt: Prompt) -> Line:
    messages = list(map(message_value, prompt.messages))
    asked = {"messages": messages, "user": prompt.user, "use_case": prompt.use_case, "split": prompt.split, "source": prompt.source}
    return asked | ({"extra": prompt.extra} if prompt.extra else {})


def _people(store: Store) -> dict[str, Labeler]:
    return {person.id: person for person in store.labelers()}


def _by(person: Labeler) -> Line:
    return {"labeler": person.id, "group": person.group, "kind": person.kind}
