"""Answers that can be checked: problems, self-taught reasoning."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, Resume, app, report_run, say
from accord.settings import ProblemsConfig, StarConfig


@app.command
def problems(project: ProjectPath, *, json: AsJson = False, config: Annotated[ProblemsConfig, Flat] = ProblemsConfig()) -> None:
    """Puts arithmetic of the built-in world into the store: some problems solved, the others with their answer alone.

    Example: accord problems my-town --count 2000 --solved 200
    """
    from accord.runtime.project import Project
    from accord.stages.reasoning import problems_stage

    say("problems", problems_stage(Project.open(project), config), json)


@app.command
def star(
    project: ProjectPath,
    *,
    sft: Annotated[str, Parameter(help="The SFT model it starts from.")] = "sft",
    name: Name = "star",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[StarConfig, Flat] = StarConfig(),
) -> None:
    """Teaches the SFT model by those of its own rationales that led to right answers.

    Example: accord star my-town --rounds 6 --attempts 8
    """
    from accord.runtime.project import Project
    from accord.stages.reasoning import star_stage

    report_run("star", name, star_stage(Project.open(project), config, sft_model=sft, name=name, resume=resume, dtype=dtype), json)
