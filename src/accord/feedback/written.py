"""Prompts that labelers write, InstructGPT's second source of prompts (Ouyang et al. 2022, appendix A.1): plain, few-shot, user-based.

A task that asks for one has a prompt of its own, the brief. It is withdrawn from the start: nothing samples from it or learns from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, select

from accord.feedback import provenance, rows, schema
from accord.feedback.identity import known_prompts
from accord.feedback.inserts import add_rows
from accord.feedback.provenance import Provenance
from accord.feedback.queue import Task, add
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.withdrawals import withdraw
from accord.records import Message, Prompt, split_of

Ask = Literal["plain", "few-shot", "user-based"]
ORIGIN = "labeler"
BY = "accord queue"
WHY = "a brief for labelers"
"""Why a brief is withdrawn."""
INSTRUCTION = "Labelers write a prompt: "
"""How a brief begins, in the place of the instructions to the assistant."""


def brief(ask: Ask, text: str) -> Prompt:
    """Return the brief of a task.

    Args:
        text: for a user-based prompt what a user wants to use the assistant for; for the others a number that tells one from another.
    """
    id = "w-" + hashlib.sha256(f"{ask}\0{text}".encode()).hexdigest()[:20]
    return Prompt(id, (Message("system", INSTRUCTION + ask), Message("user", text)), source=BY, extra={"write": ask})


def asked_of(task: Task) -> tuple[Ask, str]:
    """Return the kind of prompt that a task asks for, and the user's intent; empty for plain and few-shot prompts."""
    ask = task.prompt.messages[0].content.removeprefix(INSTRUCTION) if task.prompt.messages else "plain"
    if ask == "user-based":
        return "user-based", task.prompt.messages[-1].content
    return ("few-shot" if ask == "few-shot" else "plain"), ""


def tasks_for(store: Store, ask: Ask, *, count: int, intents: Iterable[str], overlap: int, priority: float) -> Iterator[Task]:
    """Yield tasks: one for each intent, or ``count`` new ones of a kind that needs none.

    Args:
        count: the most tasks; 0 takes all intents.
    """
    t, texts = schema.tasks, list(intents)
    if ask != "user-based":
        with store.read() as connection:
            known = set(connection.scalars(select(t.c.prompt_id).where(t.c.kind == "prompt")))
        number = sum(brief(ask, str(n)).id in known for n in range(1, len(known) + 1))
        texts = [str(n) for n in range(number + 1, number + count + 1)]
    for text in texts[: count or None]:
        asked = brief(ask, text)
        yield Task(f"t-{asked.id}", "prompt", asked, overlap=overlap, priority=priority)


def queue_all(store: Store, tasks: list[Task], *, now: datetime) -> int:
    """Queue tasks whose briefs are withdrawn before anybody could read them as prompts; return the number of new tasks."""
    with store.write() as connection:
        withdraw(connection, "prompt", [(task.prompt.id, WHY) for task in tasks], by=BY, now=now)
    return add(store, tasks)


def keep(connection: Connection, task: Task, answer_id: str, text: str, labeler: str, now: datetime) -> None:
    """Store the prompt that a labeler wrote, with its provenance; all prompts of one labeler are in one split.

    Raises:
        Refused: the conversation is a prompt of the project already (422).
    """
    ask, _ = asked_of(task)
    written = Prompt(f"p-{answer_id}", (Message("user", text),), user=labeler, split=split_of(labeler), source=ORIGIN)
    row = rows.of_prompt(written)
    if any(known.in_use for known in known_prompts(connection, [row["key"]]).get(row["key"], ())):
        raise Refused("prompt_known")
    add_rows(connection, schema.prompts, [row])
    papers = Provenance(written.id, ORIGIN, kind=ask, consent="given", terms="written for this project", at=now.isoformat())
    provenance.write(connection, [papers])
