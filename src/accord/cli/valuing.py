"""The stage that learns what each token is worth."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, Resume, app, report_run
from accord.settings import IlqlConfig


@app.command
def ilql(
    project: ProjectPath,
    *,
    sft: Annotated[str, Parameter(help="The SFT model, which the learned values guide.")] = "sft",
    name: Name = "ilql",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[IlqlConfig, Flat] = IlqlConfig(),
) -> None:
    """Learns offline what each token is worth, from rated or ranked responses, and guides the SFT model by it.

    Example: accord ilql my-town --beta 8 --expectile 0.8
    """
    from accord.runtime.project import Project
    from accord.stages.valuing import ilql_stage

    report_run("ilql", name, ilql_stage(Project.open(project), config, sft_model=sft, name=name, resume=resume, dtype=dtype), json)
