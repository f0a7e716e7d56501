"""Export of our records in foreign formats: the lines of ``accord export`` become rows of another format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from accord.data.formats_argilla import user_id
from accord.errors import InputError, UsageError
from accord.records import MEDIUM, Media, Message
from accord.runtime.text_only import heard

Line = Mapping[str, Any]
ExportedRow = dict[str, Any]
_MARK = re.compile(r"\n\n(Human|Assistant):")


def shape(what: str, format: str) -> Callable[[Line], ExportedRow | None]:
    """Return the function that turns lines of a kind into rows of a format. It returns None for a line that the format cannot express,
    such as a tie.

    Raises:
        UsageError: the format does not take such records.
    """
    if (found := SHAPES.get((what, format))) is None:
        formats = sorted(name for kind, name in SHAPES if kind == what)
        hint = f"jsonl{''.join(f', {name}' for name in formats)}"
        raise UsageError(f"{what} cannot be written as {format!r}", where="--format", hint=f"{what} can as {hint}")
    return partial(_with_pictures, found, format)


IN_PARTS = frozenset({"messages", "demonstrations", "responses", "rankings", "history", "openai-preference"})
"""Formats in which a message with pictures is a list of parts, as in OpenAI's messages."""
BESIDE = frozenset({"trl-completion", "trl-kto", "trl-preference"})
"""Formats in which the pictures of a row stand in a column ``images``, and a part without an address holds the place of each."""


def _with_pictures(to_row: Callable[[Line], ExportedRow | None], format: str, line: Line) -> ExportedRow | None:
    """Return a line as a row of a format, its pictures where the format has them."""
    found = [media.get("file") or media.get("data", "") for turn in line.get("messages", ()) for media in turn.get("media", ())]
    if not found:
        return to_row(line)
    if format not in IN_PARTS and any(media["kind"] == "audio" for turn in line["messages"] for media in turn.get("media", ())):
        return _with_pictures(to_row, format, {**line, "messages": [_heard(turn, format, line) for turn in line["messages"]]})
    if format == "sharegpt":
        turns = [{"role": turn["role"], "content": _marked(turn)} for turn in line["messages"]]
    elif format in IN_PARTS | BESIDE:
        turns = [_in_parts(turn, named=format in IN_PARTS) for turn in line["messages"]]
    else:
        raise InputError(f"{format} cannot express a picture", where=_where(line), hint="write messages, or jsonl, which keeps everything")
    row = to_row({**line, "messages": turns})
    return row if row is None or format in IN_PARTS else row | {"images": found}


def _heard(turn: Mapping[str, Any], format: str, line: Line) -> dict[str, Any]:
    """A message as models read it: with the transcript in place of each recording, by the rule of ``runtime.text_only``."""
    given = turn.get("media", ())
    media = tuple(Media(each["kind"], each["digest"], each.get("alt", "")) for each in given)
    (read,) = heard([Message(turn["role"], turn["content"], media=media)], format, where=_where(line))
    pictures = [each for each in given if each["kind"] != "audio"]
    return {"role": turn["role"], "content": read.content} | ({"media": pictures} if pictures else {})


def _marked(turn: Mapping[str, Any]) -> str:
    """A message's text with LLaVA's mark for each picture."""
    if turn.get("media") and "<image>" in turn["content"]:
        raise InputError("sharegpt cannot express the word <image> beside a picture", where=turn["content"][:40], hint="write messages")
    return turn["content"].replace(MEDIUM, "<image>") if turn.get("media") else turn["content"]


def _in_parts(turn: Mapping[str, Any], *, named: bool) -> dict[str, Any]:
    """A message whose pictures and recordings are parts of its content."""
    if not turn.get("media"):
        return {"role": turn["role"], "content": turn["content"]}
    parts, waiting = list[dict[str, Any]](), iter(turn["media"])
    for number, text in enumerate(turn["content"].split(MEDIUM)):
        if number:
            media = next(waiting)
            address = {"url": media.get("file") or media.get("data", "")}
            if media["kind"] == "audio":
                said = {"transcript": media["alt"]} if media.get("alt") else {}
                parts.append({"type": "audio_url", "audio_url": address} | said)
            else:
                parts.append({"type": "image_url", "image_url": address} if named else {"type": "image"})
        if text:
            parts.append({"type": "text", "text": text})
    return {"role": turn["role"], "content": parts}


def _messages(line: Line) -> ExportedRow:
    return {"messages": [*line["messages"], {"role": "assistant", "content": line["response"]}]}


def _prompt_messages(line: Line) -> ExportedRow:
    return {"messages": list(line["messages"])}


def _prompt(line: Line) -> ExportedRow:
    return {"prompt": _only(line, "prompts"), "user": line["user"], "use_case": line["use_case"]}


def _sharegpt(line: Line) -> ExportedRow:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    turns = [*line["messages"], {"role": "assistant", "content": line["response"]}]
    return {"conversations": [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]}


def _alpaca(line: Line) -> ExportedRow:
    return {"instruction": _only(line, "alpaca"), "input": "", "output": line["response"]}


