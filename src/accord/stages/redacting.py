"""Taking what is personal out of a project or a file, and forgetting somebody: store, copies in runs, and the models that learned."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from accord.data.archives import kind_of, text_lines
from accord.data.patterns import KINDS, Kind
from accord.data.personal import Finding, Mode, find, redact_all
from accord.data.pipeline import strings
from accord.data.row_reader import read_rows
from accord.errors import UsageError
from accord.feedback import erasure, schema, withdrawals
from accord.feedback.inserts import batches
from accord.feedback.store import Store
from accord.runtime import lineage
from accord.runtime.files import disk_errors, replacing, sync
from accord.runtime.project import Project

OPERATOR = "operator"
Found = tuple[str, str, Finding]
"""Where, in which record or line, what."""


def redact_project(project: Project, mode: Mode, kinds: Collection[Kind], *, out: Path | None, why: str = "") -> dict[str, Any]:
    """Finds personal data in everything that the store holds, and replaces it, or withdraws what holds it.

    Args:
        mode: ``review`` changes nothing.
        out: where each finding is written as a JSON line, with the datum itself.

    Returns:
        Findings by place and by kind, how many rows changed or were withdrawn, and the runs that hold copies of the prompts.
    """
    with Store.open(project.store_url) as store:
        found = list(_found(store, kinds))
        figures: dict[str, Any] = _counts(found)
        _report(out, found)
        now = datetime.now(UTC)
        if mode == "replace":
            tags = _Tags(kinds)
            figures["changed"] = erasure.rewrite(store, tags.text, by=OPERATOR, why=why, now=now)
        elif mode == "drop":
            figures["withdrawn"] = _withdraw(store, found, now)
    runs = {path.parent.name for path in (project.path / "runs").glob("*/*.jsonl") if path.name != "metrics.jsonl"}
    return figures | {"runs_with_copies": sorted(runs)}


def _withdraw(store: Store, found: Sequence[Found], now: datetime) -> dict[str, int]:
    """Leaves out prompts and demonstrations with personal data, and rankings of responses with some."""
    ids = {kind: sorted({id for where, id, _ in found if where == kind}) for kind in ("prompt", "demonstration", "response")}
    item = schema.ranking_items
    with store.write() as connection:
        parts = [item.c.response_id.in_(part) for part in batches(ids.pop("response"))]
        ids["ranking"] = sorted({id for part in parts for id in connection.scalars(select(item.c.ranking_id).where(part))})
        return {
            kind: withdrawals.withdraw(connection, kind, ((id, "personal data") for id in those), by=OPERATOR, now=now)
            for kind, those in ids.items()
        }


class _Tags:
    """Replaces personal data text by text, each text with tags of its own."""

    def __init__(self, kinds: Collection[Kind]) -> None:
        self.kinds = kinds

    def text(self, text: str) -> str:
        return redact_all([text], "replace", self.kinds)[0].text


def _found(store: Store, kinds: Collection[Kind]) -> Iterator[Found]:
    """Where, in which record, what."""
    for prompt in store.prompts():
        yield from (("prompt", prompt.id, finding) for message in prompt.messages for finding in find(message.content, kinds))
    for response in store.responses():
        yield from (("response", response.id, finding) for finding in find(response.text, kinds))
    for demonstration in store.demonstrations():
        yield from (("demonstration", demonstration.id, finding) for finding in find(demonstration.text, kinds))
    for row in store.database.rows(select(schema.turns).order_by(schema.turns.c.id)):
        yield from (("chat", row["id"], finding) for finding in find(row["text"], kinds))


def redact_file(path: Path, mode: Mode, kinds: Collection[Kind], *, out: Path | None) -> dict[str, Any]:
    """Finds personal data in a text or rows file. With ``replace`` and ``drop`` writes ``out`` without it, whole or not at all, rows
    as JSON lines, text as it came; with ``review`` writes the findings there.

    Raises:
        UsageError: there is no ``out`` to write to.
        InputError: the file cannot be read; names the line.
    """
    if mode != "review" and out is None:
        raise UsageError(f"mode {mode} needs a file to write", where="--out", hint="--out clean.jsonl")
    found, dropped, read = list[Found](), 0, 0
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as written:
        for number, line, texts, put in _lines(path):
            done = redact_all(texts, mode, kinds)
            read += 1
            found += [(path.name, str(number), finding) for each in done for finding in each.findings]
            if mode == "replace":
                line = put([each.text for each in done])
            dropped += not done[0].kept if done else 0
            if mode != "review" and (not done or done[0].kept):
                written.write(line + "\n")
        written.seek(0)
        if mode == "review":
            _report(out, found)
        elif out is not None:
            _save(out, written)
    return {"read": read, "dropped": dropped, **_counts(found)}


def _lines(path: Path) -> Iterator[tuple[int, str, list[str], Callable[[list[str]], str]]]:
    """Each line with the texts in it, and how the line is written with others in their places."""
    if kind_of(path) == ".txt":
        for number, line in enumerate(text_lines(path), 1):
            yield number, line, [line], lambda texts: texts[0]
        return
    for row in read_rows(path):
        value = row.value
        yield row.line, json.dumps(value, ensure_ascii=False), list(strings(value)), lambda texts, value=value: _with(value, texts)


def _with(value: object, texts: list[str]) -> str:
    waiting = iter(texts)

    def put(part: Any) -> Any:
        if isinstance(part, str):
            return next(waiting)
        if isinstance(part, dict):
            return {key: put(inner) for key, inner in part.items()}
        return [put(inner) for inner in part] if isinstance(part, list) else part

    return json.dumps(put(value), ensure_ascii=False)


def _counts(found: Sequence[Found]) -> dict[str, Any]:
    where, kinds = Counter(place for place, _, _ in found), Counter(finding.kind for _, _, finding in found)
    records = {(place, id) for place, id, _ in found}
    by_kind = {kind: kinds[kind] for kind in KINDS if kinds[kind]}
    return {"findings": len(found), "records": len(records), "where": dict(where), "kinds": by_kind}


def _report(out: Path | None, found: Iterable[Found]) -> None:
    if out is not None:
        with disk_errors(out), replacing(out) as unfinished:
            with unfinished.open("w", encoding="utf-8", newline="\n") as file:
                for where, id, finding in found:
                    file.write(json.dumps({"where": where, "id": id, **dataclasses.asdict(finding)}, ensure_ascii=False) + "\n")
            sync(unfinished)


def _save(out: Path, written: Iterable[str]) -> None:
    with disk_errors(out), replacing(out) as unfinished:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(written)
        sync(unfinished)


def forget_stage(project: Project, user: str, *, why: str, keep_copies: bool = False) -> dict[str, Any]:
    """Forgets a user: store, copies in runs, and the models that learned from either by name.

    The copies lose their rows first, so that a run of this that is stopped finds the user again.

    Raises:
        StoreError: the store holds nothing of that user.
    """
    now = datetime.now(UTC)
    with Store.open(project.store_url) as store:
        who = erasure.person(store, user)
        found = erasure.traces(project.path / "runs", who)
        learned = models_that_learned(project, found)
        copies = 0 if keep_copies else erasure.remove(found, who, now=now)
        emptied = erasure.forget(store, who, by=OPERATOR, why=why, now=now)
    files = {f"{trace.path.parent.name}/{trace.path.name}": trace.rows for trace in found}
    return {**emptied, "rows_in_runs": sum(files.values()), "rows_removed_from_runs": copies, "files": files, "models": learned}


def models_that_learned(project: Project, found: Sequence[erasure.Trace]) -> dict[str, str]:
    """Models that learned from files with a person's rows, and those that descend from such a model, with how."""
    names = [trace for trace in found if trace.path.name != "samples.jsonl"]
    digests = {trace.digest for trace in names}
    records = {name: lineage.read(project.model(name)) for name in project.models()}
    learned = {
        name: "learned from it"
        for name, record in records.items()
        if digests & set(record.get("data", {}).values()) or name in {trace.path.parent.name for trace in names}
    }
    while more := {name for name, r in records.items() if name not in learned and learned.keys() & r.get("parents", {}).keys()}:
        learned |= {name: f"descends from {', '.join(sorted(learned.keys() & records[name]['parents'].keys()))}" for name in sorted(more)}
    return learned
