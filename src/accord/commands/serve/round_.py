"""`accord round`: show the user feedback since the answering model was trained, and learn from it.

Needs a project whose chat has been used (`accord chat`). Without flags it only looks. `--queue` leaves tasks for labelers, `--run`
leaves runs and models under names that count up, `--trial` a blind trial on live turns. Loads torch only to run or train a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath, interval_text, shows
from accord.commands.serve import trials
from accord.commands.serve.round_news import news
from accord.commands.serve.round_queue import queue_prompts
from accord.commands.serve.round_run import newest, run_round
from accord.errors import UsageError
from accord.runtime.device import choose_device
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.settings import ChatConfig, RoundConfig


def show_round(metrics: Mapping[str, Any]) -> None:
    """Print the metrics; a group of metrics becomes a line per member."""
    lines: list[tuple[str, str]] = []
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            members = cast("Mapping[str, Any]", value)
            lines += [(f"{key}: {name}", _text(member)) for name, member in members.items()]
        else:
            lines.append((key, _text(value)))
    table("round", ["metric", "value"], lines)


@shows(show_round)
def round_(
    project: ProjectPath,
    *,
    queue: Annotated[bool, Parameter(help="Turn real prompts of the chat into labeling tasks.", negative="")] = False,
    run: Annotated[bool, Parameter(help="Train again with the new feedback.", negative="")] = False,
    trial: Annotated[str, Parameter(help="Compare this model blindly with the one that answers, on live turns.")] = "",
    end_trial: Annotated[bool, Parameter(help="End the trial that runs.", negative="")] = False,
    base: Annotated[str, Parameter(help="Base model of a new SFT model.")] = "base",
    reward: Annotated[str, Parameter(help="Reward model to ask where it is unsure; the newest by default, none asks nobody.")] = "",
    flags: ComputeFlags = Compute(),
    config: Annotated[RoundConfig, Flat] = RoundConfig(),
) -> dict[str, Any]:
    """Show user feedback since the last model; queue it for labelers, learn from it, or try a new model on live turns.

    Example: accord round my-town --trial ppo-2

    Raises:
        UsageError: more than one of ``queue``, ``run``, ``trial`` and ``end_trial`` was given; the model on trial answers already.
        ModelError: there is no such model, or none that can be talked to.
        InputError: no prompt of the chat was accepted yet, or no trial is running.
        StoreError: a trial is running already.
    """
    opened = Project.open(project)
    if flags.device != "auto":  # only looking at a round loads no torch
        choose_device(flags.device)
    if sum((queue, run, bool(trial), end_trial)) > 1:
        raise UsageError("one of --queue, --run, --trial and --end-trial at a time", where="accord round")
    if trial:
        return trials.begin_trial(opened, trial, config)
    if end_trial:
        return trials.end_trial(opened, config)
    if run:
        return run_round(opened, config, base=base, dtype=flags.dtype)
    asked = reward or newest(opened, "reward")
    asked = asked if asked in opened.models() else ""
    if queue:
        chat = ChatConfig(**opened.settings.get("chat", {}))
        return queue_prompts(opened, config, chat, reward=asked, dtype=flags.dtype)
    return news(opened, config, reward=asked, dtype=flags.dtype)


def _text(value: Any) -> str:
    match value:
        case [float(), float(), float()]:
            return interval_text(cast("list[float | None]", value), digits=2)
        case Mapping():
            members = cast("Mapping[str, Any]", value)
            return ", ".join(f"{name} {part}" for name, part in members.items()) or "none"
        case None:
            return "–"
        case _:
            return str(value)
