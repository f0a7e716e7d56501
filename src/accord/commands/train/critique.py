"""`accord critique`: let an AI answer prompts, criticise its answers by written principles, and revise them into demonstrations.

Needs training prompts and a model of the project, or one behind an address. Leaves demonstrations by a labeler of kind "model", and
what was said on the way in advice/. Follows constitutional AI (Bai et al. 2022, section 3.1), except: the AI may be any speaker.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath
from accord.commands.models import open_speaker
from accord.commands.train.principles import Address, Adviser, ai_labeler, read_principles
from accord.errors import InputError
from accord.feedback.store import Store
from accord.protocols import Speaker
from accord.records import Demonstration, Message, Prompt, Sampling
from accord.runtime.device import choose_device
from accord.runtime.files import append
from accord.runtime.progress import track
from accord.runtime.project import Project
from accord.runtime.seeds import derive
from accord.settings import CritiqueConfig

CRITIQUE = "Read your last answer again. Where does it break this principle? {principle} Answer in one or two sentences."
REVISE = (
    "Now write the answer to my first message again, so that it keeps the principle. Write the new answer alone, nothing about the old one."
)
BATCH = 32
"""Prompts between two writes to the store: a stopped command has lost no more than that."""


def critique(
    project: ProjectPath,
    *,
    model: Adviser = "sft",
    at: Address = "",
    name: Annotated[str, Parameter(help="Name of the file in advice/ that keeps what was said.")] = "critique",
    flags: ComputeFlags = Compute(),
    config: Annotated[CritiqueConfig, Flat] = CritiqueConfig(),
) -> dict[str, Any]:
    """Let an AI answer prompts, criticise its answers by written principles and revise them into demonstrations of kind "model".

    Prompts that this labeler has written to before are left out, so a stopped command continues.

    Example: accord critique my-town --use-case harmful --at http://127.0.0.1:8000/v1 --model qwen

    Raises:
        ModelError: the project has no such model.
        InputError: no training prompt waits.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    return critique_by(opened, config, open_speaker(opened, model, at, flags.dtype), name=name)


def critique_by(project: Project, config: CritiqueConfig, speaker: Speaker, *, name: str) -> dict[str, Any]:
    """The same by any speaker."""
    principles = read_principles(config.principles)
    writer = ai_labeler(speaker, "critique")
    with Store.open(project.store_url) as store:
        written = {row.prompt.id for row in store.demonstrations() if row.labeler == writer.id}
        waiting = [prompt for prompt in store.prompts(split="train", use_case=config.use_case or None) if prompt.id not in written]
        random.Random(derive(config.seed, "critique", "prompts")).shuffle(waiting)
        waiting = waiting[: config.prompts or None]
        if not waiting:
            what = f"no training prompt{f' of use case {config.use_case}' if config.use_case else ''} waits for {writer.id}"
            raise InputError(what, where=project.store_name, hint="`accord import` some")
        store.add_labelers([writer])
        changed = stored = 0
        with track(len(waiting), "critique") as bar:
            for start in range(0, len(waiting), BATCH):
                part = waiting[start : start + BATCH]
                revised = revise(speaker, part, principles, config)
                kept = [row for row in revised if row.last.strip()]
                demonstrations = [Demonstration(f"{row.prompt.id}-{writer.id}", row.prompt, row.last.strip(), writer.id) for row in kept]
                stored += store.add_demonstrations(demonstrations)
                changed += sum(row.last.strip() != row.first.strip() for row in kept)
                _keep(project, name, revised)
                bar.advance(len(part))
    return {"prompts": len(waiting), "demonstrations": stored, "changed": changed, "labeler": writer.id, "kind": "model"}


@dataclass(frozen=True)
class Revised:
    """A prompt's way from the first answer to the last revision."""

    prompt: Prompt
    first: str
    critiques: tuple[str, ...]
    last: str


def revise(speaker: Speaker, prompts: Sequence[Prompt], principles: Sequence[str], config: CritiqueConfig) -> list[Revised]:
    """Answer each prompt, then criticise and revise by one principle after another; the seed and the prompt's id choose them."""
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)

    def say(conversations: Sequence[Sequence[Message]], what: str, turn: int) -> list[str]:
        answers = speaker.answer(conversations, n=1, sampling=sampling, seed=derive(config.seed, what, turn))
        return [texts[0] for texts in answers]

    shuffled = [random.Random(derive(config.seed, prompt.id)).sample(principles, len(principles)) for prompt in prompts]
    firsts = say([prompt.messages for prompt in prompts], "answer", 0)
    lasts, critiques = list(firsts), [list[str]() for _ in prompts]
    for turn in range(config.revisions):
        questions: list[tuple[Message, ...]] = []
        for prompt, last, own in zip(prompts, lasts, shuffled, strict=True):
            question = Message("user", CRITIQUE.format(principle=own[turn % len(own)]))
            questions.append((*prompt.messages, Message("assistant", last), question))
        said = say(questions, "critique", turn)
        requests = [
            (*question, Message("assistant", criticism), Message("user", REVISE))
            for question, criticism in zip(questions, said, strict=True)
        ]
        lasts = say(requests, "revise", turn)
        for own, criticism in zip(critiques, said, strict=True):
            own.append(criticism)
    return [Revised(*row) for row in zip(prompts, firsts, map(tuple, critiques), lasts, strict=True)]


def _keep(project: Project, name: str, revised: Sequence[Revised]) -> None:
    """Write what was said on the way, for people to read."""
    folder = project.path / "advice"
    folder.mkdir(exist_ok=True)
    for row in revised:
        words = {"asked": row.prompt.messages[-1].content, "first": row.first, "critiques": row.critiques, "last": row.last}
        append(folder / f"{name}.jsonl", json.dumps({"prompt": row.prompt.id, **words}, ensure_ascii=False) + "\n")
