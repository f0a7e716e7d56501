"""`accord solve`: how often a model's final answers to held-out problems are right, alone or by the majority of several.

Needs a language model and problems of held-out users with their answers (`accord problems`, or GSM8K by `accord import`). Leaves
nothing but the metrics. Majority votes are self-consistency, Wang et al. 2023, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

from cyclopts import Parameter

from accord.algorithms.rewards import final_answer
from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath
from accord.commands.models import answerable, compute_dtype, load_model, respond
from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.evaluation.majority import right
from accord.evaluation.statistics import rate
from accord.feedback.answer_keys import NO_PROBLEMS, with_answer_keys
from accord.feedback.store import Store
from accord.records import Sampling
from accord.runtime.device import choose_device
from accord.runtime.project import Project
from accord.settings import SolveConfig

KINDS = "person simulated"
"""Whose answers are the key."""
Votes = Sequence[Sequence[Decimal | None]]
"""The final answers of each problem's responses; None where a response has none."""


def solve(
    project: ProjectPath,
    *,
    model: Annotated[str, Parameter(help="The model that answers.")] = "star",
    flags: ComputeFlags = Compute(),
    config: Annotated[SolveConfig, Flat] = SolveConfig(),
) -> dict[str, Any]:
    """Measure how often a model's final answers to held-out problems are right, alone or by the majority of several.

    Example: accord solve my-town --model star --votes 8 --temperature 0.7

    Raises:
        InputError: there are no such problems.
        ModelError: there is no such model.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    with Store.open(opened.store_url) as store:
        problems = with_answer_keys(store, "test", KINDS)[: config.prompts or None]
    if not problems:
        raise InputError("the store has no held-out problems with an answer", where=opened.store_name, hint=NO_PROBLEMS)
    solver = load_model(opened, model)
    sampler = LocalSampler(solver.lm, stop=solver.format.stop, dtype=compute_dtype(flags.dtype))
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    prompts = answerable([problem.prompt for problem in problems], solver.format)
    fitting = {prompt.id for prompt in prompts}
    left_out = len(problems) - len(prompts)
    problems = [problem for problem in problems if problem.prompt.id in fitting]
    groups, _ = respond(solver, sampler, prompts, n=config.votes, sampling=sampling, seed=config.seed, batch_size=64)
    votes: list[list[Decimal | None]] = []
    for group in groups:
        votes.append([final_answer(response.text) for response in group])
    keys = [answer for problem in problems if (answer := final_answer(problem.text)) is not None]

    metrics: dict[str, Any] = {
        "model": model,
        "problems": len(keys),
        "votes": config.votes,
        "prompts_left_out": left_out,
        "accuracy": accuracy(votes, keys, config),
    }
    if config.votes > 1:
        metrics["single"] = accuracy([answers[:1] for answers in votes], keys, config)
    unanswered = sum(answers.count(None) for answers in votes)
    return metrics | {"unanswered": unanswered / (len(votes) * config.votes)}


def accuracy(votes: Votes, keys: Sequence[Decimal], config: SolveConfig) -> list[float]:
    """Return the share of problems whose majority is right, with its interval."""
    share = rate(right(votes, keys), resamples=config.bootstrap, seed=config.seed)
    return [round(value, 4) for value in share]
