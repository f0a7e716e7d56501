"""What is done with what came in: which prompts stay, dialogues out of raw text, what a set is like and what looks wrong in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import exists, func, select

from accord.data.archives import chunks, kind_of, text_lines
from accord.data.dialogues import dialogues
from accord.data.pipeline import REASONS, Asked, Curated, Evaluation, curate, strings
from accord.data.quality import Suspect, answer_nothing, contradictions, near_identical, profile
from accord.data.row_reader import read_rows
from accord.data.tags import is_few_shot
from accord.errors import InputError, StoreError, UsageError
from accord.feedback import provenance, rows, schema, withdrawals
from accord.feedback.audit import note
from accord.feedback.store import Store
from accord.records import Prompt
from accord.runtime.files import TEMPORARY, disk_errors, replacing, sync
from accord.runtime.progress import Track, track
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import derive
from accord.settings import InspectConfig, PromptsConfig

PIPELINE = "pipeline"
"""Who withdrew what `accord prompts` left out; a later run decides anew about those."""
OPERATOR = "operator"
Record = TypeVar("Record")


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes, /) -> None: ...


def prompts_stage(project: Project, config: PromptsConfig, *, against: Sequence[Path] = (), dry_run: bool = False) -> dict[str, Any]:
    """Decides which prompts of the project stay, withdraws the others with their reasons, and tags all with language and use case.

    Args:
        against: evaluation sets that no prompt may come from, in any format; every string in them counts.
        dry_run: count, and change nothing.

    Returns:
        Counts: read, kept, dropped by reason, and of what stays by split, language and use case.

    Raises:
        InputError: the project has no prompts, or an evaluation set cannot be read.
        StoreError: prompts came or went while it looked at them.
    """
    started = time.perf_counter()
    with Store.open(project.store_url) as store:
        total = _count(store)
        if not total:
            raise InputError("the project has no prompts", where=str(project.path), hint="`accord import PROJECT FILE` reads some")
        evaluation = Evaluation.of(_strings(against), config.ngram) if against and config.ngram else None
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=project.path) as folder, track(total, "looking at prompts") as bar:
            seen = hashlib.sha256()
            curated = curate(_asked(store, seen), config, Path(folder), evaluation=evaluation, track=_Rated(bar))
        figures = curated.figures() | {"withdrawn": 0}
        if not dry_run:
            with track(total, "writing") as bar:
                figures["withdrawn"] = _write(store, curated, seen.hexdigest(), bar)
    seconds = time.perf_counter() - started
    return figures | {"seconds": round(seconds, 1), "rows_per_second": round(total / seconds)}


class _Rated:
    """A track that says how many rows a second it takes."""

    def __init__(self, inner: Track) -> None:
        self.inner, self.done, self.started = inner, 0, time.perf_counter()

    def advance(self, n: int = 1, **figures: float) -> None:
        self.done += n
        self.inner.advance(n, rows_per_second=self.done / (time.perf_counter() - self.started), **figures)


def _open_to_it(prompt: Any) -> Any:
    """The prompt is there, or it was the pipeline that withdrew it."""
    w = schema.withdrawn.alias()
    return ~exists(select(w.c.record_id).where(w.c.kind == "prompt", w.c.record_id == prompt, w.c.by != PIPELINE))


def _count(store: Store) -> int:
    p = schema.prompts
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(p).where(_open_to_it(p.c.id))) or 0


def _asked(store: Store, seen: Digest) -> Iterator[Asked]:
    """The prompts with their consent, in the order of their ids, which ``seen`` takes in; marks those kept before, or answered."""
    p, v, w = schema.prompts, schema.provenance, schema.withdrawn
    answered = [exists(select(t.c.id).where(t.c.prompt_id == p.c.id)) for t in (schema.responses, schema.demonstrations)]
    left_out = exists(select(w.c.record_id).where(w.c.kind == "prompt", w.c.record_id == p.c.id))
    columns = (*p.c, v.c.consent, v.c.language, (answered[0] | answered[1]).label("answered"), left_out.label("left_out"))
    query = select(*columns).select_from(p.outerjoin(v, v.c.prompt_id == p.c.id)).where(_open_to_it(p.c.id)).order_by(p.c.id)
    for row in store.database.rows(query):
        seen.update(row["id"].encode() + b"\0")
        kept_before = bool(row["language"]) and not row["left_out"]
        yield Asked(rows.prompt(row), row["consent"] or "unknown", first=kept_before or bool(row["answered"]))


def _write(store: Store, curated: Curated, seen: str, bar: Track) -> int:
    """One transaction: what the pipeline withdrew before comes back, what it leaves out now goes, everything is tagged.

    Raises:
        StoreError: the prompts are others by now.
    """
    now = datetime.now(UTC)
    p = schema.prompts
    with store.write() as connection:
        ids = list(connection.scalars(select(p.c.id).where(_open_to_it(p.c.id)).order_by(p.c.id)))
        if hashlib.sha256("".join(f"{id}\0" for id in ids).encode()).hexdigest() != seen:
            raise StoreError("prompts came or went meanwhile", hint="nothing was changed; run the same command again")
        withdrawals.take_back(connection, "prompt", by=PIPELINE)
        dropped = ((ids[row], _why(curated, row, ids)) for row in curated.reasons.nonzero()[0].tolist())
        count = withdrawals.withdraw(connection, "prompt", dropped, by=PIPELINE, now=now)
        provenance.write(connection, _papers(store, curated, now, bar), tags_only=True)
        note(connection, who=OPERATOR, what="prompts", on=f"{len(ids)} prompts, {count} left out", why="", at=now)
    return count


def _why(curated: Curated, row: int, ids: Sequence[str]) -> str:
    reason, original = REASONS[curated.reasons[row]], int(curated.original[row])
    return f"{reason} of {ids[original]}" if original >= 0 else reason


def _papers(store: Store, curated: Curated, now: datetime, bar: Track) -> Iterator[provenance.Provenance]:
    p = schema.prompts
    query = select(p).where(_open_to_it(p.c.id)).order_by(p.c.id)
    for number, row in enumerate(store.database.rows(query)):
        kind: provenance.PromptKind = "few-shot" if row["source"] == "labeler" and is_few_shot(rows.prompt(row).messages) else ""
        spoken, case = curated.language(number), curated.use_case(number)
        yield provenance.Provenance(row["id"], row["source"], kind, spoken, case, at=now.isoformat())
        bar.advance()


def _strings(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        if kind_of(file) == ".txt":
            yield from text_lines(file)
        else:
            for row in read_rows(file):
                yield from strings(row.value)


def mark_stage(
    project: Project,
    *,
    source: str,
    user: str,
    kind: provenance.PromptKind | None,
    consent: provenance.Consent | None,
    terms: str,
    why: str,
) -> dict[str, Any]:
    """Sets kind and consent of a source's or a user's prompts; without either, only counts what is known.

    Raises:
        StoreError: as ``provenance.mark`` says.
    """
    with Store.open(project.store_url) as store:
        marked = 0
        if kind is not None or consent is not None:
            who = {"source": source, "user": user}
            marked = provenance.mark(store, **who, kind=kind, consent=consent, terms=terms, by=OPERATOR, why=why, now=datetime.now(UTC))
        return {"marked": marked, **provenance.summary(store)}


def dialogues_stage(files: Sequence[Path], *, out: Path, least: int, quiet: bool = False) -> dict[str, Any]:
    """Writes the dialogues of raw-text files as rows of messages, whole or not at all.

    Each row holds ``messages`` up to the last question, ``response`` (the last answer), ``speakers``, ``file`` and ``paragraph``, so that
    `accord import` reads them as demonstrations.

    Raises:
        UsageError: ``least`` is below 2. InputError: a file cannot be read.
    """
    if least < 2:
        raise UsageError(f"a dialogue of {least} paragraphs", where="--least", hint="2 at least; the rule says 6")
    if missing := next((file for file in files if not file.is_file()), None):
        raise InputError("there is no such file", where=str(missing))
    figures = Counter[str]()
    with disk_errors(out), replacing(out) as unfinished, track(sum(f.stat().st_size for f in files), "reading", quiet=quiet) as bar:
        with unfinished.open("w", encoding="utf-8", newline="\n") as written:
            for file in files:
                for dialogue in dialogues(chunks(file, bar.advance), least):
                    *asked, answer = dialogue.messages()
                    row = {"messages": [dataclasses.asdict(message) for message in asked], "response": answer.content}
                    rest = {"speakers": dialogue.speakers, "file": file.name, "paragraph": dialogue.paragraph, "labeler": "raw-text"}
                    written.write(json.dumps(row | rest, ensure_ascii=False) + "\n")
                    figures.update(dialogues=1, turns=len(dialogue.turns))
        sync(unfinished)
    return {"files": len(files), "dialogues": figures["dialogues"], "turns": figures["turns"], "out": str(out)}


def inspect_stage(project: Project, config: InspectConfig, *, name: str = "") -> dict[str, Any]:
    """Looks through prompts, demonstrations, responses and rankings; the figures become the summary of a run.

    Raises:
        InputError: the project has nothing to look at.
    """
    with Store.open(project.store_url) as store:
        written = _sampled(store.demonstrations(), config, "demonstrations")
        texts = {
            "prompts": [_text(prompt) for prompt in _sampled(store.prompts(), config, "prompts")],
            "demonstrations": [demonstration.text for demonstration in written],
            "responses": [response.text for response in _sampled(store.responses(), config, "responses")],
        }
        if not any(texts.values()):
            raise InputError("there is nothing to look at", where=str(project.path), hint="`accord import PROJECT FILE` reads something")
        contradicting = contradictions(store.ranked_prompts(guideline=None))
        unused = _unused(store)
    nothing, alike = answer_nothing(written, short=config.short), near_identical(written, threshold=config.near)
    suspects = {"answer_nothing": nothing, "near_identical": alike}
    figures: dict[str, Any] = {kind: profile(part, threshold=config.near) for kind, part in texts.items()}
    figures |= {kind: _suspects(found) for kind, found in suspects.items()} | {"contradictions": contradicting, "left_out": unused}
    run = Run.start(project.run(name or _next(project)), stage="inspect", config=config, inputs={}, resume=False, seed=config.seed)
    run.samples(0, [{"kind": kind, **dataclasses.asdict(suspect)} for kind, found in suspects.items() for suspect in found])
    run.finish(**figures)
    return figures | {"run": run.folder.name}


def _suspects(found: Sequence[Suspect]) -> dict[str, Any]:
    by_labeler = Counter(suspect.labeler for suspect in found)
    return {"count": len(found), "why": dict(Counter(suspect.why for suspect in found)), "by_labeler": dict(by_labeler.most_common(10))}


def _unused(store: Store) -> dict[str, int]:
    """Prompts that are left out, by reason, without the ids of what they are duplicates of."""
    counts = Counter[str]()
    with store.read() as connection:
        for why, count in withdrawals.reasons(connection, "prompt").items():
            counts[next((reason for reason in REASONS[1:] if why.startswith(reason)), why)] += count
    return dict(counts)


def _next(project: Project) -> str:
    numbers = [int(run.rpartition("-")[2]) for run in project.runs() if run.startswith("inspect-") and run.rpartition("-")[2].isdecimal()]
    return f"inspect-{max(numbers, default=0) + 1:03d}"


def _text(prompt: Prompt) -> str:
    return "\n".join(message.content for message in prompt.messages)


def _sampled(records: Iterable[Record], config: InspectConfig, label: str) -> list[Record]:
    """All records, or as many as are asked for, each as likely as another."""
    if not config.sample:
        return list(records)
    rng, kept = random.Random(derive(config.seed, "inspect", label)), list[Record]()
    for number, record in enumerate(records):
        if number < config.sample:
            kept.append(record)
        elif (place := rng.randrange(number + 1)) < config.sample:
            kept[place] = record
    return kept
