"""Where a model came from."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, ProjectPath, app, say


@app.command
def lineage(project: ProjectPath, model: Annotated[str, Parameter(help="A model of the project.")], *, json: AsJson = False) -> None:
    """Walks from a model back to the models and the feedback it came from, turns of the chat by their ids.

    Example: accord lineage my-town ppo
    """
    from accord.runtime.lineage import walk
    from accord.runtime.progress import table
    from accord.runtime.project import Project
    from accord.stages.tracing import chat_turns

    opened = Project.open(project)
    ancestors, turns = walk(opened, model), chat_turns(opened, model)
    if json:
        rows = {"lineage": [dataclasses.asdict(a) for a in ancestors], "chat_turns": [dataclasses.asdict(turn) for turn in turns]}
        say("lineage", rows, True)
        return
    rows = [
        (
            "  " * a.depth + a.name,
            a.record.get("stage", ""),
            a.digest[:12],
            a.state,
            ", ".join(f"{k} {v[:12]}" for k, v in a.record.get("data", {}).items()),
        )
        for a in ancestors
    ]
    table(f"lineage of {model}", ["model", "made by", "digest", "weights", "learned from"], rows)
    if turns:
        shown = [(turn.model, turn.what, turn.conversation, turn.turn) for turn in turns]
        table("turns of the chat in it", ["learned by", "as", "conversation", "turn"], shown)
