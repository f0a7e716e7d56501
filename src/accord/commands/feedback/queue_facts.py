"""Tasks in which a claim of a stored response is checked against a document, for `accord queue --kind fact`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from accord.data.retrieval import Document, sentences
from accord.data.row_reader import read_rows
from accord.data.rows import Row
from accord.feedback.queue import LONGEST_DOCUMENT, Fact
from accord.feedback.store import Store
from accord.feedback.tasks import Task, task_id
from accord.records import Prompt, Response

FIELDS = ("response_id", "document", "claim", "title")


def fact_tasks(store: Store, file: Path, *, overlap: int, priority: float) -> Iterator[Task]:
    """Yield a task for each claim: the one that a row names, or every sentence of its response.

    Raises:
        InputError: a row has an unknown field, names no stored response, has no document, or a claim that the response does not make.
    """
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    responses = {response.id: response for response in store.responses() if response.prompt_id in prompts}
    seen = set[str]()
    for row in read_rows(file):
        for task in _of_row(row, prompts, responses, overlap, priority):
            if task.id not in seen:
                seen.add(task.id)
                yield task


def _of_row(row: Row, prompts: dict[str, Prompt], responses: dict[str, Response], overlap: int, priority: float) -> Iterator[Task]:
    if unknown := sorted(row.value.keys() - set(FIELDS)):
        raise row.error(unknown[0], f"no field of a fact check; known are {', '.join(FIELDS)}")
    id, document = row.text("response_id"), row.text("document")
    title = row.text("title") if "title" in row.value else ""
    response = responses.get(id)
    if response is None:
        raise row.error("response_id", f"the project has no response {id!r}")
    if not document.strip() or len(document) > LONGEST_DOCUMENT:
        raise row.error("document", f"{len(document)} characters; 1 to {LONGEST_DOCUMENT}, the passage that a labeler should read")
    for start, claim in _claims(row, response):
        fact = Fact(claim, start, document, title)
        one = task_id("fact", "training", response.prompt_id, [id], fact.key)
        yield Task(one, "fact", prompts[response.prompt_id], (response,), overlap=overlap, priority=priority, fact=fact)


def _claims(row: Row, response: Response) -> Sequence[tuple[int, str]]:
    """Return each claim with its place in the response."""
    if "claim" not in row.value:
        return [(each.start, each.text) for each in sentences([Document("", response.text)])]
    claim = row.text("claim").strip()
    start = response.text.find(claim) if claim else -1
    if start < 0:
        raise row.error("claim", f"the response does not say {claim!r} in these words")
    return [(start, claim)]
