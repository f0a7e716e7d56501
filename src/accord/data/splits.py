"""Which prompts train, which validate and which test: by user, and never by what else is there, so that added data moves nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from accord.records import Prompt, Split


def split_of(key: str, *, validation: float = 0.1, test: float = 0.1) -> Split:
    """The split of a user by a hash that never changes: of every ten users eight train, one validates, one tests.

    Shares may be changed without moving more users than needed: test grows from the end, validation before it.
    """
    share = int(hashlib.sha256(f"split\0{key}".encode()).hexdigest()[:8], 16) / 16**8
    return "test" if share >= 1 - test else "validation" if share >= 1 - test - validation else "train"


def split_key(prompt: Prompt) -> str:
    """What a prompt's split goes by: its user, or its opening turn where it has none, so that no conversation is cut through."""
    return prompt.user or next((message.content for message in prompt.messages if message.role == "user"), "")


def cut_users(prompts: Iterable[Prompt]) -> dict[str, set[Split]]:
    """Users whose prompts stand in more than one split, with the splits: what must not be."""
    seen: dict[str, set[Split]] = {}
    for prompt in prompts:
        if prompt.user:
            seen.setdefault(prompt.user, set()).add(prompt.split)
    return {user: splits for user, splits in seen.items() if len(splits) > 1}
