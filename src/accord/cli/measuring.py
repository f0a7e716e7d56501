"""How good the labels are: agreement, and how many more are needed."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, ProjectPath, app, say
from accord.settings import AgreementConfig, PlanConfig


@app.command
def agreement(
    project: ProjectPath,
    *,
    by: Annotated[
        Literal["", "group", "kind", "version"], Parameter(help="Also for each labeler group, task kind or guideline version.")
    ] = "",
    json: AsJson = False,
    config: Annotated[AgreementConfig, Flat] = AgreementConfig(),
) -> None:
    """Says how far labelers agree, by every coefficient, with 95% intervals that resample prompts.

    Example: accord agreement my-town --by group
    """
    from accord.runtime.progress import table
    from accord.runtime.project import Project
    from accord.stages.measuring import agreement_stage

    found = agreement_stage(Project.open(project), config, by=by)
    if json:
        return say("agreement", found, True)
    parts = {"all": found, **found.get("by", {})}
    rows = [(part, name, *_three(figure)) for part, each in parts.items() for name, figure in each["figures"].items()]
    table(f"agreement of {found['labelers']} labelers on {found['prompts']} prompts", ["of", "figure", "value", "95% interval"], rows)
    if by == "group":
        between = [(pair, *_three(figure)) for pair, figure in found["between"].items()]
        table("groups against each other, ties dropped", ["groups", "value", "95% interval"], between)
        shown = [(c["prompt_id"], c["first"], c["second"], _shares(c["prefers_first"])) for c in found["contested"]]
        table(f"{found['contested_pairs']} pairs that groups see differently", ["prompt", "first", "second", "prefer the first"], shown)
    doubt = found["in_doubt"]
    print(f"{doubt['pairs']} of {doubt['of']} pairs that several labelers judged are in doubt; --json lists the first of them.")


@app.command
def plan(
    project: ProjectPath,
    *,
    by: Annotated[Literal["auto", "answers", "world"], Parameter(help="Plan from the answers so far or the world's labelers.")] = "auto",
    json: AsJson = False,
    config: Annotated[PlanConfig, Flat] = PlanConfig(),
) -> None:
    """Says what so many labels reach (--labels), or how many an interval takes (--width).

    Example: accord plan my-town --labels 3000
    """
    from accord.runtime.progress import table
    from accord.runtime.project import Project
    from accord.stages.measuring import plan_stage

    found = plan_stage(Project.open(project), config, by=by)
    if json:
        return say("plan", found, True)
    figures = [(key.replace("_", " "), value) for key, value in found.items() if not isinstance(value, dict | list)]
    table(f"plan, from {found['pilot']['rankings']} rankings", ["figure", "value"], figures)
    if "redundancy" in found:
        rows = [tuple(row.values()) for row in found["redundancy"]]
        table("labels a prompt: the majority of how many?", ["labels a prompt", "prompts", "share right"], rows)


def _three(figure: list[float | None]) -> tuple[str, str]:
    mean, low, high = figure
    return ("not defined", "") if mean is None else (f"{mean:.3f}", f"{low:.3f} to {high:.3f}")


def _shares(shares: dict[str, float]) -> str:
    return "  ".join(f"{group} {share:.0%}" for group, share in shares.items())
