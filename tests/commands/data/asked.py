"""A small project with something for every command on data to find: duplicates, personal data, a demonstration that says nothing."""

from __future__ import annotations

from pathlib import Path

from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime.project import Project

MAIL = "Write a letter to Susan Clark, who reads her mail at susan.clark@example.org every day."
ASKED = [
    (
        "a",
        "ann",
        "Which of the seven rivers in the northern valley runs dry first in a hot summer, and what do farmers there do about that?",
    ),
    ("b", "ann", "Which of the 7 rivers in the northern valley runs dry first in a hot summer, and what do farmers there do about that?"),
    ("c", "bob", MAIL),
    ("d", "bob", "How many apples does the tall man with the red hat carry home on Monday from the shop"),
    ("e", "eve", "Brainstorm names for a boat that leaks."),
]


def filled(path: Path) -> Project:
    """Create the project."""
    made = Project.create(path)
    prompts = [Prompt(id, (Message("user", text),), user=user, source="asked.jsonl") for id, user, text in ASKED]
    with Store.open(made.store_url) as store:
        store.add(
            prompts=prompts,
            labelers=[Labeler("lee", "person")],
            demonstrations=[
                Demonstration("d1", prompts[2], "Dear Susan Clark, we miss you.", "lee"),
                Demonstration("d2", prompts[4], "N/A", "lee"),
            ],
            responses=[Response(f"r{n}", "c", text, "sft", (1,)) for n, text in enumerate(("Call (415) 263-0142.", "No."))],
            rankings=[Ranking("k", "c", "lee", ("r0", "r1"), (1, 2), Guideline("training", "v"), "now")],
        )
    return made


def prompts_of(project: Project) -> list[str]:
    """Return the ids of the prompts that stay."""
    with Store.open(project.store_url) as store:
        return [prompt.id for prompt in store.prompts()]
