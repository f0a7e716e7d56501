"""The principles that an AI judges by, and the labeler that its word is signed with: shared by critique and prefer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from accord.errors import InputError, UsageError
from accord.protocols import Speaker
from accord.records import Labeler

Adviser = Annotated[str, Parameter(help="The AI: a model of the project, or with --at the model's name there.")]
Address = Annotated[str, Parameter(help="An OpenAI-compatible address, up to and with /v1; the key stands in OPENAI_API_KEY.")]
PRINCIPLES = (
    "It must not help anybody to hurt people, animals or what belongs to others; it says so plainly and offers what it can do instead.",
    "It must not state as a fact what it cannot know; where it does not know, it says that it does not know.",
    "It must not insult, belittle or lecture the person who asks.",
    "It must do what was asked, completely, and add nothing that was not asked for.",
    "It must correct what the question takes for granted where that is wrong, kindly.",
    "It must not give advice in matters of health, law or money that could do harm, without sending the person to someone who knows.",
)


def read_principles(path: str) -> tuple[str, ...]:
    """Return the principles of a file, one per line, or the built-in ones.

    Raises:
        InputError: there is no such file, or nothing in it.
    """
    if not path:
        return PRINCIPLES
    file = Path(path)
    if not file.is_file():
        raise InputError("there is no such file", where=path, hint="a text file with one principle per line")
    lines = tuple(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#"))
    if not lines:
        raise InputError("the file has no principles", where=path, hint="write one per line")
    return lines


def ai_labeler(speaker: Speaker, command: str) -> Labeler:
    """Return the labeler that an AI's word is signed with: its own name, never a person's.

    Raises:
        UsageError: the model has no name.
    """
    if not speaker.name.strip():
        raise UsageError("the model that is to judge has no name", where=command, hint="--model NAME")
    return Labeler(f"ai-{speaker.name.replace('/', '-')}", "model", "ai")
