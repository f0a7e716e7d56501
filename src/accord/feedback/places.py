"""The register of every place that holds a person's words, each with what erases it. A test plants a word in each and looks for it.

A new column of text, or a new file of a project, stands here before it is used; a test compares the register with the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A place with words of a person, which `accord forget` empties."""

    how: str
    """The module that empties it, and when."""


_PROMPT = Place("privacy: emptied with the prompt")
_ANSWER = Place("privacy: emptied with the labeler's answers")
_ACCOUNT = Place("privacy: emptied with the account")
_CHAT = Place("privacy: emptied with the chats")
_DOCUMENT = Place("privacy: removed with its conversation; documents: removed by its user")

COLUMNS: Mapping[str, Place] = {
    "prompts.messages": _PROMPT,
    "prompts.extra": _PROMPT,
    "responses.text": _PROMPT,
    "demonstrations.text": _PROMPT,
    "tasks.fact": _PROMPT,
    "answers.payload": _ANSWER,
    "drafts.payload": Place("privacy: removed with the account"),
    "doubt_notes.text": _ANSWER,
    "accounts.name": _ACCOUNT,
    "accounts.profile": _ACCOUNT,
    "conversations.title": _CHAT,
    "conversations.system": _CHAT,
    "turns.text": _CHAT,
    "documents.name": _DOCUMENT,
    "documents.text": _DOCUMENT,
    "reactions.payload": _CHAT,
    "turns.media": _CHAT,
    "media.content": Place("media: removed with the last record that holds it"),
    "transcripts.before": Place("media: removed with its recording"),
    "transcripts.text": Place("media: removed with its recording"),
}
"""Columns of the database."""
FILES: Mapping[str, Place] = {
    "runs/*/*.jsonl": Place("erasure: the person's rows go"),
    "runs/*/media/*": Place("erasure: what no row of the run names any more goes"),
    "runs/*/rollouts": Place("copies: all of a run's go, for they hold tokens"),
    "models/*/tastes/people.jsonl": Place("copies: the person's line goes"),
    "advice/*.jsonl": Place("copies: the person's lines go"),
    "advice/judged/*.json": Place("copies: answers that quote the person go"),
    "advice/kept/*.json": Place("copies: answers that quote the person go"),
    "rejects/*": Place("copies: the person's lines go, a raw text whole"),
    "uploads/*/*": Place("copies: the person's lines go, a file of another kind whole"),
    "jobs/*/log.txt": Place("copies: the person's lines go"),
    "jobs/*/output.txt": Place("copies: the person's lines go"),
    "jobs/*/job.json": Place("copies: words that name the person are emptied"),
    "forgetting/*.json": Place("erasure_plan: removed when the erasure that it is the plan of is done"),
    "undone/*": Place("copies: the person's lines go, a raw text whole"),
}
"""Files of a project, as patterns."""
NOBODYS: Mapping[str, str] = {
    "meta.value": "settings of the store",
    "prompts.source": "where a prompt comes from: a file's name or ids; emptied with the prompt",
    "responses.model": "a model's name",
    "conversations.model": "a model's name",
    "responses.tokens": "the text again, as tokens; emptied with it",
    "ranking_items.flags": "names of flags",
    "thumbs.flags": "names of flags",
    "tasks.without": "names of parts of a task's page",
    "tasks.expected": "a lead's right answer to a gold task; emptied with its prompt",
    "assignments.shown": "ids",
    "answers.shown": "ids",
    "withdrawn.why": "the lead's reason",
    "excluded.why": "the lead's reason",
    "audit.why": "the lead's reason",
    "deployments.why": "the lead's reason",
    "reviews.why": "the lead's reason",
    "reviews.records": "ids",
    "import_changes.extra": "names of columns",
    "imports.why": "the lead's reason",
    "imports.source": "a file's name",
    "imports.format": "a format's name",
    "imports.counts": "counts",
    "imports.files": "names of files",
    "guidelines.text": "the lead's guideline",
    "guideline_rules.rule": "a rule of the lead's in the guideline",
    "questions.definition": "the lead's questions",
    "turns.model": "a model's name",
    "turns.sampling": "settings",
    "trials.old": "a model's name",
    "trials.new": "a model's name",
    "deployments.model": "a model's name",
    "provenance.origin": "a file's name; removed with the prompt",
    "provenance.terms": "the version of a consent's text",
    "app_requests.terms": "the version of a consent's text",
    "replays.body": "an answer to an app, of ids and states; removed with the user",
    "webhooks.url": "an app's address",
    "webhooks.events": "names of events",
    "deliveries.body": "an event of ids, sent to the app",
    "deliveries.said": "what the app's server answered",
}
"""Columns of text that hold no words of a person, and what they do hold."""
