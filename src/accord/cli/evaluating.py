"""Is it really better? Comparisons, the KL-reward frontier, a reward model's examination, probes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, app, say
from accord.settings import CompareConfig

Again = Annotated[bool, Parameter(help="Take the place of a finished run of this name.", negative="")]


@app.command
def compare(
    project: ProjectPath,
    *systems: Annotated[
        str,
        Parameter(help="Two or more: MODEL, MODEL+few-shot (or +chain-of-thought, +honest, +respectful, +quote), or http://host/v1#MODEL."),
    ],
    by: Annotated[Literal["gold", "reward", "llm", "people"], Parameter(help="Who judges.")] = "gold",
    reward: Annotated[str, Parameter(help="The reward model that judges, by reward.")] = "reward",
    judge: Annotated[str, Parameter(help="OpenAI-compatible address of the judge, by llm.")] = "",
    judge_model: Annotated[str, Parameter(help="The judge's name at that address.")] = "",
    criteria: Annotated[
        tuple[str, ...], Parameter(help="Also ask an LLM judge for helpful, truthful or harmless alone.", negative="")
    ] = (),
    name: Name = "compare",
    again: Again = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[CompareConfig, Flat] = CompareConfig(),
) -> None:
    """Says which of two or more systems is preferred on held-out prompts, and how sure that is.

    Example: accord compare my-town base+few-shot sft ppo --by gold
    """
    from accord.runtime.project import Project
    from accord.stages.comparing import compare_stage

    found = compare_stage(
        Project.open(project),
        config,
        systems=systems,
        by=by,
        name=name,
        dtype=dtype,
        reward=reward,
        judge=judge,
        judge_model=judge_model,
        criteria=criteria,
        again=again,
    )
    _compared(found, json)


def _compared(found: dict[str, Any], json: bool) -> None:
    from accord.runtime.progress import table

    if json or "win_rate" not in found:
        if not json:
            print("Nobody has answered yet: the blind comparisons wait in the site (accord label), then run this again.")
        return say("compare", found.get("people", found) if not json else found, json)
    rows = [
        (duel, _three(rate), f"{found['ties'][duel]:.0%}", _three(found["win_rate_length_controlled"][duel]), _more(found, duel))
        for duel, rate in found["win_rate"].items()
    ]
    table(
        f"win rates by {found['judge']}, {found['prompts']} prompts", ["duel", "win rate", "ties", "at equal length", "to settle it"], rows
    )
    ranks = [(name, _three(each["strength"], 2), "{} to {}".format(*each["rank_range"])) for name, each in found["strength"].items()]
    table("Bradley-Terry strengths", ["system", "log-odds", "rank"], ranks)


def _more(found: dict[str, Any], duel: str) -> str:
    more = found["more_prompts"][duel]
    return "settled" if more == 0 else "no number of prompts would" if more is None else f"{more} more prompts"


def _three(figure: list[float | None], digits: int = 3) -> str:
    mean, low, high = figure
    return "not defined" if mean is None else f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
