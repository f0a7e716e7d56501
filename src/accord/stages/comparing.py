"""The stage that compares systems: `accord compare`. Any two or more, on held-out prompts, by any judge."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch

from accord.errors import UsageError
from accord.evaluation.bradley_terry import Standing, standings
from accord.evaluation.duels import Duel, duels
from accord.evaluation.statistics import Floats
from accord.records import Sampling
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import CompareConfig
from accord.stages.answering import Answered, Answers, held_out
from accord.stages.blind import by_people
from accord.stages.judging import Judged, by_gold, by_llm, by_reward
from accord.stages.opening import compute_dtype, digest_of, finishing, locate

By = Literal["gold", "reward", "llm", "people"]


def compare_stage(
    project: Project,
    config: CompareConfig,
    *,
    systems: Sequence[str],
    by: By,
    name: str,
    dtype: str,
    reward: str = "reward",
    judge: str = "",
    judge_model: str = "",
    criteria: Sequence[str] = (),
    again: bool = False,
) -> dict[str, Any]:
    """Win rates of every pair of systems; returns the run's figures, or what is waiting where people have not answered yet.

    Args:
        systems: ``MODEL`` or ``MODEL+CONDITION``, see evaluation.prompting.
        by: who judges; ``llm`` needs the address ``judge`` and ``judge_model``, ``reward`` the name of a reward model.
        criteria: what an LLM judge is asked besides its overall preference.
        again: takes the place of a finished run of this name; no answer is generated twice for it.

    Raises:
        UsageError: fewer than two systems, an unknown one, or a judge that is not there.
        ModelError, InputError, RunError: see answering and judging.
    """
    if len(dict.fromkeys(systems)) < 2:
        raise UsageError("two different systems at least", where="compare", hint="accord compare PROJECT sft ppo")
    if by == "llm" and not judge:
        raise UsageError("by llm needs an address", where="compare", hint="--judge http://127.0.0.1:8000/v1 --judge-model NAME")
    compute = compute_dtype(dtype)
    prompts = held_out(project, split=config.split, use_case=config.use_case, limit=config.prompts)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    said = Answers(project, sampling, config.seed, compute, config.shots).of(systems, prompts)
    judged = _judged(project, said, config, by, reward, judge, judge_model, criteria, compute)
    if np.isnan(judged.values).all():
        return dict(judged.figures)
    return _written(project, config, said, judged, by, name, reward if by == "reward" else judge, again)


def _judged(
    project: Project,
    said: Answered,
    config: CompareConfig,
    by: By,
    reward: str,
    judge: str,
    judge_model: str,
    criteria: Sequence[str],
    dtype: torch.dtype,
) -> Judged:
    match by:
        case "gold":
            return by_gold(project, said, config)
        case "reward":
            return by_reward(project, said, config, reward, dtype)
        case "llm":
            return by_llm(project, said, config, judge, judge_model, criteria)
        case "people":
            return by_people(project, said, config)


def _written(
    project: Project, config: CompareConfig, said: Answered, judged: Judged, by: By, name: str, judge: str, again: bool
) -> dict[str, Any]:
    if again:
        forget(project, name, "compare")
    inputs = dict(said.inputs) | {"judge": digest_of(locate(project, judge)) if by == "reward" else judge or by}
    run = Run.start(project.run(name), stage="compare", config=config, inputs=inputs, resume=False, seed=config.seed)
    with finishing(run) as figures:
        draw = {"resamples": config.bootstrap, "seed": config.seed}
        found = duels(said.names, said.prompts, said.texts, judged.values, criteria=judged.criteria, **draw)
        ranked = standings(said.names, judged.values, **draw) if len(said.systems) > 1 else []
        figures |= plain(
            {"judge": by, "systems": list(said.names), "prompts": len(said.prompts), "generated": said.generated}
            | _duels(found)
            | {"strength": {each.name: _standing(each) for each in ranked}, "length": _lengths(said)}
            | dict(judged.figures)
        )
        run.samples(0, _rows(said, judged, found))
    return run.summary


def forget(project: Project, name: str, stage: str) -> None:
    """Removes a run of this stage, so that it can be made again. Raises UsageError when the run is another stage's."""
    folder = project.run(name)
    if not folder.exists():
        return
    config = folder / "config.json"
    if config.exists() and f'"stage": "{stage}"' not in config.read_text("utf-8"):
        raise UsageError(f"is no run of {stage}", where=str(folder), hint="choose another --name")
    shutil.rmtree(folder)


def _duels(found: Sequence[Duel]) -> dict[str, Any]:
    """The figures of all duels, by figure and then by duel; docs/compare.md defines each."""
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


def _standing(standing: Standing) -> dict[str, Any]:
    return {"strength": standing.strength, "rank": standing.rank, "rank_range": [standing.best, standing.worst]}


def _lengths(said: Answered) -> dict[str, float]:
    """Mean words of each system's answers (characters where a language has no spaces count as part of a word)."""
    return {name: float(np.mean([len(text.split()) for text in texts])) for name, texts in zip(said.names, said.texts, strict=True)}


def _rows(said: Answered, judged: Judged, found: Sequence[Duel]) -> list[dict[str, Any]]:
    """Answers side by side with what they were worth, one row a prompt."""
    place = {name: i for i, name in enumerate(said.names)}
    return [
        plain(
            {
                "prompt_id": prompt.id,
                "prompt": "\n".join(message.content for message in prompt.messages),
                "use_case": prompt.use_case,
                "responses": {name: texts[row] for name, texts in zip(said.names, said.texts, strict=True)},
                "preferred": {duel.name: judged.values[row, place[duel.first], place[duel.second]] for duel in found},
            }
            | ({"scores": dict(zip(said.names, _row(judged.scores, row), strict=True))} if judged.scores is not None else {})
        )
        for row, prompt in enumerate(said.prompts)
    ]


def _row(scores: Floats, row: int) -> list[float]:
    return scores[row].tolist()


def plain(value: Any) -> Any:
    """For JSON: numbers to four digits, what is not defined null, named tuples lists."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in cast("list[Any]", value)]
    if isinstance(value, np.generic):
        return plain(cast("Any", value).item())
    return (round(value, 4) if math.isfinite(value) else None) if isinstance(value, float) else value
