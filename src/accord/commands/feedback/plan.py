"""`accord plan`: estimate how many labels you need, or how far a budget of labels goes.

Needs answers from two labelers on some prompts, or the built-in world to simulate them. The three laws behind the estimate are
described in feedback/label_budget.py. Loads no torch.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from accord.commands.app import Flat, ProjectPath, shows
from accord.commands.feedback.plan_pilot import simulated_pilot
from accord.commands.world import world_of
from accord.errors import InputError, UsageError
from accord.feedback import label_budget
from accord.feedback.label_budget import Pilot, Point
from accord.feedback.store import Store
from accord.runtime import lineage
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.settings import PlanConfig


def _show(found: dict[str, Any]) -> None:
    rows = [(key.replace("_", " "), value) for key, value in found.items() if not isinstance(value, dict | list)]
    table(f"plan, from {found['pilot']['rankings']} rankings", ["metric", "value"], rows)
    if "redundancy" in found:
        redundancy = [tuple(row.values()) for row in found["redundancy"]]
        table("labels per prompt: the majority of how many?", ["labels per prompt", "prompts", "share right"], redundancy)


@shows(_show)
def plan(
    project: ProjectPath,
    *,
    by: Annotated[Literal["auto", "answers", "world"], Parameter(help="Plan from the answers so far or the world's labelers.")] = "auto",
    config: Annotated[PlanConfig, Flat] = PlanConfig(),
) -> dict[str, Any]:
    """Estimate what a number of labels reaches (--labels), or how many an interval takes (--width).

    ``by="auto"`` plans from the answers when there are some.

    Example: accord plan my-town --labels 3000

    Raises:
        UsageError: neither labels nor width is given, or both; or there is no world to simulate labelers.
        InputError: the answers are too few, or none of their prompts has two labelers.
    """
    if (config.labels > 0) == (config.width > 0):
        what = "say either how many labels there are or how wide an interval may be"
        raise UsageError(what, where="plan", hint="--labels 3000, or --width 0.04")
    opened = Project.open(project)
    with Store.open(opened.store_url) as store:
        ranked, rankings = list(store.ranked_prompts()), list(store.rankings())
    source = by if by != "auto" else "answers" if rankings else "world"
    if source == "world":
        ranked, rankings = simulated_pilot(world_of(opened), config)
    if not rankings:
        raise InputError("the store has no answers to plan from", where="plan", hint="--by world asks simulated labelers")
    pilot = label_budget.pilot(ranked, rankings, held_out=config.held_out, seed=config.seed)
    measured = _measured(opened, pilot.pairs)
    if measured:
        pilot = label_budget.anchored(pilot, measured)
    return jsonable({"from": source, "pilot": _pilot(pilot), "measured": measured or []} | _planned(pilot, config))


def _measured(project: Project, pairs: float) -> Point | None:
    """Return the accuracy of the reward model with the most comparisons, on labelers whom it did not learn from.

    Args:
        pairs: comparisons per ranking.
    """
    points = list[Point]()
    for name in project.models():
        record = lineage.read(project.model(name))
        metrics = lineage.metrics_of(record)
        rankings, accuracy = metrics.get("rankings"), metrics.get("accuracy_labelers")
        if record.get("stage") == "reward" and rankings and accuracy:
            points.append(Point(round(rankings * pairs), accuracy))
    return max(points, default=None)


def _pilot(pilot: Pilot) -> dict[str, Any]:
    return {
        "rankings": pilot.rankings,
        "pairs_a_ranking": pilot.pairs,
        "agreement": pilot.agreement.mean,
        "reward_accuracy": pilot.accuracy.mean,
        "curve": dataclasses.asdict(pilot.curve),
        "points": pilot.points,
    }


def _planned(pilot: Pilot, config: PlanConfig) -> dict[str, Any]:
    shares = {"overlap": config.overlap, "held_out": config.held_out}
    if config.width:
        needed = label_budget.labels_for(pilot, config.width, **shares)
        return {"width": config.width, **needed, "ceiling": pilot.ceiling}
    redundancy = label_budget.by_redundancy(pilot, config.labels)
    rows = [{"labels_a_prompt": each, "prompts": prompts, "right": right} for each, prompts, right in redundancy]
    return dataclasses.asdict(label_budget.plan(pilot, config.labels, **shares)) | {"redundancy": rows}
