"""Public logs of conversations with a model: WildChat and LMSYS-Chat. What the model said is a response, not a person's demonstration."""

from __future__ import annotations

from typing import Any, cast

from accord.data.row_extra import columns, told
from accord.data.row_records import Taken, answered, conversation, make_prompt, unusable
from accord.data.rows import Row, first_object, plain

SEEN = ("timestamp", "language", "country", "state", "toxic", "redacted", "turn")
"""What WildChat says about a conversation as a whole."""


def wildchat(row: Row) -> Taken:
    """Read ``conversation``, ``model`` and the flags of WildChat (Zhao et al. 2024, arXiv 2405.01470) or LMSYS-Chat (arXiv 2309.11998).

    The last answer is a response of the model. The hashed address is the user, so that no user is in two splits. Whether a turn was
    found toxic, or had personal data removed, is kept with the prompt.
    """
    turns, asked = conversation(row, "conversation"), row.rows("conversation")
    user = row.word("hashed_ip") or next((turn.word("hashed_ip") for turn in asked if turn.has("hashed_ip")), "")
    about = {**columns(row, "conversation_hash", "conversation_id", *SEEN), "flags": _flags(row, asked)}
    about = {name: value for name, value in about.items() if value}
    if not turns or turns[-1].role == "system":
        raise row.error("conversation", "a conversation without a user turn")
    prompt = make_prompt(row, turns if turns[-1].role == "user" else turns[:-1], user=user)
    model = row.word("model", "model")
    if turns[-1].role == "user":
        reason = unusable(prompt)
        return Taken(dropped=reason) if reason else told(Taken((prompt,)), about)
    if reason := unusable(prompt, turns[-1].content):
        return Taken(dropped=reason)
    return told(Taken((prompt, answered(prompt, turns[-1].content, model))), about)


def _flags(row: Row, turns: tuple[Row, ...]) -> list[dict[str, Any]]:
    """Return what is said about each turn that was found toxic, flagged by moderation, or redacted."""
    flags = list[dict[str, Any]]()
    moderated = {name: row.items(name) if isinstance(row.peek(name), list) else [] for name in ("openai_moderation", "detoxify_moderation")}
    for i, turn in enumerate(turns):
        said = {name: True for name in ("toxic", "redacted") if turn.has(name) and turn.truth(name)}
        found = _flagged(moderated["openai_moderation"][i : i + 1])
        if said or found:
            scores = moderated["detoxify_moderation"][i : i + 1]
            flags.append(
                {"turn": i, **said, **({"moderation": found} if found else {}), **({"detoxify": plain(scores[0])} if scores else {})}
            )
    return flags


def _flagged(verdicts: list[Any]) -> list[str]:
    """Return the categories that a moderation's verdict flags."""
    verdict = first_object({"verdicts": verdicts}, "verdicts")
    categories: Any = verdict.get("categories")
    kinds = cast("dict[str, Any]", categories) if isinstance(categories, dict) else {}
    return sorted(name for name, there in kinds.items() if there)
