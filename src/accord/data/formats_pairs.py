"""Comparisons of two answers, by whatever names their columns have: TRL, OpenAI's preference rows, ms-swift, LLaMA-Factory, axolotl.

A row asks once, in ``prompt``, ``messages``, ``instruction``, ``question`` and the like, and has a better and a worse answer: texts, turns,
or whole conversations that begin with the prompt.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any, cast

from accord.data.rendered import told_in
from accord.data.row_context import is_turn, is_turns
from accord.data.row_records import Taken, answered, conversation, demonstrated, labeler_of, make_prompt, ranked, unusable
from accord.data.row_turns import ASKED, asked, turns_of
from accord.data.rows import Row, empty, plain
from accord.records import Message, Prompt, Thumb

PAIRS: tuple[tuple[str, str], ...] = (
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("preferred", "dispreferred"),
    ("preferred", "rejected"),
    ("accepted", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("chosen_answer", "rejected_answer"),
    ("answer_chosen", "answer_rejected"),
    ("chosen_output", "rejected_output"),
    ("output_chosen", "output_rejected"),
    ("preferred_response", "dispreferred_response"),
    ("preferred_response", "rejected_response"),
    ("preferred_completion", "dispreferred_completion"),
    ("chosen_completion", "rejected_completion"),
    ("accepted_response", "rejected_response"),
    ("better_response", "worse_response"),
    ("better_answer", "worse_answer"),
    ("good_response", "bad_response"),
    ("good_answer", "bad_answer"),
    ("better", "worse"),
    ("answer_winning", "answer_losing"),
    ("winner", "loser"),
    ("win", "lose"),
    ("response_w", "response_l"),
    ("response_j", "response_k"),
    ("y_w", "y_l"),
    ("pos_resp", "neg_resp"),
    ("positive", "negative"),
    ("response", "rejected_response"),
    ("response", "rejected"),
    ("output", "rejected_output"),
    ("output", "rejected"),
)
"""Names of the better and of the worse answer."""
SCORES = tuple(
    """score_chosen score_rejected chosen_score rejected_score chosen_rating rejected_rating chosen-rating rejected-rating margin
    chosen_avg_rating rejected_avg_rating""".split()  # noqa: SIM905
)
"""Columns of how good the two are said to be, kept with the prompt."""
MODELS = (("chosen_model", "rejected_model"), ("model_chosen", "model_rejected"), ("chosen-model", "rejected-model"))
FIELDS = tuple("+".join(pair) for pair in PAIRS)


def is_pair(value: dict[str, Any]) -> bool:
    """Return whether both answers of a pair are there; a name such as ``positive`` may hold something else."""
    return any(better in value and worse in value and _is_answer(value[better]) == _is_answer(value[worse]) for better, worse in PAIRS)


def _is_answer(value: object) -> bool:
    return isinstance(value, str | list | dict) or value is None


def comparisons(row: Row) -> Taken:
    """Read a better and a worse answer to one prompt; the prompt may stand in both answers' conversations alone."""
    better, worse = next((pair for pair in PAIRS if row.has(*pair)), PAIRS[0])
    sides = (_side(row, better), _side(row, worse))
    prompt = _prompt(row, (better, worse), sides)
    full = [_whole(row, name, prompt, side) for name, side in zip((better, worse), sides, strict=True)]
    if full[0][:-1] != full[1][:-1]:
        return Taken(dropped="dialogues that part before the last answer")
    if len(full[0]) < 2 or full[0][-2].role != "user" or {turns[-1].role for turns in full} != {"assistant"}:
        return Taken(dropped="dialogue that does not end with a question and its answer")
    _read_repeated(row, full[0], full[1])
    models = next((list(map(row.word, names)) for names in MODELS if row.has(*names)), ())
    asked_for = make_prompt(row, joined(full[0][:-1]), beside=(*SCORES, "tools"))
    if isinstance(row.peek("input"), dict) and not empty(tools := row.row("input").raw("tools")):
        asked_for = replace(asked_for, extra={**asked_for.extra, "tools": plain(tools)})
    taken = ranked(row, asked_for, (full[0][-1].content, full[1][-1].content), (1, 2), models=models)
    if "tie" not in row.value:
        return taken
    row.raw("ranking")  # our own export of comparisons: the id of the ranking that a pair is from
    return ranked(row, asked_for, (full[0][-1].content, full[1][-1].content), (1, 1), models=models) if row.truth("tie") else taken


