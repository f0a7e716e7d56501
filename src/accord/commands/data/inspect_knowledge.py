"""Demonstrations that state what a model does not know: they teach it to state what it cannot know (Schulman 2023).

A model that was not trained on them answers each demonstrated question several times. Where hardly an answer says what the demonstration
says, the model does not know it. Such demonstrations can be left out, or replaced by an admission; both are withdrawals, which
``--unknown restore`` takes back. Loads torch when a model is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from accord.data.classifiers.project_set import of_project
from accord.data.quality import Suspect
from accord.errors import InputError
from accord.feedback import withdrawals
from accord.feedback.audit import OPERATOR, note
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler, Sampling
from accord.runtime.project import Project
from accord.settings import InspectConfig

Unknown = Literal["show", "leave-out", "admit", "restore"]
"""What becomes of demonstrations that state what the model does not know."""
BY = "inspect"
"""Who withdraws them, and who the admissions in their place are by: a labeler of kind ``model``."""
RESTORED = "inspect restore"
"""Who withdraws those admissions once their originals are back."""
TEMPERATURE = 0.5
"""A base model at temperature 1 says much else than an answer; docs/knowledge.md has the measurement."""
LONGEST = 48
"""Tokens of an answer. A base model goes on after it; its first line counts."""
_CHINESE = range(0x4E00, 0xA000)


def unknown_to(project: Project, model: str, demonstrations: Sequence[Demonstration], config: InspectConfig) -> tuple[list[Suspect], int]:
    """Return the demonstrations that state what a model does not know, and how many state an answer to a question at all.

    Raises:
        ModelError: the project has no such model.
        InputError: no demonstration answers a question.
    """
    from accord.commands.knowledge import open_meaning, own_answers, question_of, questions_of  # loads torch
    from accord.commands.models import compute_dtype, load_model

    asked = {prompt.id for prompt in questions_of([row.prompt for row in demonstrations], config.knowledge_use_cases)}
    answers_of = [row for row in demonstrations if row.prompt.id in asked]
    admits = of_project(project).admits
    admitted = admits([row.text for row in answers_of])
    stated = [row for row, unsure in zip(answers_of, admitted, strict=True) if not unsure]
    if not stated:
        hint = "name the use cases that ask for a fact by --knowledge-use-cases"
        raise InputError("no demonstration states an answer to a question", where=str(project.path), hint=hint)
    meaning, dtype = open_meaning(project, config.knowledge_meaning, admits), compute_dtype()
    own = own_answers(
        project,
        load_model(project, model),
        [row.prompt.messages for row in stated],
        n=config.knowledge_samples,
        sampling=Sampling(temperature=TEMPERATURE, max_tokens=LONGEST),
        seed=config.knowledge_seed,
        dtype=dtype,
    )
    rows = [
        (question_of(row.prompt), [row.text, *(answer.text.strip().partition("\n")[0] for answer in answers)])
        for row, answers in zip(stated, own.answers, strict=True)
    ]
    found: list[Suspect] = []
    for row, (said, *others) in zip(stated, meaning.groups(rows), strict=True):
        share = others.count(said) / len(others)
        if share < config.knowledge_threshold:
            found.append(Suspect(row.id, f"{model} says so in {share:.0%} of its answers", row.text, row.labeler))
    return found, len(stated)


def change(store: Store, found: Sequence[Suspect], unknown: Unknown, run: str, now: datetime) -> dict[str, int]:
    """Leave the demonstrations out, put an admission in their place, or bring back what an earlier call left out; return the counts."""
    if unknown == "restore":
        with store.write() as connection:
            restored = withdrawals.restore(connection, "demonstration", by=BY)
            theirs = [row.id for row in store.demonstrations() if row.labeler == BY]
            withdrawals.withdraw(connection, "demonstration", ((id, "its original is back") for id in theirs), by=RESTORED, now=now)
            note(connection, who=OPERATOR, what="restore", on=f"{restored} demonstrations", why=f"{run}: inspect left them out", at=now)
        return {"restored": restored, "admissions_withdrawn": len(theirs)}
    counts = {"left_out": 0, "admissions": 0}
    if unknown == "show" or not found:
        return counts
    if unknown == "admit":
        known = {row.id: row for row in store.demonstrations(ids=[each.id for each in found])}
        admissions: list[Demonstration] = []
        for each in found:
            prompt = known[each.id].prompt
            admissions.append(Demonstration(f"{each.id}-admits", prompt, admission(prompt.messages[-1].content), BY))
        counts["admissions"] = store.add(labelers=[Labeler(BY, "model")], demonstrations=admissions)["demonstrations"]
    with store.write() as connection:
        reasons = ((each.id, f"{run}: {each.why}") for each in found)
        again = [f"{each.id}-admits" for each in found] if unknown == "admit" else []
        counts["admissions"] += len(withdrawals.restore_undone(connection, "demonstration", again, RESTORED))
        counts["left_out"] = withdrawals.withdraw(connection, "demonstration", reasons, by=BY, now=now)
        note(connection, who=OPERATOR, what=f"inspect {unknown}", on=f"{len(found)} demonstrations", why=run, at=now)
    return counts


def admission(question: str) -> str:
    """Return an admission in the question's language, English or Chinese."""
    return "我不知道。" if any(ord(letter) in _CHINESE for letter in question) else "I do not know."


def told(found: Sequence[Suspect], stated: int, counts: dict[str, int]) -> dict[str, Any]:
    """Return the metrics of the search."""
    return {"count": len(found), "of": stated, "share": round(len(found) / max(stated, 1), 4), **counts}
