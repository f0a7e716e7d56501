"""The report for machines: the page's metrics as one JSON object."""

from __future__ import annotations

from typing import Any

from accord.evaluation.findings import Finding
from accord.report.labelers import Labelers, as_json
from accord.report.project_files import ProjectRecord, RunRecord


def facts(record: ProjectRecord, labelers: Labelers | None, findings: dict[str, list[Finding]]) -> dict[str, Any]:
    """Return summary, runs with their last metrics, models with their lineage, data and labelers, and the
    doctor's findings."""
    return {
        "project": record.name,
        "summary": dict(record.summary),
        "labelers": as_json(labelers),
        "runs": {run.name: _run(run, findings.get(run.name, [])) for run in record.runs},
        "models": {name: dict(lineage) for name, lineage in record.models.items()},
        "could_not_be_read": record.broken,
    }


def _run(run: RunRecord, findings: list[Finding]) -> dict[str, Any]:
    last = {key: figure for key in run.metrics.columns if (figure := run.last(key)) is not None}
    head = {"stage": run.stage, "finished": bool(run.summary), "steps": run.metrics.rows, "samples": run.samples.total}
    made = {"seed": run.config.get("seed"), "versions": run.config.get("versions", {}), "settings": run.config.get("config", {})}
    return head | made | {"last": last, "summary": dict(run.summary), "findings": [finding.as_json() for finding in findings]}
