"""What users of chat applications leave behind: Open WebUI's feedback and chats, ChatGPT's conversations, Langfuse's traces with scores."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from accord.data.formats_judged import verdict
from accord.data.row_context import is_turn, is_turns
from accord.data.row_records import Taken, answered, labeler_of, make_prompt, ranked, unusable
from accord.data.row_turns import turns_of
from accord.data.rows import Row, empty, plain
from accord.records import Message, Prompt, Response, Thumb

Node = dict[str, Any]
_CHATGPT = tuple(
    """title create_time update_time moderation_results current_node plugin_ids conversation_id conversation_template_id gizmo_id gizmo_type
    is_archived is_starred safe_urls blocked_urls default_model_slug conversation_origin voice async_status disabled_tool_ids id
    is_do_not_remember memory_scope""".split()  # noqa: SIM905
)
_TRACE = tuple(
    """release version metadata public environment htmlPath latency totalCost observations bookmarked projectId createdAt updatedAt
    externalId""".split()  # noqa: SIM905
)
_SCORE = tuple(
    """id traceId observationId sessionId source timestamp createdAt updatedAt metadata configId queueId environment datasetRunId dataType
    authorUserId comment projectId""".split()  # noqa: SIM905
)

_APPROVAL = re.compile(
    r"(is|was)?[ _-]?(user|human|customer)?[ _-]?(feedback|thumbs?([ _-]?up)?|rating|helpful(ness)?|correct(ness)?"
    r"|liked?|upvoted?|accept(ed|able)?"
    r"|approv(ed|al)|good|satisf(ied|action))",
    re.IGNORECASE,
)
"""Names of scores that say whether somebody approves of the answer: ``user-feedback``, ``thumbs_up``, ``helpful`` and the like."""


def of_feedback(value: dict[str, Any]) -> bool:
    """Return whether a row is Open WebUI's feedback on a message, with the chat around it."""
    return isinstance(value.get("data"), dict) and "rating" in value["data"] and isinstance(value.get("snapshot"), dict)


def of_chats(value: dict[str, Any]) -> bool:
    """Return whether a row is a chat of Open WebUI, with its tree of messages."""
    return isinstance(value.get("chat"), dict) and isinstance(value["chat"].get("history"), dict)


def open_webui_feedback(row: Row) -> Taken:
    """Read a thumb on a message, and the order of answers to one question where the user compared models; the chat is in ``snapshot``."""
    data, meta = row.row("data"), row.row("meta")
    rating = data.number("rating")
    nodes = _open_webui_nodes(cast(Node, row.raw("snapshot")))
    message = meta.word("message_id")
    if message not in nodes:
        raise meta.error("message_id", f"the snapshot has no message {message!r}", "export the feedback with its snapshots")
    turns = _path(nodes, message, "parentId")
    if len(turns) < 2 or turns[-1].role != "assistant" or turns[-2].role != "user":
        return Taken(dropped="feedback on a turn that answers no question")
    prompt = make_prompt(row.like({"source": "Open WebUI"}), turns[:-1], user=row.word("user_id"))
    note = {name: plain(data.raw(name)) for name in ("reason", "comment", "tags", "details") if not empty(data.peek(name))}
    note |= {name: meta.word(name) for name in ("chat_id", "message_id") if meta.has(name)}
    model, siblings = data.word("model_id", "model"), _list(data.raw("sibling_model_ids"))
    _pass(row, "id", "version", "type", "created_at", "updated_at", "user")
    _pass(meta, "arena", "model_id", "message_index", "base_models")
    prompt = replace(prompt, extra={**prompt.extra, f"feedback-{row.word('id')}": note})
    person = row.like({"labeler": row.word("user_id", "imported"), "group": "Open WebUI", "at": _time(row.peek("created_at"))})
    if reason := unusable(prompt, turns[-1].content):
        return Taken(dropped=reason)
    who, response = labeler_of(person, kind="user"), answered(prompt, turns[-1].content, model)
    taken = Taken((who, prompt, response))
    if rating:
        taken += Taken((Thumb(prompt, response, rating > 0, who.id, who.group),))
    parent = nodes.get(str(nodes[message].get("parentId")), {})
    beside = [nodes[str(id)] for id in _list(parent.get("childrenIds")) if str(id) != message and str(id) in nodes]
    others = [node for node in beside if node.get("model") in siblings and str(node.get("content") or "").strip()]
    if others:
        texts, models = [turns[-1].content, *(str(node["content"]) for node in others)], [model, *(str(node["model"]) for node in others)]
        own, rest = (1, 2) if rating > 0 else (2, 1) if rating < 0 else (1, 1)
        # The user judged one answer; the others are not equal to one another by that.
        for i in range(1, len(texts)):
            taken += ranked(person, prompt, (texts[0], texts[i]), (own, rest), models=(models[0], models[i]), kind="user")
    return taken


