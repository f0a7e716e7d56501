"""`accord redact PROJECT`: personal data in everything that the database holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select

from accord.commands.data.redact_findings import Found, counts, write_findings
from accord.data.patterns import Kind
from accord.data.personal import Mode, More, find, redact
from accord.data.pipeline import strings
from accord.feedback import erasure, schema, withdrawals
from accord.feedback.audit import OPERATOR
from accord.feedback.inserts import batches
from accord.feedback.store import Store
from accord.runtime.project import Project


def redact_project(
    project: Project, mode: Mode, kinds: Collection[Kind], *, out: Path | None, why: str, more: More | None = None
) -> dict[str, Any]:
    """Find personal data in the database, and replace it, or withdraw the records that hold it.

    Args:
        mode: ``review`` changes nothing.
        out: where each finding is written as a JSON line, with the datum itself.
        more: finds more, beside the rules.
    """
    with Store.open(project.store_url) as store:
        found = list(_found(store, kinds, more))
        metrics = counts(found)
        write_findings(out, found)
        now = datetime.now(UTC)
        if mode == "replace":
            clean = partial(redact, mode="replace", kinds=kinds, more=more)
            metrics["changed"] = erasure.rewrite(store, lambda text: clean(text).text, by=OPERATOR, why=why, now=now)
        elif mode == "drop":
            metrics["withdrawn"] = _withdraw(store, found, now)
    runs = {path.parent.name for path in (project.path / "runs").glob("*/*.jsonl") if path.name != "metrics.jsonl"}
    return metrics | {"runs_with_copies": sorted(runs)}


def _found(store: Store, kinds: Collection[Kind], more: More | None) -> Iterator[Found]:
    for where, id, text in _texts(store):
        for finding in find(text, kinds, more):
            yield Found(where, id, finding)


def _texts(store: Store) -> Iterator[tuple[str, str, str]]:
    """Every text that a person or a model wrote, with its kind and its record's id."""
    for prompt in store.prompts():
        for message in prompt.messages:
            yield "prompt", prompt.id, message.content
        for text in strings(prompt.extra):
            yield "prompt", prompt.id, text
    for response in store.responses():
        yield "response", response.id, response.text
    for demonstration in store.demonstrations():
        yield "demonstration", demonstration.id, demonstration.text
    for turn in store.database.rows(select(schema.turns).order_by(schema.turns.c.id)):
        yield "chat", turn["id"], turn["text"]
    for document in store.database.rows(select(schema.documents).order_by(schema.documents.c.id)):
        yield "document", document["id"], document["name"]
        yield "document", document["id"], document["text"]


def _withdraw(store: Store, found: Sequence[Found], now: datetime) -> dict[str, int]:
    """Withdraw prompts and demonstrations with personal data, and rankings of responses with some."""
    ids: dict[str, list[str]] = {}
    for kind in ("prompt", "demonstration", "response"):
        ids[kind] = sorted({each.id for each in found if each.where == kind})
    item = schema.ranking_items
    withdrawn: dict[str, int] = {}
    with store.write() as connection:
        rankings: set[str] = set()
        for part in batches(ids.pop("response")):
            rankings.update(connection.scalars(select(item.c.ranking_id).where(item.c.response_id.in_(part))))
        for kind, records in {**ids, "ranking": sorted(rankings)}.items():
            reasons = ((id, "personal data") for id in records)
            withdrawn[kind] = withdrawals.withdraw(connection, kind, reasons, by=OPERATOR, now=now)
    return withdrawn
