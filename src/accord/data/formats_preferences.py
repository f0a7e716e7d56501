"""Formats of preferences: hh-rlhf, TRL's formats, ratings (UltraFeedback, HelpSteer), fine-grained feedback, thumbs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, groupby, islice
from typing import Any, cast

from accord.data.formats_pairs import joined
from accord.data.row_extra import columns, judged, noted
from accord.data.row_records import (
    MOST,
    Taken,
    all_answered,
    demonstrated,
    instruction_turns,
    labeler_of,
    make_prompt,
    places,
    quality_of,
    ranked,
    unusable,
)
from accord.data.rows import TOGETHER, Fault, Row, first_object, shown
from accord.data.spans import Span
from accord.records import Message, Prompt, Response

_RATED = ("overall_score", "fine-grained_score", "critique", "custom_system_prompt", "principle")
_HUMAN = re.compile(r"\n\n(Human|Assistant):")


def hh_rlhf(row: Row) -> Taken:
    """Read two dialogues that differ in the last answer; the part they share is the prompt (Bai et al. 2022, arXiv 2204.05862)."""
    return _pair(row, _dialogue(row, "chosen"), _dialogue(row, "rejected"))


def _dialogue(row: Row, field: str) -> tuple[Message, ...]:
    head, *parts = _HUMAN.split(row.text(field))
    if head.strip() or parts[:1] != ["Human"]:
        hint = "comparisons of plain texts, as in TRL, need a column prompt"
        raise row.error(field, 'not a dialogue of "\\n\\nHuman: ...\\n\\nAssistant: ..."', hint)
    turns = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message("user" if name == "Human" else "assistant", text.strip()) for name, text in turns)


def _pair(row: Row, better: tuple[Message, ...], worse: tuple[Message, ...]) -> Taken:
    if better[:-1] != worse[:-1]:
        return Taken(dropped="dialogues that part before the last answer")
    if len(better) < 2 or better[-2].role != "user" or {better[-1].role, worse[-1].role} != {"assistant"}:
        return Taken(dropped="dialogue that does not end with a question and its answer")
    return ranked(row, make_prompt(row, joined(better[:-1])), (better[-1].content, worse[-1].content), (1, 2))


def ultrafeedback(row: Row) -> Taken:
    """Read an instruction with completions of several models, rated by a model (Cui et al. 2023, arXiv 2310.01377).

    Order and quality come from ``overall_score`` (1 to 10), or if one is missing, from the mean of the aspects' ratings (1 to 5).
    """
    return _rated(row, make_prompt(row, instruction_turns(row.text("instruction"), "")))


def vlfeedback(row: Row) -> Taken:
    """Read a question about a picture with completions of several models, rated by a model (Li et al. 2023, arXiv 2312.10665).

    ``completions`` are objects, or, as the hub's Parquet files have them, one object of lists.
    """
    given = row.peek("completions")
    if isinstance(given, dict):
        lists = cast("dict[str, Any]", given)
        if not all(isinstance(cells, list) for cells in lists.values()) or len(set(map(len, lists.values()))) > 1:
            raise row.error("completions", f"an object of lists of one length is needed, not {shown(lists)}")
        rows = [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
        row.raw("completions")
        row = row.like({**row.value, "completions": rows})
    row.raw("models")  # each completion names its own
    return _rated(row, make_prompt(row, (Message("user", row.text("prompt")),)))


def of_vlfeedback(value: dict[str, Any]) -> bool:
    """Return whether completions are rated by aspects, as VLFeedback's are."""
    given: Any = value["completions"]
    if isinstance(given, dict):
        return {"annotations", "response"} <= cast("dict[str, Any]", given).keys()
    return {"annotations", "response"} <= first_object(value, "completions").keys()


def _rated(row: Row, prompt: Prompt) -> Taken:
    given, beyond = row.rows("completions")[:MOST], row.rows("completions")[MOST:]
    texts, models = [c.text("response") for c in given], [c.word("model", "model") for c in given]
    rated = [_overall(completion) for completion in given]
    left_out = ("completion beyond the ninth",) * len(beyond)
    if len(given) < 2:
        return Taken(dropped="fewer than two completions")
    if any(score is None for score in rated):
        return Taken(dropped="completion without a rating")
    quality = [score for score in rated if score is not None]
    sevenths = [quality_of(score, 0, 1) for score in quality]
    taken = ranked(row, prompt, texts, places(quality), models=models, quality=sevenths, default="gpt-4", kind="model")
    each = [columns(c, *_RATED, "annotations") for c in given]
    taken = noted(judged(taken, columns(row, "source"), each), columns(row, "correct_answers", "incorrect_answers"))
    return replace(taken, left_out=left_out if taken.records else ())


