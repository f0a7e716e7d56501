"""What is wrong with a run, and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from accord.cli.app import AsJson, ProjectPath, app, say

if TYPE_CHECKING:
    from accord.evaluation.findings import Finding


@app.command
def doctor(
    project: ProjectPath,
    run: Annotated[str, Parameter(help="A run of the project; all of them when not given.")] = "",
    *,
    judges: Annotated[bool, Parameter(help="Ask other reward models, and the world's gold judge, about the run's samples.")] = True,
    json: AsJson = False,
) -> None:
    """Says in words what is wrong with a run, how sure that is, and what to change. Exit code 1 when something grave is.

    Example: accord doctor my-town ppo
    """
    from accord.runtime.project import Project
    from accord.stages.doctoring import doctor_stage

    found = doctor_stage(Project.open(project), run, judges=judges)
    grave = any(finding.severity == "high" for findings in found.values() for finding in findings)
    if json:
        say("doctor", {"healthy": not grave, "runs": {name: [f.as_json() for f in findings] for name, findings in found.items()}}, True)
    else:
        for name, findings in found.items():
            _tell(name, findings)
    if grave:
        raise SystemExit(1)


@app.command
def report(
    project: ProjectPath,
    *,
    watch: Annotated[
        bool, Parameter(help="Serve the page on this machine and renew it while runs go on, until Ctrl-C.", negative="")
    ] = False,
    port: Annotated[int, Parameter(help="Port of --watch; 0 takes a free one.")] = 8500,
    mirror: Annotated[
        tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...],
        Parameter(help="Also send the runs' metrics to a tracker that is installed.", negative=""),
    ] = (),
    json: AsJson = False,
) -> None:
    """Writes report.html: one page with the project's figures, curves, findings and samples. --json prints the figures instead.

    Example: accord report my-town --watch
    """
    from accord.report.facts import facts
    from accord.report.page import read_everything, write_report
    from accord.runtime.project import Project
    from accord.runtime.trackers import mirrored

    path = Project.open(project).path
    with mirrored(path, mirror, live=watch) as sent:
        if watch:
            from accord.report.live import watch as serve

            return serve(path, port, lambda address: print(f"{address}  (Ctrl-C ends it)", flush=True))
        figures = {"report": str(write_report(path))} | ({"rows_sent": sum(sent.values())} if mirror else {})
        say("report", figures | (facts(*read_everything(path)) if json else {}), json)


def _tell(name: str, findings: list[Finding]) -> None:
    print(f"{name}: {'nothing is wrong' if not findings else ''}".rstrip())
    for finding in findings:
        about = f" ({finding.about})" if finding.about else ""
        print(f"\n  [{finding.severity}, {finding.sure:.0%} sure] {finding.title()}{about}  ({finding.name})")
        print(f"    {finding.what()}")
        for line in finding.change():
            print(f"    - {line}")
        for said in finding.quotes:
            print(f"    > {' '.join(said.response.split())[:200]}")
    if findings:
        print()
