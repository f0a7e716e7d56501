"""An independent witness of loads and kills: what a server acknowledged, in a file of the client's own, against what SQL finds.

The client writes what it sent once the server has acknowledged it. The check shares no code with the package: it opens the database
with the driver alone and reads the tables. So a store that keeps something else than what was sent, or nothing, cannot vouch for itself.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

Row = tuple[Any, ...]


class Witness:
    """A file of what was acknowledged, one JSON object a line; several threads may write. Rankings and talk go into files of their own."""

    def __init__(self, path: Path) -> None:
        self.path, self._turn = path, threading.Lock()

    def saw(self, answer: str, task: str, shown: Sequence[str], fields: Sequence[tuple[str, str]]) -> None:
        """Write down an acknowledged form: ``shown`` are the texts in the page's order, ``fields`` what was sent about them."""
        sent = dict(fields)
        ranks = {text: int(sent[f"rank-{place}"]) for place, text in enumerate(shown, 1)}
        ratings = {text: int(sent[f"quality-{place}"]) for place, text in enumerate(shown, 1)}
        self._note({"answer": answer, "task": task, "ranks": ranks, "ratings": ratings})

    def said(self, text: str) -> None:
        """Write down a question that the chat has acknowledged; each is another text."""
        self._note({"said": text})

    def heard(self, id: str) -> None:
        """Write down an answer that a page has shown as a whole."""
        self._note({"heard": id})

    def _note(self, what: Mapping[str, Any]) -> None:
        line = json.dumps(what)
        with self._turn, self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield what was written down."""
        if self.path.exists():
            with self.path.open(encoding="utf-8") as file:
                yield from map(json.loads, file)


def verdict(url: str, witness: Witness) -> dict[str, int]:
    """Count acknowledged rankings that the database at an address has lost, changed, left without a record, or has twice.

    Returns:
        ``acknowledged`` of the witness; ``lost``: no such answer; ``changed``: the answer or its record says something else;
        ``unrecorded``: nothing would be learned from it; ``doubled``: people who answered one task twice.
    """
    said = {row[0]: row for row in rows(url, "SELECT id, task_id, payload FROM answers")}
    texts: dict[str, str] = dict(rows(url, "SELECT id, text FROM responses"))
    records: dict[str, dict[str, Row]] = {}
    for ranking, response, rank, quality in rows(url, "SELECT ranking_id, response_id, rank, quality FROM ranking_items"):
        records.setdefault(ranking, {})[texts[response]] = (rank, quality)
    counts = Counter(acknowledged=0, lost=0, changed=0, unrecorded=0)
    for line in witness.lines():
        counts["acknowledged"] += 1
        if line["answer"] not in said:
            counts["lost"] += 1
            continue
        _, task, payload = said[line["answer"]]
        record = records.get(f"k-{line['answer']}")
        kept = {text: (rank, line["ratings"][text]) for text, rank in line["ranks"].items()}
        counts["unrecorded"] += record is None
        counts["changed"] += task != line["task"] or not _says(payload, texts, line) or (record is not None and record != kept)
    twice = "SELECT task_id, labeler FROM answers GROUP BY task_id, labeler, revision HAVING COUNT(*) > 1"
    return {**counts, "doubled": len(list(rows(url, twice)))}


def verdict_on_talk(url: str, witness: Witness) -> dict[str, int]:
    """Count questions that were acknowledged, answers that were shown, and how many of both the database has lost or has twice."""
    turns = list(rows(url, "SELECT id, role, text FROM turns"))
    questions = Counter(text for _, role, text in turns if role == "user")
    answers = {id for id, role, text in turns if role == "assistant" and text.strip()}
    counts = Counter(questions=0, answers_shown=0, lost_turns=0)
    for line in witness.lines():
        asked = "said" in line
        counts["questions" if asked else "answers_shown"] += 1
        counts["lost_turns"] += line["said"] not in questions if asked else line["heard"] not in answers
    return {**counts, "doubled_turns": sum(count - 1 for count in questions.values())}


def _says(payload: str, texts: Mapping[str, str], line: Mapping[str, Any]) -> bool:
    """Return whether a stored answer holds the ranks and ratings that were sent."""
    kept = json.loads(payload)
    ranks = {texts[id]: rank for id, rank in kept.get("ranks", {}).items()}
    ratings = {texts[id]: rating.get("quality") for id, rating in kept.get("ratings", {}).items()}
    return ranks == line["ranks"] and ratings == line["ratings"]


def rows(url: str, query: str) -> Iterator[Row]:
    """Yield the rows of a query, read by the database's driver alone."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            yield from connection.execute(query)
        return
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        yield from connection.execute(query.encode())