def joined(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Merge consecutive turns of one speaker. hh-rlhf has such turns; templates and other formats do not allow them."""
    merged = list[Message]()
    for role, consecutive in groupby(turns, key=attrgetter("role")):
        texts = [turn.content for turn in consecutive if turn.content]
        merged.append(Message(role, "\n\n".join(texts)))
    return tuple(merged)


def _side(row: Row, name: str) -> tuple[Message, ...]:
    """Return an answer as turns: one of the assistant, or a conversation that ends with one."""
    value: Any = row.peek(name)
    if is_turn(value) or is_turns(value):
        turns = turns_of(row, name, first=False)
        if not turns or turns[-1].role != "assistant":
            raise row.error(name, "does not end with the assistant's turn")
        return turns
    if isinstance(value, list) and len(cast(list[Any], value)) == 1:
        (text,) = row.texts(name)
        return (Message("assistant", text),)
    text = row.text(name)
    alone = not any(row.has(column) for column in ASKED)
    return (told_in(text) if alone else ()) or (Message("assistant", text),)


def _prompt(row: Row, names: tuple[str, str], sides: tuple[tuple[Message, ...], ...]) -> tuple[Message, ...]:
    """Return the conversation before the answers, as the row has it; empty when only the answers' conversations have it."""
    sources = [name for name in ASKED if name not in names]
    if any(row.has(name) for name in sources):
        if all(side[0].role != "assistant" for side in sides) and not row.has("prompt") and row.has("messages"):
            return ()  # whole conversations beside the messages they were made of
        return asked(row, *sources)
    if any(side[0].role == "assistant" for side in sides):
        return asked(row, "prompt")  # raises the error for a missing prompt
    return ()


def _whole(row: Row, name: str, prompt: tuple[Message, ...], side: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the whole conversation of an answer: its own, which the prompt must be a part of, or the prompt and the answer."""
    if side[0].role == "assistant":
        return (*prompt, *side)
    words = [turn.content.strip() for turn in side[:-1]]
    said = [turn for turn in prompt if turn.role != "system"]
    if any(turn.content.strip() not in words for turn in said):
        raise row.error(name, "answers another prompt than the row's")
    if prompt[:1] and prompt[0].role == "system" and side[0].role != "system":
        return (prompt[0], *side)
    return side


def _read_repeated(row: Row, better: tuple[Message, ...], worse: tuple[Message, ...]) -> None:
    """Count columns as read that repeat one of the two: the conversation for fine-tuning, or the better answer as ``response``."""
    texts = {better[-1].content.strip(), worse[-1].content.strip()}
    for name in ("response", "completion", "output"):
        if isinstance(row.peek(name), str) and row.peek(name).strip() in texts:
            row.raw(name)
    if is_turns(row.peek("messages")):
        said = [_words(turn) for turn in row.rows("messages")]
        whole = [[turn.content.strip() for turn in turns] for turns in (better, worse, better[:-1])]
        if said in whole or (better[0].role == "system" and said in [words[1:] for words in whole]):
            row.raw("messages")


def _words(turn: Row) -> Any:
    content = turn.peek("content")
    return content.strip() if isinstance(content, str) else content


def completions(row: Row) -> Taken:
    """Read TRL's ``prompt`` and ``completion``: a demonstration, or with ``label`` a thumb up or down (KTO)."""
    turns = _whole(row, "completion", asked(row, "prompt"), _side(row, "completion"))
    prompt, text = make_prompt(row, joined(turns[:-1])), turns[-1].content
    if "label" not in row.value:
        return demonstrated(row, prompt, text)
    return thumb(row, prompt, text, row.truth("label"))


def thumb(row: Row, prompt: Prompt, text: str, up: bool, model: str = "") -> Taken:
    """Return the records of one response that somebody liked or not."""
    if reason := unusable(prompt, text):
        return Taken(dropped=reason)
    person = labeler_of(row)
    response = answered(prompt, text, model or prompt.source)
    return Taken((person, prompt, response, Thumb(prompt, response, up, person.id, person.group)))


def with_rejected(row: Row) -> Taken:
    """Read a conversation that ends with the better answer, and the worse answer apart (ms-swift)."""
    field, turns = "messages", conversation(row, "messages")
    if not turns or turns[-1].role != "assistant":
        raise row.error(field, "does not end with the assistant's turn")
    worse = "rejected_response" if row.has("rejected_response") else "rejected_messages"
    value = row.peek(worse)
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        prompt, texts = make_prompt(row, turns[:-1]), row.texts(worse)
        taken = Taken()
        for text in texts:  # a pair each: which of the rejected is better is not said
            taken += ranked(row, prompt, (turns[-1].content, text), (1, 2))
        return taken
    side = _whole(row, worse, turns[:-1], _side(row, worse))
    if side[:-1] != turns[:-1]:
        return Taken(dropped="dialogues that part before the last answer")
    return ranked(row, make_prompt(row, turns[:-1]), (turns[-1].content, side[-1].content), (1, 2))
