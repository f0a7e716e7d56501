"""Tracing of a model to its training rows: the snapshots in the runs' folders, checked against the digests in its lineage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.runtime import lineage
from accord.runtime.project import Project

FROM_CHAT, FROM_APPS = "chat-", "api-"
"""Prefixes of the ids of records that come from the chat, and from apps."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows of one kind that an ancestor learned from."""

    model: str
    what: str
    """One of rankings, demonstrations, thumbs, prompts and others."""
    path: Path

    def lines(self) -> Iterator[str]:
        """Return the rows as JSON lines."""
        return (line for line in self.path.read_text("utf-8").split("\n") if line)


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """A turn of the chat among a model's training rows."""

    turn: str
    conversation: str
    """Empty if the row names only the response."""
    model: str
    """The ancestor that learned from it."""
    what: str


@dataclass(frozen=True, slots=True)
class AppAnswer:
    """A response that an app got or sent, among a model's training rows."""

    response: str
    """The id by which the app knows it."""
    app: str
    user: str
    """The end user's pseudonym."""
    model: str
    """The ancestor that learned from it."""
    what: str


def snapshots(project: Project, model: str) -> list[Snapshot]:
    """Return the existing and unchanged snapshots of a model and its ancestors. Raises InputError when there is no such model."""
    found: list[Snapshot] = []
    for ancestor in lineage.walk(project, model):
        for what, digest in ancestor.record.get("data", {}).items():
            path = project.path / "runs" / ancestor.name / f"{what}.jsonl"
            if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                found.append(Snapshot(ancestor.name, what, path))
    return list(dict.fromkeys(found))


def chat_turns(project: Project, model: str) -> list[ChatTurn]:
    """Return the chat turns that a model and its ancestors learned from, once per ancestor and kind of record."""
    found: dict[ChatTurn, None] = {}
    for snapshot in snapshots(project, model):
        for line in snapshot.lines():
            # Most rows are not the chat's, and need not be parsed.
            if FROM_CHAT in line:
                found |= dict.fromkeys(_turns(json.loads(line), snapshot))
    return list(found)


def app_answers(project: Project, model: str) -> list[AppAnswer]:
    """Return the responses of apps that a model and its ancestors learned from, once per ancestor and kind of record."""
    found: dict[AppAnswer, None] = {}
    for snapshot in snapshots(project, model):
        for line in snapshot.lines():
            if FROM_APPS not in line:
                continue
            row = json.loads(line)
            prompt = row.get("prompt", row)
            # A prompt of an app has the source "api RESPONSE APP".
            origin = str(prompt.get("source", "")).split(" ", 2)
            if origin[0] == "api" and len(origin) == 3 and str(prompt.get("id", "")).startswith(FROM_APPS):
                found[AppAnswer(origin[1], origin[2], str(prompt.get("user", "")), snapshot.model, snapshot.what)] = None
    return list(found)


def _turns(row: dict[str, Any], snapshot: Snapshot) -> Iterator[ChatTurn]:
    prompt = row.get("prompt", row)
    # A prompt of the chat has the source "chat CONVERSATION TURN", an answer of the chat the id "chat-a-NUMBER...".
    origin = str(prompt.get("source", "")).split(" ")
    conversation = origin[1] if origin[0] == "chat" and len(origin) == 3 else ""
    if conversation:
        yield ChatTurn(origin[2], conversation, snapshot.model, snapshot.what)
    responses = [*row.get("responses", ())]
    if "response" in row:
        responses.append(row["response"])
    for response in responses:
        id = str(response["id"])
        if id.startswith(f"{FROM_CHAT}a-"):
            yield ChatTurn("-".join(id.split("-")[1:3]), conversation, snapshot.model, snapshot.what)
