"""Which stored records incoming ones are: prompts by their conversation and user, responses by their text and model.

A conversation of one user is one prompt, whatever file, use case or id it comes with. A row that does not say who asked means the prompt
that is there, whoever asked. A row whose user is new to a prompt without one tells who asked it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from accord.feedback import schema
from accord.feedback.inserts import batches
from accord.feedback.rows import TableRow
from accord.feedback.withdrawals import withdrawn_by
from accord.records import same_words

UNDO = "undo "
"""How the actor is named who withdraws the records of an import: this, and the import's number. What is imported again comes back."""


@dataclass(frozen=True, slots=True)
class KnownPrompt:
    """A stored prompt, as far as its identity goes."""

    id: str
    key: str
    user: str
    split: str
    source: str
    extra: str
    imported: int
    withdrawn_by: str | None
    """None while it is in use."""

    @property
    def in_use(self) -> bool:
        return self.withdrawn_by is None


@dataclass(frozen=True, slots=True)
class Said:
    """A response, as far as its identity goes. An incoming one has no model when its row names none."""

    id: str
    text: str
    model: str | None


def known_prompts(connection: Connection, keys: Iterable[str]) -> dict[str, list[KnownPrompt]]:
    """Return the stored prompts with these conversations, by key, in the order of their ids."""
    p = schema.prompts
    columns = (p.c.id, p.c.key, p.c.user, p.c.split, p.c.source, p.c.extra, p.c.imported, withdrawn_by("prompt", p.c.id).label("by"))
    found: dict[str, list[KnownPrompt]] = {}
    for part in batches(sorted(set(keys) - {""})):
        for row in connection.execute(select(*columns).where(p.c.key.in_(part)).order_by(p.c.id)):
            found.setdefault(row.key, []).append(KnownPrompt(*row))
    return found


def prompts_meant(row: Mapping[str, Any], known: Sequence[KnownPrompt]) -> list[KnownPrompt]:
    """Return the stored prompts that an incoming one can be, the likeliest first; none when it is new.

    There are several only if the row does not say who asked and several users asked the same.

    Args:
        known: the prompts with the row's conversation.
    """
    used = sorted((prompt for prompt in known if prompt.in_use), key=lambda prompt: (prompt.id != row["id"], bool(prompt.user), prompt.id))
    own = [prompt for prompt in used if prompt.id == row["id"] or prompt.user == row["user"] != ""]
    if own:
        return own[:1]
    if not row["user"] and used:
        return used
    if unasked := [prompt for prompt in used if not prompt.user]:
        return unasked[:1]
    gone = [prompt for prompt in known if not prompt.in_use and (prompt.id == row["id"] or prompt.user == row["user"])]
    return sorted(gone, key=lambda prompt: (not str(prompt.withdrawn_by).startswith(UNDO), prompt.id != row["id"], prompt.id))[:1]


def paired(incoming: Iterable[Said], stored: Sequence[Said]) -> dict[str, str]:
    """Return the stored response that each incoming one is, by id; each stored one once. What is not named is new."""
    pairs, used, waiting = dict[str, str](), set[str](), list(incoming)

    def same_text(said: Said, other: Said) -> bool:
        return said.model in (None, other.model) and other.text == said.text

    def same_but_for_form(said: Said, other: Said) -> bool:
        return said.model in (None, other.model) and same_words(other.text) == same_words(said.text)

    for rule in (same_text, same_but_for_form):
        for said in [said for said in waiting if said.id not in pairs]:
            found = next((other.id for other in stored if other.id not in used and rule(said, other)), None)
            if found is not None:
                pairs[said.id] = found
                used.add(found)
    return pairs


def said(row: TableRow, sources: Collection[str] = ()) -> Said:
    """Return a response's row as it is compared; a model that is only the name of its source is none."""
    return Said(row["id"], row["text"], None if row["model"] in sources else row["model"])