def open_webui_chats(row: Row) -> Taken:
    """Read a chat: every answer is a response of its model; a message's own thumb (``annotation``) is a thumb of the chat's user."""
    nodes = _open_webui_nodes({"chat": row.raw("chat")})
    _pass(row, "id", "title", "updated_at", "created_at", "share_id", "archived", "pinned", "meta", "folder_id")
    user, taken = row.word("user_id"), Taken()
    for id, node in nodes.items():
        if node.get("role") == "assistant":
            annotation = node.get("annotation")
            rating = verdict(cast(Node, annotation).get("rating")) if isinstance(annotation, dict) else None
            taken += _said(row, _path(nodes, id, "parentId"), str(node.get("model") or "model"), user, rating, "Open WebUI")
    return taken if taken.records or taken.dropped else Taken(dropped="chat without an answer")


def _open_webui_nodes(value: Node) -> dict[str, Node]:
    """Return the messages of a chat by id, from the place where this version of Open WebUI keeps them."""
    for _ in range(3):
        history: Any = value.get("history")
        if isinstance(history, dict) and isinstance(cast(Node, history).get("messages"), dict):
            found = cast(dict[str, Any], cast(Node, history)["messages"])
            return {str(id): cast(Node, node) for id, node in found.items() if isinstance(node, dict)}
        inner: Any = value.get("chat")
        value = cast(Node, inner) if isinstance(inner, dict) else {}
    return {}


def _path(nodes: dict[str, Node], id: str, parent: str) -> tuple[Message, ...]:
    """Return the turns that lead to a message; empty where a turn is no text, or roles do not alternate."""
    turns, seen = list[Message](), set[str]()
    while id in nodes and id not in seen:
        seen.add(id)
        node = nodes[id]
        role, content = node.get("role"), node.get("content")
        if role not in ("system", "user", "assistant") or not isinstance(content, str) or not empty(node.get("files")):
            return ()
        turns.append(Message(role, content.replace("\0", "")))
        id = str(node.get(parent))
    turns.reverse()
    talk = [turn.role for turn in turns[1 if turns and turns[0].role == "system" else 0 :]]
    return tuple(turns) if all(role == ("user", "assistant")[i % 2] for i, role in enumerate(talk)) else ()


def chatgpt(row: Row) -> Taken:
    """Read a conversation of ChatGPT's ``conversations.json``: every answer in its tree is a response of the model that gave it."""
    given: Any = row.raw("mapping")
    nodes, taken = dict[str, Node](), Taken()
    models = dict[str, str]()
    for id, node in cast(dict[str, Any], given).items() if isinstance(given, dict) else ():
        nodes[id], models[id] = _chatgpt_node(_object(node), _object(_object(node).get("message")))
    _pass(row, *_CHATGPT)
    for id in nodes:
        if nodes[id].get("role") == "assistant":
            taken += _said(row, _path(*_without_silent(nodes, id), "parent"), models[id], "", None, "ChatGPT")
    return taken if taken.records or taken.dropped else Taken(dropped="conversation without an answer in text")


def _chatgpt_node(node: Node, message: Node) -> tuple[Node, str]:
    author, content, metadata = (_object(message.get(name)) for name in ("author", "content", "metadata"))
    parts: Any = content.get("parts")
    texts = [part for part in cast(list[Any], parts) if isinstance(part, str)] if isinstance(parts, list) else []
    whole = isinstance(parts, list) and len(texts) == len(cast(list[Any], parts)) and content.get("content_type") == "text"
    text = "".join(texts) if whole else None
    return {"role": author.get("role"), "content": text, "parent": node.get("parent")}, str(metadata.get("model_slug") or "chatgpt")


