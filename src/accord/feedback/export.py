"""The store as JSON lines: the same content gives the same bytes, on either database, and a row is written as it is read.

Prompts, demonstrations and rankings are written in the forms that ``accord import`` reads.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, get_args

from accord.errors import UsageError
from accord.feedback import answers, rows, schema
from accord.feedback.adding import batches, by_id
from accord.feedback.auditing import entries
from accord.feedback.store import Store
from accord.records import Prompt

What = Literal["prompts", "demonstrations", "responses", "rankings", "comparisons", "labelers", "answers", "audit"]
Line = dict[str, Any]


def lines(store: Store, what: What) -> Iterator[str]:
    """One JSON object a line, keys sorted, ended by a newline, in the order of the ids; read from the store as they are taken.

    What was withdrawn and what excluded labelers said is left out, except of ``answers``, whose rows say so themselves.

    Raises:
        UsageError: there is nothing of that name.
        StoreError: the store cannot be read.
    """
    if what not in get_args(What):
        raise UsageError(f"there is no {what!r} to export", where="--what", hint=f"one of {', '.join(get_args(What))}")
    return (json.dumps(line, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n" for line in _LINES[what](store))


def _prompts(store: Store) -> Iterator[Line]:
    return ({"id": prompt.id, "split": prompt.split} | _asked(prompt) for prompt in store.prompts())


def _demonstrations(store: Store) -> Iterator[Line]:
    groups = _groups(store)
    for d in store.demonstrations():
        yield {"id": d.id, **_asked(d.prompt), "response": d.text, "labeler": d.labeler, "group": groups[d.labeler]}


def _responses(store: Store) -> Iterator[Line]:
    return map(_plain, store.responses())


def _rankings(store: Store) -> Iterator[Line]:
    groups = _groups(store)
    for batch in batches(store.rankings()):
        with store.read() as connection:
            wanted = {id for ranking in batch for id in ranking.response_ids}
            texts = {row["id"]: (row["text"], row["model"]) for row in by_id(connection, schema.responses, wanted)}
            asked = {row["id"]: rows.prompt(row) for row in by_id(connection, schema.prompts, {r.prompt_id for r in batch})}
        for r in batch:
            shown = [texts[id] for id in r.response_ids]
            line = _plain(r) | _asked(asked[r.prompt_id]) | {"group": groups[r.labeler]}
            yield line | {"responses": [text for text, _ in shown], "models": [model for _, model in shown]}


def _comparisons(store: Store) -> Iterator[Line]:
    """Every pair of every ranking: chosen and rejected, or a tie in the order of the page."""
    for r in _rankings(store):
        for i in range(len(r["ranks"])):
            for j in range(i + 1, len(r["ranks"])):
                one, other = (i, j) if r["ranks"][i] <= r["ranks"][j] else (j, i)
                pair = {"chosen": r["responses"][one], "rejected": r["responses"][other], "tie": r["ranks"][i] == r["ranks"][j]}
                yield pair | {"ranking": r["id"], "messages": r["messages"], "labeler": r["labeler"], "group": r["group"]}


def _answers(store: Store) -> Iterator[Line]:
    return map(_plain, answers.every(store, purposes=("work", "gold", "qualification", "repeat"), withdrawn=True))


_LINES: dict[What, Callable[[Store], Iterable[Line]]] = {
    "prompts": _prompts,
    "demonstrations": _demonstrations,
    "responses": _responses,
    "rankings": _rankings,
    "comparisons": _comparisons,
    "labelers": lambda store: map(_plain, store.labelers()),
    "answers": _answers,
    "audit": lambda store: map(_plain, entries(store)),
}


def _plain(record: Any) -> Line:
    return dataclasses.asdict(record)


def _asked(prompt: Prompt) -> Line:
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return {"messages": messages, "user": prompt.user, "use_case": prompt.use_case}


def _groups(store: Store) -> dict[str, str]:
    return {person.id: person.group for person in store.labelers()}
