"""`accord doctor`: what is wrong with a run, how sure that is, and what to change.

Needs a run; better with its models, double labels and other reward models at hand. Leaves doctor.json in the run's folder, and alarms
in its log. Reads a run's own files, its parents, labelers' agreement, and judges that it was not trained on. docs/doctor.md and
docs/hacking.md name every finding, its limit and its papers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Device, ProjectPath, shows
from accord.data.classifiers.project_set import ClassifierSet, of_project
from accord.data.classifiers.registry import needs_model
from accord.errors import AccordError, InputError
from accord.evaluation.findings import MEASURED_BY, Finding
from accord.evaluation.run_facts import RESULTS, changed, examine, note_alarms, read_facts
from accord.feedback.agreement import pairwise_agreement
from accord.feedback.data_card import rows_of
from accord.feedback.leaks import leaks
from accord.feedback.store import Store
from accord.runtime import lineage
from accord.runtime.device import choose_device
from accord.runtime.files import write_atomic
from accord.runtime.logs import read_samples
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings.methods import SAMPLING

RESAMPLES = 500
SNAPSHOTS = ("demonstrations", "rankings", "thumbs", "ratings", "prompts")
"""What a run can have learned from, as files in its folder."""
LEAST_PAIRS = 30
"""Untied pairs labeled twice, from which an agreement says anything."""


def print_findings(metrics: Mapping[str, Any]) -> None:
    """Print the findings of each run in words, with the changes to try."""
    for name, rows in metrics["runs"].items():
        findings = [Finding.from_json(row) for row in rows]
        print(f"{name}: {'nothing is wrong' if not findings else ''}".rstrip())
        for finding in findings:
            about = f" ({finding.about})" if finding.about else ""
            print(f"\n  [{finding.severity}, {finding.sure:.0%} sure] {finding.title()}{about}  ({finding.name})")
            print(f"    {finding.what()}")
            if basis := finding.metrics.get(MEASURED_BY):
                print(f"    {basis}")
            for line in finding.change():
                print(f"    - {line}")
            for said in finding.quotes:
                print(f"    > {' '.join(said.response.split())[:200]}")
        if findings:
            print()


@shows(print_findings, failed=lambda metrics: not metrics["healthy"])
def doctor(
    project: ProjectPath,
    run: Annotated[str, Parameter(help="A run of the project; all of them when not given.")] = "",
    *,
    judges: Annotated[bool, Parameter(help="Ask other reward models, and the world's gold judge, about the run's samples.")] = True,
    device: Device = "auto",
) -> dict[str, Any]:
    """Diagnose a run, or all runs: what is wrong, how sure that is, and what to change. Exit code 1 when something grave is.

    Returns whether everything is healthy, and the findings by run.

    Example: accord doctor my-town ppo

    Raises:
        InputError: the project has no such run, or none at all.
    """
    opened = Project.open(project)
    if judges:
        choose_device(device)
    names = [run] if run else opened.runs()
    if not names or (run and not opened.run(run).is_dir()):
        what = f"there is no run {run!r}" if run else "there are no runs"
        known = ", ".join(opened.runs()) or "none yet"
        raise InputError(what, where=str(opened.path / "runs"), hint=f"it has: {known}")
    agreement = labeler_agreement(opened)
    healthy, runs = True, dict[str, list[dict[str, Any]]]()
    for name in names:
        findings = findings_of(opened, name, agreement, judges)
        healthy = healthy and all(finding.severity != "high" for finding in findings)
        runs[name] = [finding.as_json() for finding in findings]
    return {"healthy": healthy, "runs": runs}


def findings_of(project: Project, name: str, agreement: tuple[float, float, float] | None, judges: bool) -> list[Finding]:
    """Return one run's findings; keep them in its folder, and its alarms in its log.

    Args:
        agreement: the labelers' agreement, see ``labeler_agreement``.
        judges: also ask judges about the samples, which loads models.
    """
    folder = project.run(name)
    facts = replace(read_facts(folder), agreement=agreement, changed=changed_parents(project, name), leaked=leaked_into(project, name))
    if judges and facts.stage in SAMPLING and facts.samples:
        # The one part of the doctor that needs torch: a doctor without judges starts at once.
        from accord.commands.evaluate.doctor_judges import with_opinions

        facts = replace(facts, samples=with_opinions(project, name, facts.samples))
    rows = read_samples(folder / "samples.jsonl").rows if facts.stage == "evaluate" else ()
    if judges and (facts.samples or rows):
        facts = replace(facts, classifiers=classifiers_of(project))
    findings = examine(facts, rows)
    kept = {"rows": facts.metrics.rows, "findings": [finding.as_json() for finding in findings]}
    write_atomic(folder / RESULTS, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    note_alarms(Run(folder, facts.stage, {}), findings)
    return findings


def classifiers_of(project: Project) -> ClassifierSet:
    """Return the classifiers that the project names, with what asks a language model where one is named."""
    chosen = of_project(project)
    if needs_model(chosen.name("stance")):
        from accord.commands.models import asks  # loads torch

        chosen = of_project(project, asks(project))
    return chosen


def labeler_agreement(project: Project) -> tuple[float, float, float] | None:
    """Return the share of untied pairs that two labelers order alike; None while too few prompts were labeled twice."""
    try:
        with Store.open(project.store_url) as store:
            found = pairwise_agreement(store.rankings(), resamples=RESAMPLES)
    except AccordError:
        return None
    mean, low, high = found.dropped
    known = all(map(math.isfinite, (mean, low, high))) and found.untied_pairs >= LEAST_PAIRS
    return (mean, low, high) if known else None


def leaked_into(project: Project, name: str) -> tuple[int, int]:
    """Return how many prompts a run learned from have their conversation in a held-out split of the database too, and how many it has."""
    files = [path for what in SNAPSHOTS if (path := project.run(name) / f"{what}.jsonl").is_file()]
    learned = {row.prompt for path in files for row in rows_of(path.stem, path) if row.split == "train"}
    if not learned:
        return 0, 0
    try:
        with Store.open(project.store_url) as store:
            both = {id for leak in leaks(store) if "train" in leak.splits for id in leak.prompts}
    except AccordError:
        return 0, len(learned)
    return len(learned & both), len(learned)


def changed_parents(project: Project, name: str) -> dict[str, tuple[str, str]]:
    """Return the parents of the model that a run made which are other models now: digest then and now."""
    if name not in project.models():
        return {}
    parents: Mapping[str, str] = lineage.read(project.model(name)).get("parents", {})
    present = {parent: lineage.digest_folder(project.model(parent)) for parent in parents if parent in project.models()}
    return changed(parents, present)
