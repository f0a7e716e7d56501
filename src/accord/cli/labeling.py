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
    by: Annotated[Literal["world"], Parameter(help="Who ranks: the built-in world's simulated labelers.")] = "world",
    name: Name = "label",
    json: AsJson = False,
    config: Annotated[LabelConfig, Flat] = LabelConfig(),
) -> None:
    """Has the responses ranked that nobody has ranked yet.

    Example: accord label my-town --by world
    """
    from accord.runtime.project import Project
    from accord.stages.asking import label_stage

    report_run(f"label by {by}", name, label_stage(Project.open(project), config, name=name), json)
