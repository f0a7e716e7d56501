"""Chinese sets in the field names of their publishers: BELLE, Firefly, MOSS, COIG, CValues."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from accord.data.row_extra import columns, judged, noted, told
from accord.data.row_records import Taken, demonstrated, instruction_turns, make_prompt, ranked
from accord.data.rows import Row, first_object
from accord.records import Message

_SPEAKER = re.compile(r"(?:^|\n)(Human|Assistant):\s?")
_MOSS = {
    "Human": re.compile(r"\s*(?:<\|Human\|>:\s?)?(.*?)\s*(?:<eoh>)?\s*", re.DOTALL),
    "Inner Thoughts": re.compile(r"\s*(?:<\|Inner Thoughts\|>:\s?)?(.*?)\s*(?:<eot>)?\s*", re.DOTALL),
    "Commands": re.compile(r"\s*(?:<\|Commands\|>:\s?)?(.*?)\s*(?:<eoc>)?\s*", re.DOTALL),
    "Tool Responses": re.compile(r"\s*(?:<\|Results\|>:\s?)?(.*?)\s*(?:<eor>)?\s*", re.DOTALL),
    "MOSS": re.compile(r"\s*(?:<\|MOSS\|>:\s?)?(.*?)\s*(?:<eom>)?\s*", re.DOTALL),
}
FIREFLY = {
    "BrainStorming": "brainstorm",
    "Classification": "classify",
    "ClosedQA": "closed QA",
    "OpenQA": "open QA",
    "Summary": "summarise",
    "TextGeneration": "generation",
    "StoryGeneration": "generation",
    "ProseGeneration": "generation",
}
"""Firefly's kinds of task as use cases; a kind that is not here stays as it is."""


def belle(row: Row) -> Taken:
    """Read BELLE's multi-turn rows: ``instruction`` holds the turns in the marks "Human:" and "Assistant:", ``output`` the last answer."""
    head, *parts = _SPEAKER.split(row.text("instruction"))
    turns = list(zip(parts[::2], (text.strip() for text in parts[1::2]), strict=True))
    if turns and turns[-1] == ("Assistant", ""):
        turns.pop()
    names = [name for name, _ in turns]
    if head.strip() or not names or names != ["Human" if i % 2 == 0 else "Assistant" for i in range(len(names))] or len(names) % 2 == 0:
        raise row.error("instruction", 'not turns of "Human:" and "Assistant:" in order that end with a question')
    given = row.text("input", "").strip()
    messages = [Message("user" if name == "Human" else "assistant", text) for name, text in turns]
    if given:
        messages[-1] = instruction_turns(messages[-1].content, given)[0]
    return demonstrated(row, make_prompt(row, tuple(messages)), row.text("output"))


def in_marks(value: dict[str, Any]) -> bool:
    """Return whether an instruction holds turns in BELLE's marks."""
    text = value.get("instruction")
    return isinstance(text, str) and text.lstrip().startswith("Human:") and "\nAssistant:" in text


def firefly(row: Row) -> Taken:
    """Read Firefly's ``kind``, ``input`` and ``target``: a demonstration with its kind as use case."""
    use_case = FIREFLY.get(row.word("kind"), row.word("kind"))
    return demonstrated(row, make_prompt(row, (Message("user", row.text("input")),), use_case=use_case), row.text("target"))


def firefly_chat(row: Row) -> Taken:
    """Read Firefly's conversations, a list of ``human`` and ``assistant``, one pair per round; the last answer is a demonstration."""
    rounds = row.rows("conversation")
    if not rounds:
        raise row.error("conversation", "an empty list")
    messages = [Message("system", row.text("system"))] if row.text("system", "").strip() else []
    for said in rounds:
        messages += [Message("user", said.text("human")), Message("assistant", said.text("assistant"))]
    prompt = make_prompt(row, tuple(messages[:-1]), use_case=row.word("category") or "other")
    return told(demonstrated(row, prompt, messages[-1].content), columns(row, "conversation_id", "dataset"))


def in_rounds(value: dict[str, Any]) -> bool:
    """Return whether a conversation is a list of rounds with the keys ``human`` and ``assistant``."""
    return {"human", "assistant"} <= first_object(value, "conversation").keys()


def moss(row: Row) -> Taken:
    """Read MOSS's ``chat`` with ``turn_1``, ``turn_2``, ...; ``meta_instruction`` is the system turn (Sun et al. 2023).

    Inner thoughts go before the answer in <think>, and a command and its results are two turns before it, in <tool_call> and
    <tool_response>. The last answer is a demonstration.
    """
    chat = row.row("chat")
    names = sorted((name for name in chat.value if re.fullmatch(r"turn_\d+", name)), key=lambda name: int(name[5:]))
    if not names:
        raise row.error("chat", "no turns")
    system = row.text("meta_instruction", "").strip()
    messages = [Message("system", system)] if system else []
    for name in names:
        messages += _moss_round(chat.row(name))
    prompt = make_prompt(row, tuple(messages[:-1]), use_case=row.word("category").lower() or "other")
    row.raw("num_turns")
    return told(demonstrated(row, prompt, messages[-1].content), columns(row, "conversation_id"))


