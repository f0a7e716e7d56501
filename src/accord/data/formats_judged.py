"""One answer to one prompt with a judgement beside it: a thumb, in whatever column and words it stands, or a score of several answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any, cast

from accord.data.archives import bare_name
from accord.data.formats_pairs import thumb
from accord.data.row_context import ASSISTANT
from accord.data.row_records import MOST, Taken, all_answered, conversation, make_prompt, places, ranked, unusable
from accord.data.row_turns import ASKED, asked, turns_of
from accord.data.rows import Row, empty, listed
from accord.records import Prompt

THUMBS = tuple(
    """label is_safe kto_tag is_desirable desirable thumbs_up thumb thumbs liked is_liked upvoted is_good accepted is_accepted approved
    is_chosen feedback user_feedback rating""".split()  # noqa: SIM905
)
"""Columns that may hold a thumb; ``thumb_columns`` says which do."""
UP = {"true", "1", "1.0", "+1", "yes", "up", "thumbs_up", "thumbs-up", "thumbsup", "thumbs up", "like", "liked", "good", "positive", "pos",
      "desirable", "chosen", "accept", "accepted", "approve", "approved", "safe", "👍", "赞", "点赞", "好"}  # fmt: skip
DOWN = {"false", "0", "0.0", "-1", "-1.0", "no", "down", "thumbs_down", "thumbs-down", "thumbsdown", "thumbs down", "dislike", "disliked",
        "bad", "negative", "neg", "undesirable", "rejected", "reject", "disapproved", "unsafe", "👎", "踩", "点踩", "差"}  # fmt: skip
ANSWERED = tuple(
    """prompt+response prompt+completion prompt+output prompt+answer instruction+output instruction+response query+response question+answer
    question+response input+output context+answer messages conversations""".split()  # noqa: SIM905
)
FIELDS = tuple(f"{fields}+{column}" for fields, column in product(ANSWERED, THUMBS) if (fields, column) != ("prompt+completion", "label"))
TEXTS = ("responses", "completions", "answers", "outputs", "candidates", "generations")
SCORES = ("scores", "ratings", "rewards")
SCORED = tuple(f"{texts}+{scores}" for texts, scores in product(TEXTS, SCORES))
NAMED = ("model", "generator", "model_name", "model_id", "generator_name", "generated_by", "generation_model", "source_model")
"""Columns that name the model which wrote the answer."""
_OUTPUTS = tuple(
    """instruction+output instruction+response instruction+generation prompt+output prompt+completion prompt+response prompt+generation
    question+answer messages conversations""".split()  # noqa: SIM905
)
OUTPUTS = tuple("+".join(fields) for fields in product(_OUTPUTS, NAMED) if fields != ("prompt+response", "model"))
_MODELS = ("models", "generation_models")
_WRITTEN = ("response", "completion", "output", "generation", "answer")
"""Columns that hold the answer, the surest first."""


def thumb_columns(rows: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Return the columns that say up or down in all rows that fill them, in at most two words or numbers.

    A ``rating`` of 1 is the worst of five, unless 0 or -1 is the other one.
    """
    found = set[str]()
    for column in THUMBS:
        words = {str(row[column]).strip().lower() for row in rows if not empty(row.get(column))}
        numbers = {word for word in words if re.fullmatch(r"[+-]?[\d.]+", word)}
        scale = column == "rating" and numbers and not numbers & {"0", "0.0", "-1", "-1.0"}
        if words and len(words) <= 2 and not scale and all(verdict(word) is not None for word in words):
            found.add(column)
    return frozenset(found)


def is_thumb(value: dict[str, Any], columns: Collection[str] | None = None) -> bool:
    """Return whether a row has an answer and fills a column that says up or down.

    Args:
        columns: those that do in the row's file; when None, the row alone tells.
    """
    columns = thumb_columns([value]) if columns is None else columns
    return any(not empty(value.get(column)) for column in columns) and ends_with_an_answer(value)


def ends_with_an_answer(value: dict[str, Any]) -> bool:
    for name in ("messages", "conversations"):
        turns = value.get(name)
        turns = listed(turns) if isinstance(turns, str) else turns
        last = cast(list[Any], turns)[-1] if isinstance(turns, list) and turns else None
        if isinstance(last, dict):
            turn = cast(dict[str, Any], last)
            return str(turn.get("role", turn.get("from", ""))).lower() in ASSISTANT
    return "messages" not in value or "response" in value


