"""The log of FastChat's servers (Chatbot Arena): votes between two models, and thumbs for one. Other events are dropped and counted."""

from __future__ import annotations

import re
from typing import Any, cast

from accord.data.formats_comparisons import arena
from accord.data.formats_pairs import thumb
from accord.data.row_records import NAMES, Taken, make_prompt
from accord.data.rows import Row, shown
from accord.records import Message, Role

VOTES = {"leftvote": "model_a", "rightvote": "model_b", "tievote": "tie", "bothbad_vote": "tie (bothbad)"}
THUMBS = {"upvote": True, "downvote": False}
ASIDE = ("ip",)
_FAILED = re.compile(
    r"^(\*\*)?(API REQUEST ERROR|NETWORK ERROR DUE TO HIGH TRAFFIC)|^\$MODERATION\$ YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES"
)
"""What FastChat writes in the place of an answer that failed."""
_NAMED = re.compile(r"<h3>[^<:]{0,200}: ([^<]{0,400})</h3>\s{0,20}")
_HIDDEN = ("", "Model A", "Model B")


def of_log(value: dict[str, Any]) -> bool:
    """Return whether a row is an event of the log, with the conversation or both conversations that it is about."""
    return isinstance(value.get("states", value.get("state")), list | dict)


def events(row: Row) -> Taken:
    """Read a vote between two answers (a ranking, as `arena` reads it) or a thumb for one; the voter's address is not stored."""
    kind = row.text("type")
    row.raw("tstamp")
    if kind in VOTES:
        return _battle(row, VOTES[kind])
    if kind in THUMBS:
        return _liked(row, up=THUMBS[kind])
    return Taken(dropped=f"event of the log without a vote: {kind[:40]}")


def _battle(row: Row, winner: str) -> Taken:
    states = row.rows("states")
    models: list[Any] = row.items("models") if row.has("models") else [None, None]
    if len(states) != 2 or len(models) != 2:
        raise row.error("states", f"a vote is between two conversations, not {len(states)} of {len(models)} models")
    sides, systems = [_turns(state) for state in states], [_system(state) for state in states]
    if any(not turns or _FAILED.search(turns[-1].content) for turns in sides):
        return Taken(dropped="vote on an answer that failed or is missing")
    battle: dict[str, Any] = {"winner": winner, "tstamp": row.peek("tstamp"), "question_id": states[0].word("conv_id")}
    battle |= {name: row.raw(name) for name in ("judge", "user", "source", "language") if row.has(name)}
    opening = [Message("system", systems[0])] if systems[0] and systems[0] == systems[1] else []
    for side, turns, state, model in zip("ab", sides, states, models, strict=True):
        battle[f"conversation_{side}"] = [{"role": turn.role, "content": turn.content} for turn in (*opening, *turns)]
        battle[f"model_{side}"] = _model(state, model, side)
    differ = ("system turns, which differ between the two models",) if systems[0] != systems[1] else ()
    return arena(row.like(battle)) + Taken(left_out=differ)


def _liked(row: Row, *, up: bool) -> Taken:
    state = row.row("state")
    turns, system = _turns(state), _system(state)
    if not turns or _FAILED.search(turns[-1].content):
        return Taken(dropped="vote on an answer that failed or is missing")
    given = row.like({"labeler": row.word("judge", "imported"), **{name: row.raw(name) for name in ("user", "source") if row.has(name)}})
    opening = (Message("system", system),) if system else ()
    return thumb(given, make_prompt(given, opening + turns[:-1]), turns[-1].content, up, _model(state, row.raw("model"), "a"))


def _turns(state: Row) -> tuple[Message, ...]:
    """Return what was said after the template's own examples; empty when the last turn is not an answer or holds nothing.

    Raises:
        InputError: a turn is not a pair of role and text, or roles do not alternate.
    """
    for name in ("template_name", "roles", "conv_id", "sep", "sep2", "sep_style", "stop_str", "stop_token_ids", "skip_next"):
        state.raw(name)
    offset = state.whole("offset") if state.has("offset") else 0
    if offset < 0:
        raise state.error("offset", f"below 0: {offset}")
    turns, names = list[Message](), list[str]()
    pairs: list[Any] = state.items("messages")[offset:]
    for i, pair in enumerate(pairs):
        field = f"messages[{offset + i}]"
        turn: list[Any] = cast(list[Any], pair) if isinstance(pair, list) else []
        if len(turn) != 2 or not isinstance(turn[0], str):
            raise state.error(field, f"not a role and a text: {shown(cast(object, pair))}")
        if turn[1] is None and i == len(pairs) - 1:
            return ()
        role: Role = ("user", "assistant")[i % 2]
        names.append(turn[0])
        if turn[0] != names[i % 2] or NAMES.get(turn[0].strip().lower(), role) != role:
            raise state.error(field, f"roles out of order: {turn[0]!r} {'after ' + repr(names[i - 1]) if i else 'first'}")
        turns.append(Message(role, _text(state, field, turn[1])))
    return tuple(turns) if len(turns) > 1 and turns[-1].role == "assistant" else ()


def _text(state: Row, field: str, value: object) -> str:
    if not isinstance(value, str):
        raise state.error(field, f"not a text (pictures are not read): {shown(value)}")
    return state.like({field: value}).text(field)


def _system(state: Row) -> str:
    """Return the system turn, which earlier versions name otherwise."""
    name = "system_message" if state.has("system_message") else "system"
    state.raw("system")
    return state.text(name, "").strip()


def _model(state: Row, public: object, side: str) -> str:
    """Return a model's name: in an anonymous battle, it stands in the conversation alone."""
    hidden = state.word("model_name")
    name = public if isinstance(public, str) else ""
    name = _NAMED.sub(r"\1", name).strip()
    return hidden or (name if name not in _HIDDEN else "") or f"model_{side}"
