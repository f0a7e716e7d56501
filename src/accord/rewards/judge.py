"""A language model as a reward: it grades each response by a rubric, or compares it with another text in both orders.

Only answers that could be read are cached. What cannot be read is asked once more, then counted, and the reward does not apply.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import cast

from accord.errors import RunError
from accord.protocols import Speaker
from accord.records import Message, Sampling
from accord.rewards.rows import AGAIN, ONE, Said, Scores
from accord.runtime.fences import fenced, mark_of, warned
from accord.runtime.files import write_atomic
from accord.runtime.text_only import as_text

GRADE = """Grade the answer to a conversation by a rubric. Judge by the rubric alone. {warned}

[Rubric]
{rubric}

[Conversation]
{conversation}

[Answer]
{answer}

Say in a sentence what the rubric finds. Then end with a line "Score: N", where N is a number from 0 (fails the rubric) to 10 (meets it)."""
_SCORE = re.compile(r"\bscore[^\w-]{0,6}(-?\d+(?:\.\d+)?)", re.IGNORECASE)
_ALONE = re.compile(r"\W*(-?\d+(?:\.\d+)?)(?:\s*/\s*10)?\W*")
BEST = 10
TRIES = (0.0, 0.7)
"""Temperatures of the first and the second try."""
AT_ONCE = 32
"""Questions that are asked and cached together, so that a server that goes away loses few answers."""


@dataclass(frozen=True)
class Question:
    """What a judge is asked, and how its answer is read: a number from 0 to 1, or NaN where it says none."""

    messages: tuple[Message, ...]
    read: Callable[[str], float]


OTHERS = "others"
"""What a judge compares with: the other responses to the prompt, in place of a text in a column."""
Pair = Callable[[Said, str, str], Sequence[Question]]
"""Makes the questions of a comparison, in both orders, from a row, the other text and a rubric; each is read for the response."""


def grade(text: str) -> float:
    """Return the score that a judge's answer ends with, over 10; NaN where it has none, or one out of range."""
    found = _SCORE.findall(text)
    alone = _ALONE.fullmatch(text)
    if not found and alone is None:
        return math.nan
    value = float(found[-1] if found else cast("re.Match[str]", alone).group(1))
    return value / BEST if 0 <= value <= BEST else math.nan


def graded(row: Said, rubric: str) -> Question:
    """Return the question that has one response graded."""
    read = as_text(row.messages, "the judge", where=f"prompt {row.id}")
    conversation = "\n".join(f"{message.role}: {message.content}" for message in read)
    mark = mark_of(rubric, conversation, row.response)
    parts = {"rubric": rubric, "conversation": fenced(conversation, mark), "answer": fenced(row.response, mark), "warned": warned(mark)}
    text = re.sub(r"\{(rubric|conversation|answer|warned)\}", lambda found: parts[found.group(1)], GRADE)
    return Question((Message("user", text),), grade)


