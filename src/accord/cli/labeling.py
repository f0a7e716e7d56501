"""What people say: labels and who gives them."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, ProjectPath, app, report_run
from accord.settings import LabelConfig


@app.command
def label(
    project: ProjectPath,
    *,
    by: Annotated[Literal["site", "world"], Parameter(help="People in the labeling site, or the world's simulated labelers.")] = "site",
    insecure: Annotated[bool, Parameter(help="Serve others without https.", negative="")] = False,
    name: Name = "label",
    json: AsJson = False,
    config: Annotated[LabelConfig, Flat] = LabelConfig(),
) -> None:
    """Opens the labeling site on the responses that nobody has ranked yet, or has the world's labelers rank them.

    Example: accord label my-project --port 8400
    """
    from accord.runtime.project import Project

    opened = Project.open(project)
    if by == "site":
        from accord.stages.hosting import host_site

        host_site(opened, config, insecure=insecure)
        return
    from accord.stages.asking import label_stage

    report_run(f"label by {by}", name, label_stage(opened, config, name=name), json)
