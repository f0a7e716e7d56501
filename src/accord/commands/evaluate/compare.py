"""`accord compare`: which of two or more systems is preferred on held-out prompts, by any judge, and how sure that is.

Needs two systems, prompts of held-out users, and a judge: the built-in world, a reward model, an LLM's address, or people at the
labeling site. Leaves a run with the answers side by side; answers stay in the project's cache, so nothing is generated twice.
Strengths follow Bradley and Terry 1952; the length-controlled win rate follows Dubois et al. 2024. docs/compare.md defines each metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from cyclopts import Parameter

from accord.commands.app import Again, Compute, ComputeFlags, Flat, ProjectPath, RunName, interval_text, shows, table_of
from accord.commands.evaluate.answers import Answered, Answers
from accord.commands.evaluate.compare_judges import Judged, JudgeFunction, by_function, by_gold, by_llm, by_reward
from accord.commands.evaluate.compare_people import by_people
from accord.commands.evaluate.held_out import held_out_prompts
from accord.commands.models import compute_dtype, digest_of, locate
from accord.commands.world import has_world, world_of
from accord.errors import UsageError
from accord.evaluation.bradley_terry import standings
from accord.evaluation.duels import Duel, duels
from accord.records import Sampling
from accord.runtime import plugins
from accord.runtime.device import choose_device
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import CompareConfig

if TYPE_CHECKING:
    By = str | JudgeFunction
else:
    By = str  # a function is for Python callers; the command line takes a name
BUILT_IN = ("gold", "reward", "llm", "people")
"""Judges that no plugin may be named like."""
BY_HELP = f"Who judges: {', '.join(BUILT_IN)}, or the name of a plugin (docs/plugins.md)."
SYSTEMS_HELP = "Two or more: MODEL, MODEL+few-shot (or +chain-of-thought, +honest, +respectful, +quote), or http://host/v1#MODEL."


def print_comparison(metrics: Mapping[str, Any]) -> None:
    """Print win rates and strengths, or what waits for people."""
    if "win_rate" not in metrics:
        print("Nobody has answered yet: the blind comparisons wait in the site (accord label), then run this again.")
        table_of("compare", metrics.get("people", metrics))
        return
    rows: list[tuple[str, ...]] = []
    for duel, rate in metrics["win_rate"].items():
        equal_length = interval_text(metrics["win_rate_length_controlled"][duel])
        rows.append((duel, interval_text(rate), f"{metrics['ties'][duel]:.0%}", equal_length, _needed(metrics["more_prompts"][duel])))
    title = f"win rates by {metrics['judge']}, {metrics['prompts']} prompts"
    table(title, ["duel", "win rate", "ties", "at equal length", "to settle it"], rows)
    ranks = [
        (name, interval_text(each["strength"], 2), "{} to {}".format(*each["rank_range"])) for name, each in metrics["strength"].items()
    ]
    table("Bradley-Terry strengths", ["system", "log-odds", "rank"], ranks)


def _needed(more_prompts: int | None) -> str:
    if more_prompts is None:
        return "no number of prompts would"
    return f"{more_prompts} more prompts" if more_prompts else "settled"


@shows(print_comparison)
def compare(
    project: ProjectPath,
    *systems: Annotated[str, Parameter(help=SYSTEMS_HELP)],
    by: Annotated[By, Parameter(help=BY_HELP)] = "gold",
    reward: Annotated[str, Parameter(help="The reward model that judges, by reward.")] = "reward",
    judge: Annotated[str, Parameter(help="OpenAI-compatible address of the judge, by llm.")] = "",
    judge_model: Annotated[str, Parameter(help="The judge's name at that address.")] = "",
    criteria: Annotated[
        tuple[str, ...], Parameter(help="Also ask an LLM judge for helpful, truthful or harmless alone.", negative="")
    ] = (),
    name: RunName = "compare",
    again: Again = False,
    flags: ComputeFlags = Compute(),
    config: Annotated[CompareConfig, Flat] = CompareConfig(),
) -> dict[str, Any]:
    """Say which of two or more systems is preferred on held-out prompts, and how sure that is.

    In Python ``by`` may be a function ``judge(prompts, first, second)`` that returns what each first answer is worth, from 0 to 1.

    Returns the run's metrics; where people have not answered yet, what waits for them.

    Example: accord compare my-town base+few-shot sft ppo --by gold

    Raises:
        UsageError: fewer than two systems, an unknown one, or a judge that is not there.
        ModelError: there is no such model.
        InputError: there are no such prompts, or one is longer than a model's context.
        RunError: a finished run of this name is there, the judge's server does not answer, or a judge function fails.
    """
    if len(dict.fromkeys(systems)) < 2:
        raise UsageError("two different systems at least", where="compare", hint="accord compare PROJECT sft ppo")
    if by == "llm" and not judge:
        raise UsageError("by llm needs an address", where="compare", hint="--judge http://127.0.0.1:8000/v1 --judge-model NAME")
    judging = function_of(by)
    opened = Project.open(project)
    choose_device(flags.device)
    dtype = compute_dtype(flags.dtype)
    known = world_of(opened).specs if by == "gold" and has_world(opened) else None
    prompts = held_out_prompts(opened, config.prompts, split=config.split, use_case=config.use_case, known=known)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    answered = Answers(opened, sampling, config.seed, dtype, config.shots).of(systems, prompts)
    if judging:
        judged = by_function(answered, judging, name_of(by))
    else:
        judged = judgements(
            opened, answered, config, by=name_of(by), reward=reward, judge=judge, judge_model=judge_model, criteria=criteria, dtype=dtype
        )
    if np.isnan(judged.values).all():
        return dict(judged.metrics)

    if again:
        Run.discard(opened.run(name), "compare")
    judged_by = judging_digest(opened, by, reward, judge)
    inputs = {**answered.inputs, "judge": judged_by}
    run = Run.start(opened.run(name), stage="compare", config=config, inputs=inputs, resume=False, seed=config.seed)
    with run.finishing() as metrics:
        draw = {"resamples": config.bootstrap, "seed": config.seed}
        found = duels(answered.names, answered.prompts, answered.texts, judged.values, criteria=judged.criteria, **draw)
        metrics |= {"judge": name_of(by), "systems": list(answered.names), "prompts": len(prompts), "generated": answered.generated}
        metrics |= jsonable(duel_metrics(found))
        metrics |= jsonable({"strength": strengths(answered, judged, draw), "length": mean_words(answered)} | dict(judged.metrics))
        run.samples(0, side_by_side(answered, judged, found))
    return run.summary


def judgements(
    project: Project,
    answered: Answered,
    config: CompareConfig,
    *,
    by: str,
    reward: str,
    judge: str,
    judge_model: str,
    criteria: Sequence[str],
    dtype: torch.dtype,
) -> Judged:
    """Return what a built-in judge says of the answers."""
    match by:
        case "reward":
            return by_reward(project, answered, config, reward, dtype)
        case "llm":
            return by_llm(project, answered, config, judge, judge_model, criteria)
        case "people":
            return by_people(project, answered, config)
        case _:
            return by_gold(project, answered, config)


def function_of(by: By) -> JudgeFunction | None:
    """Return the function that judges, a caller's own or a plugin's; None for a built-in judge.

    Raises:
        UsageError: there is no such judge, or its plugin cannot be imported.
    """
    if callable(by):
        return by
    if not plugins.has("judges", by, BUILT_IN):
        if by not in BUILT_IN:
            raise UsageError(f"there is no judge {by!r}", where="--by", hint=plugins.known(BUILT_IN, "judges"))
        return None
    return plugins.load_function("judges", by)


def name_of(by: By) -> str:
    """Return what a judge is called in the metrics."""
    return getattr(by, "__name__", type(by).__name__) if callable(by) else by


def judging_digest(project: Project, by: By, reward: str, address: str) -> str:
    """Return what the run's record names as its judge."""
    if callable(by):
        return f"{getattr(by, '__module__', '')}:{name_of(by)}"
    if by == "reward":
        return digest_of(locate(project, reward))
    return address or (by if by in BUILT_IN else f"{by} of {plugins.origin('judges', by)}")


