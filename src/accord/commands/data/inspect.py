"""`accord inspect`: profile prompts, demonstrations and responses, and find records that look wrong.

Needs records. Changes none of them unless --unknown says so; leaves a run whose summary holds the metrics, and whose samples are the
records to look at.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from accord.commands.app import Flat, ProjectPath, flat, shows, table_of
from accord.commands.data.inspect_knowledge import Unknown, change, told, unknown_to
from accord.data.classifiers.project_set import basis_lines, of_project
from accord.data.pipeline import REASONS, whole_text
from accord.data.quality import Suspect, answer_nothing, contradictions, near_identical, nearly_held_out, profile
from accord.data.written_hints import Read, found_in
from accord.errors import InputError, UsageError
from accord.feedback import withdrawals
from accord.feedback.leaks import leaks
from accord.feedback.store import Store
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import derive
from accord.settings import InspectConfig

KINDS = ("prompts", "demonstrations", "responses")
SHOWN = ("texts", "words: p5", "words: p50", "words: p95", "words: mean", "exact_duplicates", "near_duplicates")
"""Lines of the terminal's table, before those of `SHARES` and one for each language."""
SHARES = ("toxic", "refusals", "personal", "empty")
Record = TypeVar("Record")


def _show(metrics: Mapping[str, Any]) -> None:
    """Print a column for each kind of text, and the suspects below."""
    profiles = {kind: dict(flat(metrics[kind])) for kind in KINDS if metrics[kind]["texts"]}
    languages: dict[str, None] = {}
    for profile_ in profiles.values():
        languages |= {key: None for key, share in profile_.items() if key.startswith("languages") and float(share) >= 0.01}
    rows: list[list[str]] = []
    for key in (*SHOWN, *SHARES, *languages):
        rows.append([key, *(str(profile_.get(key, "0")) for profile_ in profiles.values())])
    table("what the project holds (shares of the texts)", ["metric", *profiles], rows)
    table_of("what looks wrong", {key: value for key, value in metrics.items() if key not in (*KINDS, "measured_by", "machine_written")})
    _show_hints(metrics.get("machine_written", {}))
    for line in basis_lines(metrics):
        print(line)


@shows(_show)
def inspect(
    project: ProjectPath,
    *,
    known_by: Annotated[str, Parameter(help="Also find demonstrations that state what this model does not know, for example base.")] = "",
    unknown: Annotated[
        Unknown,
        Parameter(help="What becomes of them: show, leave-out, admit (an admission in their place), or restore what was left out."),
    ] = "show",
    name: Annotated[str, Parameter(help="Name of the run that keeps the metrics; the next inspect-NNN when not given.")] = "",
    config: Annotated[InspectConfig, Flat] = InspectConfig(),
) -> dict[str, Any]:
    """Profile prompts, demonstrations and responses, and find records that look wrong.

    Example: accord inspect my-project --json

    Returns:
        A profile for each kind of text; demonstrations that answer nothing or are near-identical; comparisons that contradict each
        other; conversations in several splits; prompts left out by reason; and the run's name.

    Raises:
        InputError: the project has nothing to look at, or no demonstration answers a question.
        UsageError: demonstrations are to be left out, and no model says which.
    """
    opened = Project.open(project)
    if unknown in ("leave-out", "admit") and not known_by:
        raise UsageError(f"{unknown} needs a model that says what it does not know", where="--unknown", hint="--known-by base")
    with Store.open(opened.store_url) as store:
        written = _sampled(store.demonstrations(), config, "demonstrations")
        asked = _sampled(store.prompts(), config, "prompts")
        answered = _sampled(store.responses(), config, "responses")
        models = {person.id for person in store.labelers() if person.kind in ("model", "simulated")}
        texts = {
            "prompts": [whole_text(prompt) for prompt in asked],
            "demonstrations": [demonstration.text for demonstration in written],
            "responses": [response.text for response in answered],
        }
        if not any(texts.values()):
            raise InputError("there is nothing to look at", where=str(opened.path), hint="`accord import PROJECT FILE` reads something")
        contradicting = contradictions(store.ranked_prompts(guideline=None))
        unused = _left_out(store)
        leaked = leaks(store)
    nothing, alike = answer_nothing(written, short=config.short), near_identical(written, threshold=config.near)
    classifiers = of_project(opened)
    suspects = {"answer_nothing": nothing, "near_identical": alike}
    hints, hinted = found_in(classifiers, Read(asked, written, answered, models), near_to=config.near)
    metrics: dict[str, Any] = {kind: profile(part, threshold=config.near, classifiers=classifiers) for kind, part in texts.items()}
    metrics |= {kind: _counts(found) for kind, found in suspects.items()} | {"contradictions": contradicting, "left_out": unused}
    metrics |= classifiers.basis(
        toxic=("toxicity", "toxic"), refusals=("stance", "refusal"), personal=("personal", "personal"), languages=("language", "")
    )
    if hinted:
        metrics["machine_written"] = hinted
        metrics["measured_by"] |= classifiers.basis(machine_written=("written", "machine-written"))["measured_by"]
    nearly = nearly_held_out(asked, threshold=config.near)
    metrics["contamination"] = {"exact": len(leaked), "near": len(nearly)}
    strange, stated = unknown_to(opened, known_by, written, config) if known_by else ([], 0)
    run = Run.start(opened.run(name or _next_name(opened)), stage="inspect", config=config, inputs={}, resume=False, seed=config.seed)
    if known_by or unknown == "restore":
        with Store.open(opened.store_url) as store:
            counts = change(store, strange, unknown, run.folder.name, datetime.now(UTC))
        metrics["unknown"] = told(strange, stated, counts)
        suspects["unknown"] = strange
    suspects |= hints
    for kind, found in suspects.items():
        run.samples(0, [{"kind": kind, **dataclasses.asdict(suspect)} for suspect in found])
    run.samples(0, [{"kind": "contamination", **dataclasses.asdict(leak)} for leak in leaked])
    run.samples(0, [{"kind": "near_contamination", **dataclasses.asdict(suspect)} for suspect in nearly])
    run.finish(**metrics)
    return metrics | {"run": run.folder.name}


def _show_hints(hinted: Mapping[str, Any]) -> None:
    """Print the hints of machine-written text under a heading that calls them hints, and how often they are wrong."""
    if not hinted:
        return
    table_of("hints that a model may have written it", {key: value for key, value in hinted.items() if key != "of_ten_by_people"})
    if (people := hinted["of_ten_by_people"]) is not None:
        print(f"A hint is no verdict: where it errs most, people wrote about {people} of 10 that are flagged so. Nothing was changed.")


def _counts(found: Sequence[Suspect]) -> dict[str, Any]:
    by_labeler = Counter(suspect.labeler for suspect in found)
    return {"count": len(found), "why": dict(Counter(suspect.why for suspect in found)), "by_labeler": dict(by_labeler.most_common(10))}


def _left_out(store: Store) -> dict[str, int]:
    """Prompts that are left out, by reason, without the ids of their originals."""
    counts = Counter[str]()
    with store.read() as connection:
        for why, count in withdrawals.reasons(connection, "prompt").items():
            reason = next((reason for reason in REASONS[1:] if why.startswith(reason)), why)
            counts[reason] += count
    return dict(counts)


def _next_name(project: Project) -> str:
    numbers = [int(run.rpartition("-")[2]) for run in project.runs() if run.startswith("inspect-") and run.rpartition("-")[2].isdecimal()]
    return f"inspect-{max(numbers, default=0) + 1:03d}"


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
