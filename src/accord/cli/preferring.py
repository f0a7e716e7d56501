"""The stages that learn from preferences without a reward model."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, Resume, app, report_run
from accord.settings import DpoConfig, KtoConfig

Sft = Annotated[str, Parameter(help="The SFT model: where the policy starts and what it is held to.")]


@app.command
def dpo(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    name: Name = "dpo",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[DpoConfig, Flat] = DpoConfig(),
) -> None:
    """Learns from rankings without a reward model: DPO, robust DPO, IPO, ORPO, SimPO, Plackett-Luce.

    Example: accord dpo my-town --loss plackett-luce --beta 0.05 --name dpo-pl
    """
    from accord.runtime.project import Project
    from accord.stages.preferring import dpo_stage

    report_run("dpo", name, dpo_stage(Project.open(project), config, sft_model=sft, name=name, resume=resume, dtype=dtype), json)


@app.command
def kto(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    name: Name = "kto",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[KtoConfig, Flat] = KtoConfig(),
) -> None:
    """Learns from thumbs up and down on single responses, taken from ratings or ranks.

    Example: accord kto my-town --thumbs ranks --beta 0.2
    """
    from accord.runtime.project import Project
    from accord.stages.preferring import kto_stage

    report_run("kto", name, kto_stage(Project.open(project), config, sft_model=sft, name=name, resume=resume, dtype=dtype), json)
