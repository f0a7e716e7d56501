"""Train again with the new records, under names that count up: reward-2, ppo-2 ... Loads torch only once something is trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from accord.commands.app import RunFlags
from accord.commands.serve.round_news import news
from accord.commands.serve.trials import hold
from accord.feedback import outbox
from accord.feedback.store import Store
from accord.feedback.traces import chat_turns
from accord.runtime.project import Project, sections
from accord.settings import RoundConfig
from accord.settings.methods import METHODS

STAGES = ("sft", "reward", *METHODS)
"""The stages that a round can run, in this order."""


def run_round(project: Project, config: RoundConfig, *, base: str, dtype: Any = "auto") -> dict[str, Any]:
    """Train the stages that the settings name, each from the newest model before it. Who answers in the chat stays the same.

    Returns:
        The name of the model by stage, and how many chat turns the last one and its ancestors learned from.
    """
    with Store.open(project.store_url) as store:
        hold(project, store)
    wanted = config.stages.replace(",", " ").split() or _needed(project, config)
    made: dict[str, str] = {}
    for stage in STAGES:
        if stage not in wanted:
            continue
        name = next_name(project, stage)
        given: dict[str, Any] = {"name": name, "flags": RunFlags(dtype=dtype), "config": _settings(project, stage, config)}
        if stage == "sft":
            given["base"] = base
        else:
            given["sft"] = made.get("sft", newest(project, "sft"))
        if stage in METHODS and METHODS[stage].samples:
            given["reward"] = made.get("reward", newest(project, "reward"))
        _command(stage)(project, **given)
        made[stage] = name
    last = list(made.values())[-1]
    with Store.open(project.store_url) as store, store.write() as connection:
        outbox.emit(connection, "round.ready", {"models": made}, now=datetime.now(UTC))
    return {**made, "chat_turns_learned_from": len({turn.turn for turn in chat_turns(project, last)})}


def next_name(project: Project, stage: str) -> str:
    """Return the name of a stage's next run: reward, reward-2, reward-3 ..."""
    taken, number = {*project.models(), *project.runs()}, 1
    while (name := stage if number == 1 else f"{stage}-{number}") in taken:
        number += 1
    return name


def newest(project: Project, stage: str) -> str:
    """Return the latest model that a stage made, or the stage's own name when there is none."""
    latest, highest = stage, 0
    for name in project.models():
        counted = re.fullmatch(rf"{re.escape(stage)}(?:-(\d+))?", name)
        if counted and int(counted[1] or 1) > highest:
            latest, highest = name, int(counted[1] or 1)
    return latest


def _needed(project: Project, config: RoundConfig) -> list[str]:
    """Return the stages to run when none is named: SFT only when there are new demonstrations."""
    new = news(project, config)["new"]
    return [*(["sft"] if new["demonstrations"] else []), "reward", "ppo"]


def _settings(project: Project, stage: str, config: RoundConfig) -> Any:
    """Return a stage's settings as accord.toml has them, learning from the round's kinds of labelers."""
    kind = sections()[stage]
    settings = kind(**{"seed": project.settings.get("project", {}).get("seed", 0), **project.settings.get(stage, {})})
    return replace(settings, kinds=config.kinds) if any(field.name == "kinds" for field in fields(kind)) else settings


def _command(stage: str) -> Callable[..., Any]:
    """Return a stage's command, whose module loads torch."""
    return getattr(import_module(f"accord.commands.train.{stage}"), stage)
