"""The stages that measure labels: how far people agree, what is in doubt, and how many labels a goal takes."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from accord.errors import InputError, UsageError
from accord.feedback import answers
from accord.feedback.consensus import PREFERENCES, in_doubt
from accord.feedback.guidelines import reference
from accord.feedback.label_budget import Pilot, Point, anchored, by_redundancy, labels_for, pilot, plan
from accord.feedback.reliability import Reliability, between_groups, contested, reliability, split
from accord.feedback.store import Store
from accord.records import Prompt, RankedPrompt, Ranking, Response
from accord.runtime import lineage
from accord.runtime.project import Project
from accord.settings import AgreementConfig, PlanConfig, ScreeningConfig
from accord.stages.asking import world_of
from accord.world import World, labelers
from accord.world.demonstrations import MANNERS, write

By = Literal["", "group", "kind", "version"]
SLIPS = 0.12
"""Share of a pilot's responses that answer another prompt, as a small SFT model's do."""


def agreement_stage(project: Project, config: AgreementConfig, *, by: By = "") -> dict[str, Any]:
    """Every coefficient over the project's rankings, and again for each part of them.

    Args:
        by: the parts: labelers' groups (and every two groups against each other), kinds of task (a ranking that was not given in
            the site counts as "rank"), or guideline versions.

    Raises:
        InputError: no two labelers ranked the same responses.
    """
    with Store.open(project.store_url) as store:
        rankings, groups = list(store.rankings()), {person.id: person.group for person in store.labelers()}
        kinds = answers.kinds(store) if by == "kind" else {}
    draw = {"resamples": config.resamples, "seed": config.seed}
    limits = _screening(project)
    found: dict[str, Any] = _shown(reliability(rankings, **draw)) | {"in_doubt": _in_doubt(rankings, limits.sure)}
    if by:
        found["by"] = {key: _part(part, draw) for key, part in split(rankings, _key(by, groups, kinds)).items()}
    if by == "group":
        named = {labeler: group or "(none)" for labeler, group in groups.items()}
        between = between_groups(rankings, named, **draw)
        found["between"] = {f"{one} | {other}": list(each.dropped) for (one, other), each in between.items()}
        wide = contested(rankings, named)
        found |= {"contested_pairs": len(wide), "contested": [dataclasses.asdict(c) for c in wide[: config.contested]]}
    return _plain(found)


def _key(by: By, groups: Mapping[str, str], kinds: Mapping[str, str]) -> Callable[[Ranking], str]:
    def key(ranking: Ranking) -> str:
        if by == "group":
            return groups[ranking.labeler] or "(none)"
        return kinds.get(ranking.id, "rank") if by == "kind" else f"{ranking.guideline.set} {ranking.guideline.version}"

    return key


def plan_stage(project: Project, config: PlanConfig, *, by: Literal["auto", "answers", "world"] = "auto") -> dict[str, Any]:
    """What a budget of labels reaches, or how many labels an interval of a wanted width takes.

    Args:
        by: learn the constants from the answers in the store, from the world's labelers, or from the answers when there are some.

    Raises:
        UsageError: neither labels nor width is given, or both; there is no world to ask.
        InputError: the answers are too few, or none of their prompts has two labelers.
    """
    if (config.labels > 0) == (config.width > 0):
        raise UsageError(
            "say either how many labels there are or how wide an interval may be", where="plan", hint="--labels 3000, or --width 0.04"
        )
    with Store.open(project.store_url) as store:
        ranked, rankings = list(store.ranked_prompts()), list(store.rankings())
    source = by if by != "auto" else "answers" if rankings else "world"
    if source == "world":
        ranked, rankings = simulated(world_of(project), config)
    if not rankings:
        raise InputError("the store has no answers to plan from", where="plan", hint="--by world asks simulated labelers")
    known = pilot(ranked, rankings, held_out=config.held_out, seed=config.seed)
    measured = _measured(project, known.pairs)
    known = anchored(known, measured) if measured else known
    return _plain({"from": source, "pilot": _pilot(known), "measured": list(measured or [])} | _planned(known, config))


def simulated(world: World, config: PlanConfig) -> tuple[list[RankedPrompt], list[Ranking]]:
    """The world's labelers rank a pilot: responses written as a small SFT model answers, all groups, two labelers on the overlap."""
    rng, people, guideline = random.Random(f"plan {config.seed}"), labelers(world), reference("training")
    prompts = rng.sample(world.prompts, min(config.pilot, len(world.prompts)))
    ranked, rankings = list[RankedPrompt](), list[Ranking]()
    for prompt in prompts:
        responses = _written(world, prompt, config.k, rng)
        for person in rng.sample(people, 2 if rng.random() < config.overlap else 1):
            answer = person.rank(prompt, responses, guideline=guideline, at="", id=f"{prompt.id}-{person.record.id}")
            shown = {response.id: response for response in responses}
            rankings.append(answer)
            group = person.record.group
            ranked.append(RankedPrompt(prompt, tuple(shown[id] for id in answer.response_ids), answer.ranks, person.record.id, group))
    return ranked, rankings


