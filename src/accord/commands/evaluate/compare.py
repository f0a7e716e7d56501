"""`accord compare`: which of two or more systems is preferred on held-out prompts, by any judge, and how sure that is.

Needs two systems, prompts of held-out users, and a judge: the built-in world, a reward model, an LLM's address, or people at the
labeling site. Leaves a run with the answers side by side; answers stay in the project's cache, so nothing is generated twice.
Strengths follow Bradley and Terry 1952; the length-controlled win rate follows Dubois et al. 2024. docs/compare.md defines each metric.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

import numpy as np
from cyclopts import Parameter

from accord.commands.app import Again, Compute, ComputeFlags, Flat, ProjectPath, RunName, shows
from accord.commands.evaluate.answers import Answers
from accord.commands.evaluate.compare_function import BUILT_IN, By, by_function, function_of, name_of
from accord.commands.evaluate.compare_judges import by_gold, by_llm, by_reward, judge_at_hand
from accord.commands.evaluate.compare_metrics import (
    diversity,
    duel_metrics,
    mean_words,
    pairs_of,
    print_comparison,
    scores_by_scene,
    side_by_side,
    strengths,
)
from accord.commands.evaluate.compare_people import by_people
from accord.commands.evaluate.held_out import held_out_prompts
from accord.commands.evaluate.text_figures import RESTS_ON, references_of, semantic_spreads, text_figures
from accord.commands.models import asks, compute_dtype, digest_of, load_model, locate
from accord.commands.scenes import tagged_prompts
from accord.commands.world import has_world, world_of
from accord.data.classifiers.project_set import of_project
from accord.errors import UsageError
from accord.evaluation.duels import duels
from accord.records import Sampling
from accord.runtime import plugins
from accord.runtime.device import choose_device
from accord.runtime.jsonable import jsonable
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import derive
from accord.settings import CompareConfig

BY_HELP = (
    f"Who judges: {', '.join(BUILT_IN)}, or a plugin (docs/plugins.md). auto: gold in a built-in world, else a reward model, else people."
)
SYSTEMS_HELP = (
    "Two or more: MODEL, MODEL+few-shot (or +chain-of-thought, +honest, +respectful, +quote, +concise, +scenes, +NAME of [conditions]), "
    "or http://host/v1#MODEL."
)


@shows(print_comparison)
def compare(
    project: ProjectPath,
    *systems: Annotated[str, Parameter(help=SYSTEMS_HELP)],
    by: Annotated[By, Parameter(help=BY_HELP)] = "auto",
    reward: Annotated[str, Parameter(help="The reward model that judges, by reward; the newest when empty.")] = "",
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

    In Python ``by`` may be a function ``judge(prompts, first, second)`` that returns a number per prompt:
    1 where the first answer is better, 0 where the second is, 0.5 for a tie.

    Returns the run's metrics; where people have not answered yet, the number of waiting tasks.

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
    if not judging:
        by, reward = judge_at_hand(opened, cast("str", by), reward)
    choose_device(flags.device)
    dtype = compute_dtype(flags.dtype)
    known = world_of(opened).specs if by == "gold" and has_world(opened) else None
    prompts = held_out_prompts(opened, config.prompts, split=config.split, use_case=config.use_case, known=known)
    prompts = tagged_prompts(opened, prompts)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    answered = Answers(opened, sampling, config.seed, dtype, config.shots).of(systems, prompts)
    if judging:
        judged = by_function(answered, judging, name_of(by))
    elif by == "reward":
        judged = by_reward(opened, answered, config, reward, dtype)
    elif by == "llm":
        judged = by_llm(opened, answered, config, judge, judge_model, criteria)
    elif by == "people":
        judged = by_people(opened, answered, config)
    else:
        judged = by_gold(opened, answered, config)
    if np.isnan(judged.values).all():  # people were asked, and nobody has answered
        return dict(judged.metrics)

    if again:
        Run.discard(opened.run(name), "compare")
    judged_by = judging_digest(opened, by, reward, judge)
    inputs = {**answered.inputs, "judge": judged_by}
    run = Run.start(opened.run(name), stage="compare", config=config, inputs=inputs, resume=False, seed=config.seed)
    with run.finishing() as metrics:
        draw = {"resamples": config.bootstrap, "seed": config.seed}
        found = duels(answered.names, answered.prompts, answered.texts, judged.values, criteria=judged.criteria, **draw)
        metrics |= {
            "judge": name_of(by),
            "systems": list(answered.names),
            "prompts": len(answered.prompts),
            "prompts_left_out": answered.left_out,
            "generated": answered.generated,
        }
        metrics["finished"] = {name: sum(done) / len(done) for name, done in zip(answered.names, answered.finished, strict=True)}
        metrics |= jsonable(duel_metrics(found, judged, answered) | scores_by_scene(judged, answered, draw))
        if config.diversity and config.temperature:
            other_seed, twice = derive(config.seed, "second answers"), answered.prompts[: config.diversity]
            second = Answers(opened, sampling, other_seed, dtype, config.shots).of(systems, twice)
            metrics["diversity"] = diversity(answered, second)
            if local := next((system for system in answered.systems if not system.remote), None):
                # One model embeds the answers of all systems, so that their spreads can be compared.
                embedder = load_model(opened, local.model)
                for each, spread in semantic_spreads(embedder, pairs_of(answered, second), dtype).items():
                    metrics["diversity"][each]["semantic_spread"] = spread
                metrics["embedded_by"] = local.model
        texts = dict(zip(answered.names, answered.texts, strict=True))
        classifiers = of_project(opened, asks(opened, dtype=flags.dtype))
        metrics["text"] = jsonable(text_figures(answered.prompts, texts, references_of(opened, answered.prompts), draw, classifiers))
        metrics |= classifiers.basis(**RESTS_ON)
        metrics |= jsonable({"strength": strengths(answered, judged, found, draw), "length": mean_words(answered)} | dict(judged.metrics))
        run.samples(0, side_by_side(answered, judged, found))
    return run.summary


def judging_digest(project: Project, by: By, reward: str, address: str) -> str:
    """Return the identity of the judge for the run's record: a digest, an address, or the place of its code."""
    if callable(by):
        return f"{getattr(by, '__module__', '')}:{name_of(by)}"
    if by == "reward":
        return digest_of(locate(project, reward))
    return address or (by if by in BUILT_IN else f"{by} of {plugins.origin('judges', by)}")