def _object(value: object) -> Node:
    return cast(Node, value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _without_silent(nodes: dict[str, Node], id: str) -> tuple[dict[str, Node], str]:
    """Return the tree without nodes that say nothing: its root, and empty system turns."""
    silent = {key for key, node in nodes.items() if node["role"] in (None, "system") and not (node["content"] or "").strip()}
    left = {key: dict(node) for key, node in nodes.items() if key not in silent}
    for node in left.values():
        seen = set[str]()
        while (parent := str(node["parent"])) in silent and parent not in seen:
            seen.add(parent)
            node["parent"] = nodes[parent]["parent"]
    return left, id


def _said(row: Row, turns: tuple[Message, ...], model: str, user: str, up: bool | None, source: str) -> Taken:
    """Return the records of one answer at the end of its conversation."""
    if len(turns) < 2 or turns[-1].role != "assistant" or turns[-2].role != "user":
        return Taken(left_out=("answer after a turn that is not text, or to no question",))
    prompt = make_prompt(row.like({"source": source}), turns[:-1], user=user)
    if reason := unusable(prompt, turns[-1].content):
        return Taken(dropped=reason)
    response = answered(prompt, turns[-1].content, model)
    return Taken((prompt, response)) if up is None else _thumbed(row, prompt, response, up, user or "imported", source)


def _thumbed(row: Row, prompt: Prompt, response: Response, up: bool, who: str, group: str) -> Taken:
    person = labeler_of(row.like({"labeler": who, "group": group}), kind="user")
    return Taken((person, prompt, response, Thumb(prompt, response, up, person.id, person.group)))


def langfuse(row: Row) -> Taken:
    """Read a trace: its input, its output and its ``scores``. Every score stays with the prompt.

    A boolean score or a word is a thumb if its name asks for approval; a number is none, and neither is "toxic: true".
    """
    turns, text = _langfuse_input(row), _langfuse_output(row)
    if not turns or turns[-1].role != "user":
        return Taken(dropped="trace whose input is no question")
    prompt = make_prompt(row.like({"source": "Langfuse"}), turns, user=row.word("userId"))
    scores, judged = list[dict[str, Any]](), list[tuple[str, bool]]()
    for score in row.rows("scores"):
        kind, who = score.word("dataType", "NUMERIC").upper(), score.word("authorUserId") or score.word("source", "imported")
        said = score.word("stringValue") if score.has("stringValue") else plain(score.raw("value"))
        score.raw("value")
        about = {"comment": score.word("comment")} if score.has("comment") else {}
        scores.append({"name": score.word("name"), "value": said, "by": who, **about})
        approves = kind in ("BOOLEAN", "CATEGORICAL") and _APPROVAL.fullmatch(score.word("name").strip())
        up = verdict(said) if approves else None
        judged += [(who, up)] if up is not None else []
        _pass(score, *_SCORE)
    note = {name: plain(row.raw(name)) for name in ("id", "sessionId", "timestamp", "name", "tags") if not empty(row.peek(name))}
    _pass(row, *_TRACE)
    if scores:
        prompt = replace(prompt, extra={**prompt.extra, f"trace-{note.get('id', '')}": {**note, "scores": scores}})
    if reason := unusable(prompt, text):
        return Taken(dropped=reason)
    response = answered(prompt, text, "Langfuse")
    taken = Taken((prompt, response))
    for who, up in judged:
        taken += _thumbed(row, prompt, response, up, who, "Langfuse")
    return taken


def of_traces(value: dict[str, Any]) -> bool:
    """Return whether a row is a trace: its scores are objects with a name and a value."""
    scores = value.get("scores")
    return isinstance(scores, list) and all(isinstance(score, dict) and "name" in score for score in cast(list[Any], scores))


def _langfuse_input(row: Row) -> tuple[Message, ...]:
    value: Any = row.peek("input")
    if is_turns(value) or is_turn(value):
        return turns_of(row, "input")
    if isinstance(value, dict):
        inner = row.row("input")
        if is_turns(inner.peek("messages")):
            return turns_of(inner, "messages")
        name = next((name for name in ("prompt", "question", "query", "input", "text") if isinstance(inner.peek(name), str)), "prompt")
        return (Message("user", inner.text(name)),)
    return (Message("user", row.text("input")),)


def _langfuse_output(row: Row) -> str:
    value: Any = row.peek("output")
    if isinstance(value, dict):
        inner = row.row("output")
        name = next(
            (name for name in ("content", "output", "answer", "response", "text", "completion") if isinstance(inner.peek(name), str)),
            "content",
        )
        return inner.text(name)
    if is_turns(value):
        return turns_of(row, "output", first=False)[-1].content
    return row.text("output")


def _pass(row: Row, *names: str) -> None:
    """Count fields as read that say nothing about an answer: ids, times, settings."""
    for name in names:
        row.raw(name)


def _time(seconds: object) -> str:
    """Return a time in seconds since 1970 in ISO 8601."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e11:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
