"""Answers that can be checked: problems, self-taught reasoning, solving by majority."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, Resume, app, report_run, say
from accord.settings import SolveConfig, StarConfig


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


@app.command
def solve(
    project: ProjectPath,
    *,
    model: Annotated[str, Parameter(help="Who answers.")] = "star",
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[SolveConfig, Flat] = SolveConfig(),
) -> None:
    """Says how often a model's final answers to held-out problems are right, alone or by the majority of several.

    Example: accord solve my-town --model star --votes 8 --temperature 0.7
    """
    from accord.runtime.project import Project
    from accord.stages.reasoning import solve_stage

    say(f"solve: {model}", solve_stage(Project.open(project), config, model=model, dtype=dtype), json)