def _moss_round(turn: Row) -> list[Message]:
    said = dict[str, str]()
    for name, mark in _MOSS.items():
        match = mark.fullmatch(turn.text(name, ""))
        text = match[1].strip() if match else ""
        said[name] = "" if text == "None" and name != "Human" and name != "MOSS" else text
    turn.text("Human")
    turn.text("MOSS")
    thought = f"<think>\n{said['Inner Thoughts']}\n</think>\n\n" if said["Inner Thoughts"] else ""
    if not said["Commands"]:
        return [Message("user", said["Human"]), Message("assistant", thought + said["MOSS"])]
    call, results = f"<tool_call>\n{said['Commands']}\n</tool_call>", f"<tool_response>\n{said['Tool Responses']}\n</tool_response>"
    asked = [Message("user", said["Human"]), Message("assistant", thought + call)]
    return [*asked, Message("user", results), Message("assistant", said["MOSS"])]


def coig_exam(row: Row) -> Taken:
    """Read COIG's exam questions (Zhang et al. 2023, arXiv 2304.07987), whose columns begin with ``textbox_``.

    The analysis, where there is one, is the demonstration, as in the set's own loader, and the answer is kept with the prompt.
    """
    asked = [row.text(name, "").strip() for name in ("textbox_q_instruction", "textbox_q_context")] + [row.text("textbox_question").strip()]
    prompt = make_prompt(row, (Message("user", "\n\n".join(part for part in asked if part)),), use_case="exam")
    answer, analysis = row.text("textbox_answer", "").strip(), row.text("textbox_answer_analysis", "").strip()
    taken = demonstrated(row, prompt, analysis or answer)
    taken = noted(taken, {"answer": answer} if answer else {})
    return told(taken, columns(row, "subject", "textbox_question_type", "grade", "year"))


def coig_translated(row: Row) -> Taken:
    """Read COIG's translated instructions: ``trans_instruction``, ``trans_input``, ``trans_output``."""
    for name in ("instruction", "input", "output"):
        row.raw(name)
    prompt = make_prompt(row, instruction_turns(row.text("trans_instruction"), row.text("trans_input", "")))
    return told(demonstrated(row, prompt, row.text("trans_output")), columns(row, "task_name_in_eng"))


def coig_rounds(row: Row) -> Taken:
    """Read COIG's corrected conversations, whose ``round_N`` holds a ``response`` in JSON with a question Q and an answer A."""
    names = sorted((name for name in row.value if re.fullmatch(r"round_\d+", name)), key=lambda name: int(name[6:]))
    if not names:
        raise row.error("round_0", "missing")
    messages = list[Message]()
    for name in names:
        inner = row.row(name)
        said = _question_and_answer(inner)
        messages += [Message("user", said.text("Q")), Message("assistant", said.text("A"))]
    prompt = make_prompt(row, tuple(messages[:-1]))
    return demonstrated(row, prompt, messages[-1].content)


def _question_and_answer(row: Row) -> Row:
    try:
        value = json.loads(row.text("response"))
    except (ValueError, RecursionError) as error:
        raise row.error("response", f"broken JSON: {error}") from error
    if not isinstance(value, dict):
        raise row.error("response", "not an object with Q and A")
    return Row(cast("dict[str, Any]", value), row.file, row.line, f"{row.inside}response.")


def cvalues(row: Row) -> Taken:
    """Read CValues' pairs (Xu et al. 2023, arXiv 2307.09705): ``pos_resp`` is preferred to ``neg_resp``; their types are kept."""
    prompt = make_prompt(row, (Message("user", row.text("prompt")),))
    each = [_about(row, type=f"{side}_type") for side in ("pos", "neg")]
    return judged(ranked(row, prompt, (row.text("pos_resp"), row.text("neg_resp")), (1, 2)), {}, each)


def zhihu(row: Row) -> Taken:
    """Read zhihu_rlhf_3k: two answers to a question, of which ``chosen`` got more upvotes; the numbers of upvotes are kept."""
    prompt = make_prompt(row, (Message("user", row.text("prompt")),))
    taken = ranked(row, prompt, (row.text("chosen"), row.text("rejected")), (1, 2), models=("people", "people"))
    each = [_about(row, upvotes=f"upvotes_{side}") for side in ("chosen", "rejected")]
    return judged(taken, columns(row, "question_id"), each)


def _about(row: Row, **names: str) -> dict[str, Any]:
    """Return columns by other names."""
    found = columns(row, *names.values())
    return {name: found[column] for name, column in names.items() if column in found}
