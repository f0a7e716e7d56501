"""The stage that learns what each token is worth, and the one that learns where responses go wrong."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, Resume, app, report_run
from accord.settings import IlqlConfig, ProcessConfig


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


@app.command
def process(
    project: ProjectPath,
    *,
    sft: Annotated[str, Parameter(help="The SFT model it starts from.")] = "sft",
    name: Name = "process",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[ProcessConfig, Flat] = ProcessConfig(),
) -> None:
    """Trains a model of where responses go wrong, from parts that people marked, for token-level rewards.

    Example: accord process my-project --errors "Irrelevant, Unverifiable" --name relevance
    """
    from accord.runtime.project import Project
    from accord.stages.processing import process_stage

    report_run("process", name, process_stage(Project.open(project), config, sft_model=sft, name=name, resume=resume, dtype=dtype), json)
