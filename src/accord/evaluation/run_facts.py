"""From a run's folder to what is known of it, and from there to findings: shared by the doctor, the report and a run's own log.

Reads files only: no store, no model, no torch. What needs those (labelers' agreement, second judges) is handed in by who has them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from accord.evaluation.diagnoses import Facts, diagnose
from accord.evaluation.findings import ALARMS, Finding, Said, in_order
from accord.evaluation.hacking import alarms, drift
from accord.methods import PREFERENCE, SAMPLING
from accord.runtime.logs import Metrics, Table, read_metrics, read_object, read_samples
from accord.runtime.runs import Run

RESULTS = "doctor.json"
"""What `accord doctor` leaves in a run's folder: findings that took the store or a model to make."""
NOT_POLICIES = ("base", "sft", "best-of-n", "best_of_n")


def read_facts(folder: Path) -> Facts:
    """What a run's folder and the models beside it say. Raises OSError when a file cannot be read."""
    config, summary = (read_object(folder / name) or {} for name in ("config.json", "summary.json"))
    samples = read_samples(folder / "samples.jsonl").rows
    return facts_of(folder, config, summary, read_metrics(folder / "metrics.jsonl"), samples)


def facts_of(folder: Path, config: Table, summary: Table, metrics: Metrics, samples: Sequence[Table]) -> Facts:
    """The same out of files that were read already; ``folder`` is runs/NAME of a project."""
    models, stage = folder.parent.parent / "models", str(config.get("stage", folder.name))
    kin = _kin(models, config, folder.name) if stage in (*SAMPLING, *PREFERENCE, "reward") else {}
    return Facts(
        stage=stage,
        metrics=metrics,
        settings=_table(config.get("config")),
        samples=[said for row in samples if (said := said_of(row)) is not None],
        summary=summary,
        templates=_contents(kin.values(), "chat_template.jinja"),
        vocabularies={name: digest[:12] for name, digest in _digests(kin.values(), "tokenizer.json").items()},
        pad_is_eos=dict(_padded(kin.values() or [models / folder.name])),
    )


def examine(facts: Facts, rows: Sequence[Table] = ()) -> list[Finding]:
    """All findings of a run; ``rows`` are its samples as they stand, for an evaluation's side by side."""
    return in_order([*diagnose(facts), *alarms(facts), *_beside(facts, rows)])


def said_of(row: Table) -> Said | None:
    """A row of a training run's samples.jsonl; None for a row of another kind."""
    prompt, response, score = row.get("prompt"), row.get("response"), row.get("score")
    if not isinstance(prompt, str) or not isinstance(response, str):
        return None
    others = {name: float(value) for name, value in _table(row.get("others")).items() if isinstance(value, int | float)}
    step, known = row.get("step"), isinstance(score, int | float) and not isinstance(score, bool)
    return Said(
        prompt=prompt,
        response=response,
        step=step if isinstance(step, int) else 0,
        score=float(score) if known and score is not None else None,
        finished=row.get("finished") is not False,
        others=others,
        use_case=str(row.get("use_case", "")),
    )


def _beside(facts: Facts, rows: Sequence[Table]) -> Iterator[Finding]:
    """Alarms of an evaluation: each policy's responses beside the SFT model's to the same prompts."""
    if facts.stage != "evaluate":
        return
    sides = {name: [said for row in rows if (said := _side(row, name)) is not None] for name in _named(rows)}
    for name in sides:
        if name not in NOT_POLICIES and "sft" in sides:
            yield from (dataclasses.replace(finding, about=name) for finding in drift(sides["sft"], sides[name]))


def _named(rows: Sequence[Table]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in _table(row.get("responses"))))


def _side(row: Table, name: str) -> Said | None:
    response, utility = _table(row.get("responses")).get(name), _table(row.get("utilities")).get(name)
    if not isinstance(response, str):
        return None
    others = {"gold": float(utility)} if isinstance(utility, int | float) else {}
    return Said(str(row.get("prompt", "")), response, others=others, use_case=str(row.get("use_case", "")))