@dataclass(frozen=True)
class JudgeReward:
    """A judge as a reward, from 0 to 1.

    Args:
        speaker: opens the model that judges; called at the first question.
        identity: what tells this judge from another in the cache.
        rubric: the rubric of all rows, or else ``column`` names each row's own.
        against: the column with a text to compare each response with, or ``OTHERS``; empty has responses graded.
        keep: the folder of the cache.
        max_tokens: length limit of an answer.
    """

    name: str
    speaker: Callable[[], Speaker]
    identity: str
    keep: Path
    rubric: str = ""
    column: str = ""
    against: str = ""
    pair: Pair | None = None
    max_tokens: int = 512
    counts: Counter[str] = field(default_factory=Counter[str], compare=False)
    """Questions whose answer could not be read after two tries (``unreadable``)."""
    _opened: list[Speaker] = field(default_factory=list[Speaker], repr=False, compare=False)

    def score(self, rows: Sequence[Said]) -> Scores:
        """Judge each response; None where its row lacks a rubric or the text to compare with, or the judge said nothing readable.

        Raises:
            RunError: the judge is gone, or most of what it says is unreadable.
        """
        if self.against == OTHERS:
            return {ONE: self._among_themselves(rows)}
        asked = [self._questions(row) for row in rows]
        flat = [question for questions in asked for question in questions]
        answers = iter(self._answers(flat))
        worth: list[float | None] = []
        for questions in asked:
            values = [next(answers) for _ in questions]
            readable = bool(values) and not any(math.isnan(value) for value in values)
            worth.append(sum(values) / len(values) if readable else None)
        return {ONE: worth}

    def _among_themselves(self, rows: Sequence[Said]) -> list[float | None]:
        """Return the share of the other responses to its prompt that each response beats, in both orders; half for a tie.

        Of two texts the one that comes first in the alphabet is the first, so that a pair is one question however it is drawn.
        """
        pairs = list[tuple[int, int]]()
        for i, j in combinations(range(len(rows)), 2):
            if (rows[i].id, rows[i].messages) == (rows[j].id, rows[j].messages):
                pairs.append((i, j) if rows[i].response <= rows[j].response else (j, i))
        asked = [self._compared(rows[i], rows[j].response) if rows[i].response != rows[j].response else () for i, j in pairs]
        answers = iter(self._answers([question for questions in asked for question in questions]))
        won: list[list[float]] = [[] for _ in rows]
        for (i, j), questions in zip(pairs, asked, strict=True):
            values = [next(answers) for _ in questions] or [0.5]
            if rows[i].response != rows[j].response and not questions:
                continue  # its row has no rubric
            if not any(math.isnan(value) for value in values):
                share = sum(values) / len(values)
                won[i].append(share)
                won[j].append(1 - share)
        return [sum(shares) / len(shares) if shares else None for shares in won]

    def _compared(self, row: Said, other: str) -> Sequence[Question]:
        rubric = self.rubric or row.extra.get(self.column)
        return self.pair(row, other, str(rubric)) if rubric and self.pair else ()

    def _questions(self, row: Said) -> Sequence[Question]:
        rubric = self.rubric or row.extra.get(self.column)
        if not rubric:
            return ()
        if self.pair is None:
            return (graded(row, str(rubric)),)
        other = row.extra.get(self.against)
        return () if other is None else self._compared(row, str(other))

    def _answers(self, questions: Sequence[Question]) -> list[float]:
        """Return what each answer is read as; questions that are alike are asked once."""
        files = [self._file(question) for question in questions]
        unique = dict(zip(files, questions, strict=True))
        known = {file: float(json.loads(file.read_text("utf-8"))["worth"]) for file in unique if file.is_file()}
        waiting, example = [file for file in unique if file not in known], ""
        fresh = len(waiting)
        for number, temperature in enumerate(TRIES):
            unread: list[Path] = []
            for start in range(0, len(waiting), AT_ONCE):
                some = waiting[start : start + AT_ONCE]
                for file, said in zip(some, self._said([unique[each] for each in some], temperature, number), strict=True):
                    value = unique[file].read(said)
                    if math.isnan(value):
                        unread.append(file)
                        example = said
                    else:
                        known[file] = value
                        write_atomic(file, json.dumps({"worth": value, "said": said}, ensure_ascii=False))
            waiting = unread
        self.counts["unreadable"] += len(waiting)
        if len(waiting) > max(1, fresh // 2):
            what = f"{len(waiting)} of {fresh} answers of the judge could not be read, for example {example[:80]!r}"
            hint = f"does the model follow instructions, and is its answer cut? take another by --judge-model; {AGAIN}"
            raise RunError(what, where=f"the reward {self.name}", hint=hint)
        return [known.get(file, math.nan) for file in files]

    def _said(self, questions: Sequence[Question], temperature: float, seed: int) -> list[str]:
        if not self._opened:
            self._opened.append(self.speaker())
        sampling = Sampling(temperature=temperature, max_tokens=self.max_tokens)
        try:
            answers = self._opened[0].answer([question.messages for question in questions], n=1, sampling=sampling, seed=seed)
        except RunError as error:
            hint = "; ".join(filter(None, [error.hint, "what was judged is kept: continue with --resume"]))
            raise RunError(error.what, where=f"the reward {self.name}, {error.where}", hint=hint) from error
        return [each[0] for each in answers]

    def _file(self, question: Question) -> Path:
        asked = json.dumps([self.identity, self.max_tokens, [[each.role, each.content] for each in question.messages]])
        return self.keep / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"


@dataclass(frozen=True)
class Agreement:
    """How often a judge orders two responses as people do."""

    pairs: int
    share: float
    """Ties of the judge count one half."""
    low: float
    high: float
    """The 95% interval (Wilson)."""

    def __str__(self) -> str:
        return f"agrees with people on {self.share:.0%} of {self.pairs} pairs (95% interval {self.low:.0%} to {self.high:.0%})"


def agreement(better: Sequence[float | None], worse: Sequence[float | None]) -> Agreement | None:
    """Return the agreement of rewards with pairs that people ordered; None where no pair could be judged."""
    judged = [(one, other) for one, other in zip(better, worse, strict=True) if one is not None and other is not None]
    if not judged:
        return None
    pairs, z = len(judged), 1.959964
    share = sum(1.0 if one > other else 0.5 if one == other else 0.0 for one, other in judged) / pairs
    middle, width = share + z * z / (2 * pairs), z * math.sqrt(share * (1 - share) / pairs + z * z / (4 * pairs * pairs))
    return Agreement(pairs, share, (middle - width) / (1 + z * z / pairs), (middle + width) / (1 + z * z / pairs))