def duel_metrics(found: Sequence[Duel]) -> dict[str, Any]:
    """Return the metrics of all duels, by metric and then by duel."""
    return {
        "win_rate": {duel.name: duel.win_rate for duel in found},
        "ties": {duel.name: duel.ties for duel in found},
        "judged": {duel.name: duel.prompts for duel in found},
        "more_prompts": {duel.name: duel.more_prompts for duel in found},
        "win_rate_length_controlled": {duel.name: duel.length_controlled.win_rate for duel in found},
        "length_effect": {duel.name: duel.length_controlled.phi for duel in found},
        "win_rate_by_use_case": {duel.name: dict(duel.by_use_case) for duel in found},
        "win_rate_by_language": {duel.name: dict(duel.by_language) for duel in found},
        "win_rate_by_criterion": {duel.name: dict(duel.by_criterion) for duel in found if duel.by_criterion},
    }


def strengths(answered: Answered, judged: Judged, draw: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return each system's Bradley-Terry strength with its rank and the ranks that it may have."""
    found: dict[str, dict[str, Any]] = {}
    for each in standings(answered.names, judged.values, **draw):
        found[each.name] = {"strength": each.strength, "rank": each.rank, "rank_range": [each.best, each.worst]}
    return found


def mean_words(answered: Answered) -> dict[str, float]:
    """Return the mean words of each system's answers; a language without spaces has one word per stretch of text."""
    means: dict[str, float] = {}
    for name, texts in zip(answered.names, answered.texts, strict=True):
        means[name] = float(np.mean([len(text.split()) for text in texts]))
    return means


def side_by_side(answered: Answered, judged: Judged, found: Sequence[Duel]) -> list[dict[str, Any]]:
    """Return a row per prompt: the answers, who was preferred, and the scores where the judge gives any."""
    place = {name: i for i, name in enumerate(answered.names)}
    rows: list[dict[str, Any]] = []
    for i, prompt in enumerate(answered.prompts):
        row: dict[str, Any] = {
            "prompt_id": prompt.id,
            "prompt": "\n".join(message.content for message in prompt.messages),
            "use_case": prompt.use_case,
            "responses": {name: texts[i] for name, texts in zip(answered.names, answered.texts, strict=True)},
            "preferred": {duel.name: judged.values[i, place[duel.first], place[duel.second]] for duel in found},
        }
        if judged.scores is not None:
            row["scores"] = dict(zip(answered.names, judged.scores[i].tolist(), strict=True))
        rows.append(jsonable(row))
    return rows