def verdict(value: object) -> bool | None:
    """Return whether a word or a number says up or down; None when it says neither."""
    word = str(value).strip().lower()
    return True if word in UP else False if word in DOWN else None


def thumbs(row: Row, columns: Collection[str] | None = None) -> Taken:
    """Read a prompt, an answer and whether somebody liked it (KTO): ``label``, ``thumbs_up``, ``feedback``, ``is_safe`` and the like.

    Args:
        columns: those that say up or down in the row's file; when None, the row alone tells.
    """
    columns = thumb_columns([row.value]) if columns is None else columns
    column = next((name for name in THUMBS if name in columns and not empty(row.peek(name))), "")
    if not column:
        raise row.error("label", f"no column says up or down in all its rows, of {', '.join(THUMBS)}")
    said = verdict(row.raw(column))
    if said is None:
        raise row.error(column, f"{str(row.peek(column))[:40]!r} says neither up nor down, as the rows before it do")
    up = said
    prompt, text = _exchange(row)
    return thumb(row, prompt, text, up, model=_model(row))


def _exchange(row: Row) -> tuple[Prompt, str]:
    """Return a prompt and its answer: columns of their own, or a conversation that ends with the answer."""
    field = next((name for name in ("messages", "conversations") if row.has(name)), "")
    if field and not row.has("response"):
        turns = turns_of(row, field) if field == "conversations" else conversation(row, field)
        if len(turns) < 2 or turns[-1].role != "assistant":
            raise row.error(field, "does not end with the assistant's answer to a question")
        return make_prompt(row, turns[:-1]), turns[-1].content
    answer = next((name for name in _WRITTEN if row.has(name)), "response")
    return make_prompt(row, asked(row, *(name for name in ASKED if name != answer))), row.text(answer)


def _model(row: Row) -> str:
    return next((row.word(name) for name in NAMED if row.has(name)), "")


def is_scored(value: dict[str, Any]) -> bool:
    """Return whether the rows' texts and scores are lists, as long as one another."""
    texts = next((_list(value[name]) for name in TEXTS if name in value), None)
    scores = next((_list(value[name]) for name in SCORES if name in value), None)
    return bool(texts and scores) and all(isinstance(text, str) for text in texts or ())


def _list(value: object) -> list[Any] | None:
    value = listed(value) if isinstance(value, str) else value
    return value if isinstance(value, list) else None


def scored(row: Row) -> Taken:
    """Read several answers to one prompt with a score each, as best-of-n writes them: their order is a ranking, equal scores are ties."""
    texts_in, scores_in = next((n for n in TEXTS if row.has(n)), TEXTS[0]), next((n for n in SCORES if row.has(n)), SCORES[0])
    texts = row.texts(texts_in)
    cells = row.like({str(i): score for i, score in enumerate(row.items(scores_in))}, f"{row.inside}{scores_in}.")
    scores = [cells.number(str(i)) for i in range(len(cells.value))]
    if len(texts) != len(scores):
        raise row.error(scores_in, f"{len(texts)} answers but {len(scores)} scores")
    prompt = make_prompt(row, asked(row, *(name for name in ASKED if name != texts_in)), beside=(scores_in,))
    models_in = next((name for name in _MODELS if row.has(name)), "")
    models = row.texts(models_in) if models_in else ()
    if models and len(models) != len(texts):
        raise row.error(models_in, f"{len(texts)} answers but {len(models)} models")
    best = sorted(range(len(texts)), key=lambda i: (-scores[i], i))[:MOST]
    if len(best) < 2 or len({scores[i] for i in best}) < 2:
        reason = unusable(prompt, *texts)
        records = all_answered(prompt, texts, models or [prompt.source] * len(texts))
        return Taken(dropped=reason) if reason else Taken((prompt, *records), left_out=("equal scores, which order nothing",))
    kept = sorted(best)
    named = [models[i] for i in kept] if models else ()
    taken = ranked(row, prompt, [texts[i] for i in kept], places([scores[i] for i in kept]), models=named, default="score", kind="model")
    return taken + Taken(left_out=("answer beyond the nine best",) * (len(texts) - len(kept)) if taken.records else ())


def outputs(row: Row) -> Taken:
    """Read one model's answer to an instruction (AlpacaEval's ``generator``, or ``model``), to be ranked beside those of others."""
    prompt, text = _exchange(row)
    if reason := unusable(prompt):
        return Taken(dropped=reason)
    return Taken((prompt, *all_answered(prompt, [text], [_model(row) or bare_name(row.file)])))
