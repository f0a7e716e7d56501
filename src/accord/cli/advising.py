"""Feedback by an AI: critique and revise, rank."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, ProjectPath, app, say
from accord.settings import CritiqueConfig, PreferConfig

Adviser = Annotated[str, Parameter(help="The AI: a model of the project, or with --at the model's name there.")]
At = Annotated[str, Parameter(help="An OpenAI-compatible address, up to and with /v1; the key stands in OPENAI_API_KEY.")]


@app.command
def critique(
    project: ProjectPath,
    *,
    model: Adviser = "sft",
    at: At = "",
    name: Name = "critique",
    json: AsJson = False,
    config: Annotated[CritiqueConfig, Flat] = CritiqueConfig(),
) -> None:
    """Lets an AI answer prompts, criticise its answers by written principles and revise them into demonstrations of kind "model".

    Example: accord critique my-town --use-case harmful --at http://127.0.0.1:8000/v1 --model qwen
    """
    from accord.runtime.project import Project
    from accord.stages.advising import critique_stage, speaker_of

    opened = Project.open(project)
    say(f"critique: {model}", critique_stage(opened, config, speaker_of(opened, model, at), name=name), json)


@app.command
def prefer(
    project: ProjectPath,
    *,
    model: Adviser = "sft",
    at: At = "",
    name: Name = "prefer",
    json: AsJson = False,
    config: Annotated[PreferConfig, Flat] = PreferConfig(),
) -> None:
    """Lets an AI rank responses that nobody has ranked, by written principles; the rankings are of kind "model".

    Example: accord prefer my-town --at http://127.0.0.1:8000/v1 --model qwen --principles rules.txt
    """
    from accord.runtime.project import Project
    from accord.stages.advising import prefer_stage, speaker_of

    opened = Project.open(project)
    say(f"prefer: {model}", prefer_stage(opened, config, speaker_of(opened, model, at), name=name), json)