def _completion(line: Line) -> ExportedRow:
    return {"prompt": list(line["messages"]), "completion": _said(line["response"])}


def _kto(line: Line) -> ExportedRow:
    return {"prompt": list(line["messages"]), "completion": _said(line["response"]), "label": line["up"]}


def _preference(line: Line) -> ExportedRow | None:
    if line["tie"]:
        return None
    return {"prompt": list(line["messages"]), "chosen": _said(line["chosen"]), "rejected": _said(line["rejected"])}


def _openai(line: Line) -> ExportedRow | None:
    if line["tie"]:
        return None
    sides = {"preferred_output": _said(line["chosen"]), "non_preferred_output": _said(line["rejected"])}
    return {"input": {"messages": list(line["messages"]), "tools": [], "parallel_tool_calls": True}, **sides}


def _label_studio(line: Line) -> ExportedRow:
    """A task with its annotation; name the tags of the labeling config ``prompt``, ``answer1`` and ``answer2``."""
    selected = {} if line["tie"] else {"selected": "left"}
    result = {"type": "pairwise", "from_name": "pairwise", "to_name": "answer1,answer2", "value": selected}
    data = {"messages": list(line["messages"]), "answer1": line["chosen"], "answer2": line["rejected"]}
    return {"data": data, "annotations": [{"completed_by": {"email": line["labeler"]}, "was_cancelled": False, "result": [result]}]}


def _argilla(line: Line) -> ExportedRow | None:
    """A record with its annotator's answer, for a data set with a ranking question ``preference`` between both responses."""
    if line["tie"]:
        return None
    fields = {"messages": list(line["messages"]), "response_1": line["chosen"], "response_2": line["rejected"]}
    answer = {"value": ["response_1", "response_2"], "user_id": user_id(line["labeler"]), "status": "submitted"}
    about = {"metadata": {"labeler": line["labeler"]}, "suggestions": {}, "vectors": {}, "_server_id": None}
    return {"id": None, "fields": fields, "responses": {"preference": [answer]}, **about}


def _hh(line: Line) -> ExportedRow | None:
    if line["tie"]:
        return None
    names = {"user": "Human", "assistant": "Assistant"}
    for turn in (*line["messages"], {"role": "assistant", "content": line["chosen"]}, {"role": "assistant", "content": line["rejected"]}):
        if turn["role"] not in names or _MARK.search(f"\n\n{turn['content']}") or turn["content"] != turn["content"].strip():
            what = "hh-rlhf cannot express a system turn, its own markers inside a text, or blanks around it"
            raise InputError(what, where=_where(line), hint="write trl-preference")
    asked = "".join(f"\n\n{names[turn['role']]}: {turn['content']}" for turn in line["messages"])
    return {side: f"{asked}\n\nAssistant: {line[side]}" for side in ("chosen", "rejected")}


def _history(line: Line) -> ExportedRow:
    return {"history": list(line["messages"]), "responses": [line["response"]]}


def _ranked_history(line: Line) -> ExportedRow:
    return {"history": list(line["messages"]), "responses": list(line["responses"]), "ranks": list(line["ranks"])}


def _ranking(line: Line) -> ExportedRow:
    names = ("messages", "responses", "models", "ranks", "labeler", "group", "at", "user", "use_case")
    return {name: line[name] for name in names}


def _response(line: Line) -> ExportedRow:
    return {name: line[name] for name in ("messages", "response", "model", "user", "use_case")}


def _demonstration(line: Line) -> ExportedRow:
    return {name: line[name] for name in ("messages", "response", "labeler", "group", "user", "use_case")}


def _only(line: Line, format: str) -> str:
    """Return the text of a prompt that consists of a single user turn."""
    if len(line["messages"]) != 1:
        raise InputError(f"{format} cannot express a conversation", where=_where(line), hint="write messages")
    return line["messages"][0]["content"]


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _where(line: Line) -> str:
    return str(line.get("id") or line.get("ranking") or line.get("response_id"))


SHAPES: dict[tuple[str, str], Callable[[Line], ExportedRow | None]] = {
    ("prompts", "prompts"): _prompt,
    ("prompts", "messages"): _prompt_messages,
    ("demonstrations", "demonstrations"): _demonstration,
    ("demonstrations", "messages"): _messages,
    ("demonstrations", "sharegpt"): _sharegpt,
    ("demonstrations", "alpaca"): _alpaca,
    ("demonstrations", "trl-completion"): _completion,
    ("demonstrations", "history"): _history,
    ("responses", "responses"): _response,
    ("rankings", "rankings"): _ranking,
    ("rankings", "history"): _ranked_history,
    ("comparisons", "trl-preference"): _preference,
    ("comparisons", "openai-preference"): _openai,
    ("comparisons", "label-studio"): _label_studio,
    ("comparisons", "argilla"): _argilla,
    ("comparisons", "hh-rlhf"): _hh,
    ("thumbs", "trl-kto"): _kto,
}
