"""`accord lineage`: trace a model back to the models and the feedback it learned from.

Needs a model with its lineage.json, and changes nothing. Turns of the chat and responses of apps are named by their ids, as far as the
runs still hold the snapshots that the lineage names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath, shows
from accord.feedback.traces import app_answers, chat_turns
from accord.runtime.lineage import walk
from accord.runtime.progress import table
from accord.runtime.project import Project


def _show(traced: Mapping[str, list[dict[str, Any]]]) -> None:
    rows: list[tuple[str, str, str, str, str]] = []
    for ancestor in traced["lineage"]:
        record = ancestor["record"]
        data = ", ".join(f"{kind} {digest[:12]}" for kind, digest in record.get("data", {}).items())
        indented = "  " * ancestor["depth"] + ancestor["name"]
        rows.append((indented, record.get("stage", ""), ancestor["digest"][:12], ancestor["state"], data))
    table(f"lineage of {traced['lineage'][0]['name']}", ["model", "made by", "digest", "weights", "learned from"], rows)
    if traced["chat_turns"]:
        turns = [(turn["model"], turn["what"], turn["conversation"], turn["turn"]) for turn in traced["chat_turns"]]
        table("chat turns it learned from", ["learned by", "as", "conversation", "turn"], turns)
    if traced["app_answers"]:
        answers = [(one["model"], one["what"], one["app"], one["response"], one["user"]) for one in traced["app_answers"]]
        table("answers of apps it learned from", ["learned by", "as", "app", "response", "user"], answers)


@shows(_show)
def lineage(project: ProjectPath, model: Annotated[str, Parameter(help="A model of the project.")]) -> dict[str, list[dict[str, Any]]]:
    """Trace a model back to the models and the feedback it came from, chat turns by their ids.

    Example: accord lineage my-town ppo

    Returns:
        ``lineage``: the model and its ancestors, children first. ``chat_turns`` and ``app_answers``: the turns of the chat, and the
        responses of apps, that it or an ancestor learned from.

    Raises:
        InputError: the project has no such model.
    """
    opened = Project.open(project)
    ancestors, turns = walk(opened, model), chat_turns(opened, model)
    return {
        "lineage": [dataclasses.asdict(ancestor) for ancestor in ancestors],
        "chat_turns": [dataclasses.asdict(turn) for turn in turns],
        "app_answers": [dataclasses.asdict(answer) for answer in app_answers(opened, model)],
    }
