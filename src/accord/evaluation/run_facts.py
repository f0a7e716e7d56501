"""From a run's folder to its facts, and from there to findings: shared by the doctor, the report and a run's own log.

Reads files only: no store, no model, no torch. Facts that need those (labelers' agreement, second judges) are
passed in by the caller.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

from accord.data.classifiers.project_set import of_folder
from accord.data.templates import not_ended
from accord.data.tokenizers import PAD
from accord.evaluation.diagnoses import Facts, diagnose
from accord.evaluation.findings import ALARMS, Finding, Said, in_order
from accord.evaluation.hacking import alarms, drift
from accord.runtime.logs import Metrics, Table, read_metrics, read_object, read_samples
from accord.runtime.runs import Run
from accord.settings.methods import PREFERENCE, SAMPLING

RESULTS = "doctor.json"
"""The file that `accord doctor` leaves in a run's folder: findings that took the store or a model to make."""
NOT_POLICIES = ("base", "sft", "best-of-n", "best_of_n")


def read_facts(folder: Path) -> Facts:
    """Return the facts in a run's folder and in the models beside it. Raises OSError when a file cannot be read."""
    config, summary = (read_object(folder / name) or {} for name in ("config.json", "summary.json"))
    samples = read_samples(folder / "samples.jsonl").rows
    return facts_of(folder, config, summary, read_metrics(folder / "metrics.jsonl"), samples)


def facts_of(folder: Path, config: Table, summary: Table, metrics: Metrics, samples: Sequence[Table]) -> Facts:
    """Return the same facts from files that are read already; ``folder`` is runs/NAME of a project."""
    models, stage = folder.parent.parent / "models", str(config.get("stage", folder.name))
    kin = _kin(models, config, folder.name) if stage in (*SAMPLING, *PREFERENCE, "reward") else {}
    return Facts(
        stage=stage,
        metrics=metrics,
        settings=_table(config.get("config")),
        samples=[said for row in samples if (said := said_of(row)) is not None],
        summary=summary,
        paths={name: str(path) for name, path in _table(config.get("paths")).items()},
        templates={name: not_ended(text) for name, text in _contents(kin.values(), "chat_template.jinja").items()},
        vocabularies=_vocabularies(kin.values()),
        pad_is_eos=dict(_padded(kin.values() or [models / folder.name])),
        classifiers=of_folder(folder.parent.parent),
    )


def examine(facts: Facts, rows: Sequence[Table] = ()) -> list[Finding]:
    """Return all findings of a run. ``rows`` are its samples as stored, for an evaluation's comparisons."""
    return in_order([*diagnose(facts), *alarms(facts), *_beside(facts, rows)])


def said_of(row: Table) -> Said | None:
    """Return a row of a training run's samples.jsonl, or None for another kind of row."""
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
    """Return an evaluation's alarms: each policy's responses compared with the SFT model's to the same prompts."""
    if facts.stage != "evaluate":
        return
    sides = dict[str, list[Said]]()
    for row in rows:
        for name in _table(row.get("responses")):
            said = _side(row, name)
            sides.setdefault(name, []).extend([] if said is None else [said])
    for name in sides:
        if name not in NOT_POLICIES and "sft" in sides:
            yield from (dataclasses.replace(finding, about=name) for finding in drift(sides["sft"], sides[name], facts.classifiers))


def _side(row: Table, name: str) -> Said | None:
    response, utility = _table(row.get("responses")).get(name), _table(row.get("utilities")).get(name)
    if not isinstance(response, str):
        return None
    others = {"gold": float(utility)} if isinstance(utility, int | float) else {}
    return Said(str(row.get("prompt", "")), response, others=others, use_case=str(row.get("use_case", "")))


# --- models -------------------------------------------------------------------------------------------------------------------------


def _kin(models: Path, config: Table, made: str) -> dict[str, Path]:
    """Return a run's models: the one it made and its parents. Before it made one, the models that match the
    digests it was started from."""
    record = read_object(models / made / "lineage.json") or {}
    if record:
        return {name: models / name for name in (*_table(record.get("parents")), made) if (models / name).is_dir()}
    wanted = {str(digest) for digest in _table(config.get("inputs")).values()}
    folders = sorted(models.glob("[!.]*")) if models.is_dir() else []
    return {folder.name: folder for folder in folders if str((read_object(folder / "lineage.json") or {}).get("digest", "")) in wanted}


def changed(parents: Mapping[str, str], digests: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the parents whose digest differs from lineage.json: name to (then, now)."""
    return {name: (was, digests[name]) for name, was in parents.items() if name in digests and digests[name] != was}


def _contents(folders: Iterable[Path], name: str) -> dict[str, str]:
    return {folder.name: (folder / name).read_text("utf-8", "replace") for folder in folders if (folder / name).is_file()}


def _vocabularies(folders: Iterable[Path]) -> dict[str, str]:
    """Return a digest of how each model's tokenizer cuts text. How it pads is left out: reward models get a padding token of their own."""
    read = _contents(folders, "tokenizer.json")
    if len(set(read.values())) > 1:
        read = {name: _cuts(text) for name, text in read.items()}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in read.items()}


def _cuts(text: str) -> str:
    try:
        told = json.loads(text)
        added = [token for token in told.pop("added_tokens", []) if token["content"] != PAD]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return text
    return json.dumps([added, {key: value for key, value in told.items() if key not in ("padding", "truncation")}], sort_keys=True)


def _padded(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Return the models whose padding token ends a turn."""
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
    """Return alarms as lines for a run's log.txt, each with a quoted response."""
    lines: list[str] = []
    for finding in findings:
        if finding.name in ALARMS:
            quote = f" For example: {_short(finding.quotes[0].response)!r}" if finding.quotes else ""
            about = f" ({finding.about})" if finding.about else ""
            lines.append(f"ALARM {finding.name}{about}, {finding.severity}, {finding.sure:.0%} sure: {finding.what()}{quote}")
    return lines


def note_alarms(run: Run, findings: Sequence[Finding] | None = None) -> None:
    """Add alarms to a run's log.txt, each once. If none are given, add those from its own files."""
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
    """Return the findings of `accord doctor` at this number of metric rows; none if the run has continued since."""
    kept: Any = read_object(folder / RESULTS) or {}
    if kept.get("rows") != rows:
        return []
    try:
        return [Finding.from_json(row) for row in kept["findings"]]
    except (KeyError, TypeError, ValueError):
        return []


def together(*groups: Sequence[Finding]) -> list[Finding]:
    """Merge the findings of several sources. The first source's finding wins when two have the same name."""
    found: dict[tuple[str, str], Finding] = {}
    for finding in chain.from_iterable(groups):
        found.setdefault((finding.name, finding.about), finding)
    return in_order(list(found.values()))