# --- models -------------------------------------------------------------------------------------------------------------------------


def _kin(models: Path, config: Table, made: str) -> dict[str, Path]:
    """The models of a run: what it made and its parents; while it has made nothing, those whose digest it was started from."""
    record = read_object(models / made / "lineage.json") or {}
    if record:
        return {name: models / name for name in (*_table(record.get("parents")), made) if (models / name).is_dir()}
    wanted = {str(digest) for digest in _table(config.get("inputs")).values()}
    folders = sorted(models.glob("[!.]*")) if models.is_dir() else []
    return {folder.name: folder for folder in folders if str((read_object(folder / "lineage.json") or {}).get("digest", "")) in wanted}


def changed(parents: Mapping[str, str], digests: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Parents whose digest is no longer what lineage.json says: name to (then, now)."""
    return {name: (was, digests[name]) for name, was in parents.items() if name in digests and digests[name] != was}


def _contents(folders: Iterable[Path], name: str) -> dict[str, str]:
    return {folder.name: (folder / name).read_text("utf-8", "replace") for folder in folders if (folder / name).is_file()}


def _digests(folders: Iterable[Path], name: str) -> dict[str, str]:
    found = {folder.name: folder / name for folder in folders if (folder / name).is_file()}
    return {model: hashlib.sha256(path.read_bytes()).hexdigest() for model, path in found.items()}


def _padded(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Models whose pad token is their end of turn."""
    for folder in sorted(folders):
        words = read_object(folder / "tokenizer_config.json") or {}
        pad, eos = (_token(words.get(key)) for key in ("pad_token", "eos_token"))
        if pad and pad == eos:
            yield folder.name, pad


def _token(value: object) -> str:
    return value if isinstance(value, str) else str(_table(value).get("content", ""))


def _table(value: object) -> Table:
    return cast("Table", value) if isinstance(value, dict) else {}


# --- a run's log and doctor.json ------------------------------------------------------------------------------------------------------


def remarks(findings: Iterable[Finding]) -> list[str]:
    """Alarms as lines for a run's log.txt, each with a response that it quotes."""
    lines: list[str] = []
    for finding in findings:
        if finding.name in ALARMS:
            quote = f" For example: {_short(finding.quotes[0].response)!r}" if finding.quotes else ""
            about = f" ({finding.about})" if finding.about else ""
            lines.append(f"ALARM {finding.name}{about}, {finding.severity}, {finding.sure:.0%} sure: {finding.what()}{quote}")
    return lines


def note_alarms(run: Run, findings: Sequence[Finding] | None = None) -> None:
    """Adds alarms to a run's log.txt, each once; those that its own files set off when none are given."""
    if findings is None:
        facts = read_facts(run.folder)
        rows = read_samples(run.folder / "samples.jsonl").rows if facts.stage == "evaluate" else ()
        findings = examine(facts, rows)
    log = run.folder / "log.txt"
    said = log.read_text("utf-8", "replace") if log.is_file() else ""
    for line in remarks(findings):
        if line not in said:
            run.note(line)


def _short(text: str, length: int = 160) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def kept_findings(folder: Path, rows: int) -> list[Finding]:
    """What `accord doctor` found when the run had so many rows of metrics; nothing when it has gone on since."""
    kept: Any = read_object(folder / RESULTS) or {}
    if kept.get("rows") != rows:
        return []
    try:
        return [Finding.from_json(row) for row in kept["findings"]]
    except (KeyError, TypeError, ValueError):
        return []


def together(*groups: Sequence[Finding]) -> list[Finding]:
    """Findings of several sources, each name once: the first source's."""
    found: dict[tuple[str, str], Finding] = {}
    for finding in (each for group in groups for each in group):
        found.setdefault((finding.name, finding.about), finding)
    return in_order(list(found.values()))
