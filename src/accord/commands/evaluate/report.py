"""`accord report`: one HTML page with the project's metrics, curves, findings and samples, which needs nothing else.

Needs a project. Leaves report.html in it; with --watch serves the page on this machine and renews it while runs go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath, shows, table_of
from accord.report import live
from accord.report.facts import facts
from accord.report.page import read_everything, write_report
from accord.runtime.project import Project
from accord.runtime.trackers import Kind, mirrored

WRITTEN = ("report", "rows_sent")
"""The lines for the terminal; everything else is on the page."""


def print_written(metrics: Mapping[str, Any]) -> None:
    """Print where the page is, and how many rows of metrics a tracker was sent."""
    table_of("report", {key: metrics[key] for key in WRITTEN if key in metrics})


@shows(print_written)
def report(
    project: ProjectPath,
    *,
    watch: Annotated[
        bool, Parameter(help="Serve the page on this machine and renew it while runs go on, until Ctrl-C.", negative="")
    ] = False,
    port: Annotated[int, Parameter(help="Port of --watch; 0 takes a free one.")] = 8500,
    mirror: Annotated[tuple[Kind, ...], Parameter(help="Also send the runs' metrics to a tracker that is installed.", negative="")] = (),
) -> dict[str, Any] | None:
    """Write report.html: one page with the project's metrics, curves, findings and samples. --json prints the metrics as well.

    Returns where the page is, with everything that it shows; nothing after --watch.

    Example: accord report my-town --watch

    Raises:
        AccordError: a package is missing: matplotlib, or a tracker that was named.
    """
    path = Project.open(project).path
    with mirrored(path, mirror, live=watch) as sent:
        if watch:
            live.watch(path, port, lambda address: print(f"{address}  (Ctrl-C ends it)", flush=True))
            return None
        everything = read_everything(path)
        written: dict[str, Any] = {"report": str(write_report(path, content=everything))}
        if mirror:
            written["rows_sent"] = sum(sent.values())
        return written | facts(*everything)
