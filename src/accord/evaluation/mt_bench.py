"""MT-bench by a judge (Zheng et al. 2023): questions of two turns, each answer graded from 1 to 10.

Questions are a file of FastChat's format: ``question_id``, ``category``, ``turns``, and for some ``reference``. The instruction is our own;
what is judged stands between fences, as for ``accord compare --by llm``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from accord.errors import InputError
from accord.protocols import Speaker
from accord.records import Message, Sampling
from accord.runtime.fences import fenced, mark_of, warned

_ASK = """Grade the assistant's last answer in a conversation, from 1 (useless) to 10 (as good as can be).
Helpful, relevant, accurate, deep, creative and detailed as the user needs: that counts. Length alone does not. {warned}

[Conversation]
{conversation}
{reference}
[Answer to grade]
{answer}

Say in a sentence or two what is good and bad about it. Then end with a line "Rating: N", where N is a number from 1 to 10."""
_RATING = re.compile(r"\brating\W{0,8}(\d+(?:\.\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class MtQuestion:
    """A question with its turns, and a reference for each, if any."""

    id: str
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] = ()


def is_mt_bench(row: Mapping[str, Any]) -> bool:
    """Return whether a row has the fields of a question of MT-bench."""
    return {"question_id", "turns"} <= row.keys()


def read_question(row: Mapping[str, Any], number: int, where: str) -> MtQuestion:
    """Read a question.

    Raises:
        InputError: its turns are no list of texts.
    """
    turns: Any = row["turns"]
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in cast("list[Any]", turns)):
        raise InputError("turns must be a list of texts", where=f"{where}, row {number}")
    reference: Any = row.get("reference") or ()
    return MtQuestion(str(row["question_id"]), str(row.get("category", "other")), tuple(cast("list[str]", turns)), tuple(reference))


def answers(speaker: Speaker, questions: Sequence[MtQuestion], *, sampling: Sampling, seed: int) -> list[list[str]]:
    """Return a model's answers to all turns of each question, one turn of all questions after the other."""
    said: list[list[str]] = [[] for _ in questions]
    for turn in range(max(len(question.turns) for question in questions)):
        rows = [row for row, question in enumerate(questions) if turn < len(question.turns)]
        asked = [conversation(questions[row], said[row], turn) for row in rows]
        for row, texts in zip(rows, speaker.answer(asked, n=1, sampling=sampling, seed=seed), strict=True):
            said[row].append(texts[0])
    return said


def conversation(question: MtQuestion, said: Sequence[str], turn: int) -> tuple[Message, ...]:
    """Return the conversation up to the user's turn of this number."""
    messages: list[Message] = []
    for place in range(turn):
        messages += [Message("user", question.turns[place]), Message("assistant", said[place])]
    return (*messages, Message("user", question.turns[turn]))


def ratings(
    judge: Speaker, questions: Sequence[MtQuestion], said: Sequence[Sequence[str]], *, sampling: Sampling, seed: int = 0
) -> dict[tuple[str, int], float]:
    """Return the judge's rating of each question's answers by turn, from 1 to 10; NaN where it gave none."""
    keys: list[tuple[str, int]] = []
    asked: list[tuple[Message, ...]] = []
    for question, texts in zip(questions, said, strict=True):
        for turn, text in enumerate(texts):
            keys.append((question.id, turn + 1))
            asked.append(grading(question, texts, turn, text))
    replies = judge.answer(asked, n=1, sampling=sampling, seed=seed)
    return {key: rating(texts[0]) for key, texts in zip(keys, replies, strict=True)}


def grading(question: MtQuestion, said: Sequence[str], turn: int, text: str) -> tuple[Message, ...]:
    """Return the conversation that is put to the judge."""
    turns = "\n".join(f"{message.role}: {message.content}" for message in conversation(question, said, turn))
    known = question.reference[turn] if turn < len(question.reference) else ""
    mark = mark_of(turns, text, known)
    reference = f"\n[A right answer]\n{fenced(known, mark)}\n" if known else ""
    parts = {"conversation": fenced(turns, mark), "answer": fenced(text, mark), "warned": warned(mark), "reference": reference}
    return (Message("user", re.sub(r"\{(conversation|answer|warned|reference)\}", lambda found: parts[found[1]], _ASK)),)


def rating(text: str) -> float:
    """Return the rating that a reply ends with; NaN where it has none from 1 to 10."""
    found = _RATING.findall(text)
    value = float(found[-1]) if found else math.nan
    return value if 1 <= value <= 10 else math.nan
