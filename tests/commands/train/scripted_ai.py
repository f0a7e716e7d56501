"""A scripted AI, and a project with prompts and responses for it to judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accord.feedback.store import Store
from accord.records import Labeler, Message, Prompt, Response, Sampling
from accord.runtime.project import Project

ASKED = [Prompt(f"p{i}", (Message("user", f"Question {i}?"),), "harmful" if i < 2 else "chat", f"u{i}") for i in range(4)]
TEXTS = ("bad", "good thing", "best good thing of all")


@dataclass
class Scripted:
    """Answers by a function of the conversation, and remembers what it was asked."""

    reply: Callable[[Sequence[Message]], str]
    name: str = "wise/one"
    asked: list[Sequence[Message]] = field(default_factory=list[Sequence[Message]])

    def answer(self, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int) -> list[list[str]]:
        self.asked += conversations
        return [[self.reply(talk)] * n for talk in conversations]


def with_responses(folder: Path) -> Project:
    """Create a project with four prompts, three responses to each."""
    made = Project.create(folder)
    responses = [Response(f"{prompt.id}-r{k}", prompt.id, text, "sft") for prompt in ASKED for k, text in enumerate(TEXTS)]
    with Store.open(made.store_url) as store:
        store.add(prompts=ASKED, labelers=[Labeler("ann", "person")], responses=responses)
    return made