def _written(world: World, prompt: Prompt, k: int, rng: random.Random) -> list[Response]:
    spec = world.specs[prompt.id]
    peers = [other for other in world.specs.values() if other.kind == spec.kind]
    texts = [write(rng.choice(peers) if rng.random() < SLIPS else spec, world.town, rng, rng.choice(tuple(MANNERS))) for _ in range(k)]
    return [Response(f"{prompt.id}/{i}", prompt.id, text, "pilot") for i, text in enumerate(texts)]


def _planned(known: Pilot, config: PlanConfig) -> dict[str, Any]:
    if config.labels:
        reached = dataclasses.asdict(plan(known, config.labels, overlap=config.overlap, held_out=config.held_out))
        rows = [{"labels_a_prompt": each, "prompts": n, "right": right} for each, n, right in by_redundancy(known, config.labels)]
        return reached | {"redundancy": rows}
    needed = labels_for(known, config.width, overlap=config.overlap, held_out=config.held_out)
    return {"width": config.width, **needed, "ceiling": known.ceiling}


def _measured(project: Project, pairs: float) -> Point | None:
    """What the project's best-fed reward model reached on labelers it did not learn from."""
    figures = [
        record.get("figures", {}) for record in map(lineage.read, map(project.model, project.models())) if record.get("stage") == "reward"
    ]
    points = [
        Point(round(f["rankings"] * pairs), f["accuracy_labelers"]) for f in figures if f.get("rankings") and f.get("accuracy_labelers")
    ]
    return max(points, default=None)


def _pilot(known: Pilot) -> dict[str, Any]:
    return {
        "rankings": known.rankings,
        "pairs_a_ranking": known.pairs,
        "agreement": known.agreement.mean,
        "reward_accuracy": known.accuracy.mean,
        "curve": dataclasses.asdict(known.curve),
        "points": [list(point) for point in known.points],
    }


def _screening(project: Project) -> ScreeningConfig:
    return ScreeningConfig(**project.settings.get("screening", {}))


def _shown(found: Reliability) -> dict[str, Any]:
    return {**dataclasses.asdict(found), "figures": {name: list(figure) for name, figure in found.figures.items()}}


def _part(rankings: Sequence[Ranking], draw: Mapping[str, int]) -> dict[str, Any]:
    """A part's figures; one in which nobody overlaps says how many rankings it has."""
    try:
        return _shown(reliability(rankings, **draw))
    except InputError:
        return {"rankings": len(rankings), "figures": {}}


def _in_doubt(rankings: Sequence[Ranking], sure: float) -> dict[str, Any]:
    """Pairs that two labelers or more judged and whose Dawid-Skene consensus is not sure: how many, and the first for adjudication."""
    doubts, judged = in_doubt(rankings, sure=sure)
    first = [
        {
            "prompt_id": d.item[0],
            "first": d.item[1],
            "second": d.item[2],
            "likeliest": PREFERENCES[d.likeliest],
            "probability": d.probability,
        }
        for d in doubts[:10]
    ]
    return {"pairs": len(doubts), "of": judged, "first": first}


def _plain(value: Any) -> Any:
    """For JSON: numbers to four digits, what is not defined null."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