def _overall(completion: Row) -> float | None:
    """Return a completion's score on a scale from 0 to 1."""
    if completion.has("overall_score"):
        score = completion.number("overall_score")
        return (min(score, 10.0) - 1) / 9
    aspects = completion.row("annotations") if completion.has("annotations") else None
    found = list[float]()
    for name in aspects.value if aspects else ():
        word = aspects.row(name).word("Rating", "N/A") if aspects and isinstance(aspects.peek(name), dict) else "N/A"
        if word.replace(".", "", 1).isdigit():
            found.append((float(word) - 1) / 4)
    return sum(found) / len(found) if found else None


def same_prompt(rows: Iterator[Row]) -> Iterator[Row | Fault]:
    """Merge consecutive rows of one prompt into one row, at most nine at a time."""
    for _, group in groupby(rows, key=lambda row: row.peek("prompt")):
        while together := list(islice(group, MOST)):
            first = together[0]
            yield first.like({**first.value, TOGETHER: [row.value for row in together]})


def fine_grained(row: Row) -> Taken:
    """Read a question with passages and four predictions: six pairs, marked errors and a correction of the first prediction (Wu et al.
    2023, arXiv 2306.01693).

    The six pairs become one ranking if they agree with an order, otherwise one ranking each.
    """
    prompt = make_prompt(row, (Message("user", _question(row)),), use_case="closed QA", beside=("gold",))
    texts = [row.text(f"prediction {n}") for n in range(1, 5)]
    if reason := unusable(prompt, *texts):
        return Taken(dropped=reason)
    responses = all_answered(prompt, texts, ["predictions"] * len(texts))
    taken = _preferred(row, prompt, texts) + Taken((prompt, *responses))
    if row.has("feedback"):
        taken += _marked(row.row("feedback"), prompt, responses[0])
    return taken


def grounded(row: Row) -> Taken:
    """Read the same questions without feedback; the first human answer is a demonstration."""
    answers = row.texts("answer")
    if not answers:
        return Taken(dropped="question without an answer")
    return demonstrated(row, make_prompt(row, (Message("user", _question(row)),), use_case="closed QA"), answers[0])


def _question(row: Row) -> str:
    passages = list[str]()
    for i, passage in enumerate(row.items("passages")):
        if isinstance(passage, dict):
            inner = row.rows("passages")[i]
            passages.append(inner.text("content"))
        else:
            passages.append(" ".join(Row({"p": passage}, row.file, row.line, f"passages[{i}].").texts("p")[1:]))
    return "\n\n".join([*(text.strip() for text in passages), row.text("question").strip()])


def _preferred(row: Row, prompt: Prompt, texts: list[str]) -> Taken:
    said = [int(value) if isinstance(value, int) and value in (0, 1, 2) else -1 for value in row.items("preference")]
    pairs = list(combinations(range(4), 2))
    if len(said) != len(pairs) or -1 in said:
        raise row.error("preference", "not six numbers 0, 1 or 2, for the pairs 1-2, 1-3, 1-4, 2-3, 2-4, 3-4")
    won = [0] * 4
    for (i, j), value in zip(pairs, said, strict=True):
        won[i] += (0, 1, -1)[value]
        won[j] += (0, -1, 1)[value]
    ranks = places(won)
    implied = [0 if ranks[i] == ranks[j] else 1 if ranks[i] < ranks[j] else 2 for i, j in pairs]
    if said == implied:
        return ranked(row, prompt, texts, ranks, models=["predictions"] * 4)
    taken, orders = Taken(), {0: (1, 1), 1: (1, 2), 2: (2, 1)}
    for (i, j), value in zip(pairs, said, strict=True):
        taken += ranked(row, prompt, (texts[i], texts[j]), orders[value], models=["predictions"] * 2)
    return taken


def _marked(feedback: Row, prompt: Prompt, response: Response) -> Taken:
    """Return the marked errors of a response as spans. A response without errors gets a span without kind, which says that it was read."""
    person, spans = labeler_of(feedback), list[Span]()
    for error in feedback.rows("errors"):
        start, end = error.whole("start"), error.whole("end")
        if not 0 <= start <= end <= len(response.text):
            raise error.error("end", f"{start} to {end} is not within the {len(response.text)} characters of the response")
        spans.append(Span(response.id, start, end, error.text("error type"), person.id, error.text("explanation", "")))
    taken = Taken((person, *(spans or [Span(response.id, 0, len(response.text), "", person.id)])))
    correction = feedback.text("corrected-prediction", "").strip()
    return taken + demonstrated(feedback, prompt, correction) if correction else taken
