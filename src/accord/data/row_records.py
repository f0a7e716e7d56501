"""Conversion of rows into records, shared by all formats. Ids are hashes of the content, so a file read twice gives the same records."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from accord.data.row_context import ASSISTANT, after_context, ends_answered, is_turns, marked
from accord.data.row_pictures import with_media
from accord.data.rows import Fault, Row, empty, plain
from accord.data.spans import Span
from accord.data.turn_text import CALLS, RESULTS, answer_of, call_alone, content_of, result_text
from accord.records import (
    UNNAMED,
    Demonstration,
    Guideline,
    Labeler,
    LabelerKind,
    Message,
    Prompt,
    Ranking,
    Rating,
    Response,
    Role,
    Split,
    Thumb,
    conversation_key,
    split_of,
)

GUIDELINE = Guideline("training", "imported")
"""The guideline of imported rankings: unknown, and meant for training."""
LABELER = UNNAMED
MOST = 9
"""Maximum number of responses in a ranking, as on the labeling page."""
ANSWERS = tuple(
    """answer answers expected expected_answer expected_output final_answer correct_answer correct_answers incorrect_answers gold
    gold_answer golden_answer golden_answers ground_truth groundtruth reference references reference_answer reference_answers
    reference_response solution solutions target targets tests test_cases unit_tests rubric rubrics constraints
    instruction_id_list kwargs reward_model verification_info""".split()  # noqa: SIM905
)
"""Columns of right answers and of what checks an answer, which stay with the prompt so that rewards can read them."""
Record = Prompt | Labeler | Demonstration | Response | Ranking | Thumb | Span
NAMES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "系统": "system",
    "用户": "user",
    **dict.fromkeys(sorted(ASSISTANT), "assistant"),
}
"""Our role for each name that other formats use."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of a row: records and documents, or the reason why there are none."""

    records: tuple[Record, ...] = ()
    documents: tuple[str, ...] = ()
    dropped: str = ""
    left_out: tuple[str, ...] = ()
    """A reason for each part of a kept row that was left out."""
    unread: tuple[str, ...] = ()
    """Paths of the row's fields that hold something and that the format did not read."""
    stops: tuple[str, ...] = ()
    """Those of them that stop an import, because a judgement would be lost."""
    measured: bool = False
    """Whether the format itself says the split of the prompts, as those of evaluation sets do."""

    def __add__(self, other: Taken) -> Taken:
        """Combine two results. A dropped part counts as left out, unless nothing else remains."""
        kept = [part for part in (self, other) if part.records or part.documents]
        left_out = (*self.left_out, *other.left_out, *(part.dropped for part in (self, other) if part.dropped and kept))
        dropped = "" if kept else self.dropped or other.dropped
        unread, stops = (*self.unread, *other.unread), (*self.stops, *other.stops)
        measured = self.measured or other.measured
        return Taken((*self.records, *other.records), (*self.documents, *other.documents), dropped, left_out, unread, stops, measured)


Take = Callable[[Row], Taken]
Gather = Callable[[Iterator[Row]], Iterator[Row | Fault]]


@dataclass(frozen=True)
class Known:
    """Prompts read beside a file of answers, to which answers are matched by the prompt's text or number."""

    by_text: Mapping[tuple[Message, ...], Prompt] = field(default_factory=dict[tuple[Message, ...], Prompt])
    by_number: Mapping[str, Prompt] = field(default_factory=dict[str, Prompt])


def prompt_of(row: Row, beside: Collection[str] = ()) -> Prompt:
    """Return the prompt in the row's ``messages`` or ``prompt`` (text or messages), which must end with the user's turn.

    Where ``messages`` go on to an answer, as beside the comparisons of ultrafeedback_binarized, ``prompt`` is the prompt.
    """
    name = "messages" if row.has("messages") and not (row.has("prompt") and ends_answered(row, "messages")) else "prompt"
    if name == "prompt" and not (isinstance(row.peek("prompt"), list) or is_turns(row.peek("prompt"))):
        text = row.text("prompt")
        return make_prompt(row, marked(text) or (Message("user", text),), beside=beside)
    messages = conversation(row, name)
    if not messages or messages[-1].role != "user":
        raise row.error(name, "a prompt must end with the user's turn")
    return make_prompt(row, messages, beside=beside)


def conversation(row: Row, name: str, *, role: str = "role", content: str = "content") -> tuple[Message, ...]:
    """Return a list of turns. Raises InputError for an unknown role, content that is not text, or roles out of order.

    Results of tools that follow one another, as answers to calls made together, are one turn of the user.
    """
    messages, last = list[Message](), ""
    for i, turn in enumerate(row.rows(name)):
        message, of_tool = _message(turn, role, content)
        if message.role == "system" and i > 0:
            raise turn.error(role, "a system turn must be the first")
        if of_tool and last == "tool":
            messages[-1] = replace(messages[-1], content=f"{messages[-1].content}\n{message.content}")
            continue
        before = "user" if last == "tool" else last
        if message.role == before or (message.role == "assistant" and before in ("", "system")):
            raise turn.error(role, f"roles out of order: {message.role!r} {'after ' + repr(last) if last else 'first'}")
        messages.append(message)
        last = "tool" if of_tool else message.role
    return tuple(messages)


def _message(turn: Row, role: str, content: str) -> tuple[Message, bool]:
    """Return a turn, and whether it is a tool's result."""
    name = turn.text(role).strip().lower()
    if name in RESULTS:
        return Message("user", result_text(content_of(turn, content))), True
    if name in CALLS:
        return Message("assistant", call_alone(turn, content)), False
    if name not in NAMES:
        raise turn.error(role, f"{name!r} is none of {', '.join(get_args(Role))}, tool, or their names in other formats")
    if NAMES[name] == "assistant":
        return Message("assistant", answer_of(turn, content)), False
    return Message(NAMES[name], content_of(turn, content)), False


def make_prompt(
    row: Row,
    messages: tuple[Message, ...],
    *,
    user: str = "",
    use_case: str = "",
    source: str = "",
    split: Split | None = None,
    beside: Collection[str] = (),
) -> Prompt:
    """Return a prompt after the row's system turn and history (``system``, ``history``), with a split by its user.

    Without a user, the opening turn decides the split, so that no conversation spans two.

    Its id follows from the conversation and the user alone, so that the same prompt of two files is one.

    Args:
        beside: columns that are kept with the prompt in ``extra``, such as its right answer, where they hold something.
    """
    messages = tuple(map(with_media, after_context(row, messages, conversation)))
    user, use_case = user or row.word("user"), use_case or row.word("use_case", "other")
    named = isinstance(row.peek("source"), str) and bool(row.text("source").strip())
    source = source or (row.text("source") if named else row.file.name)
    for name, value, longest in (("user", user, 120), ("use_case", use_case, 40)):
        if len(value) > longest:
            raise row.error(name, f"longer than {longest} characters")
    first = next((message for message in messages if message.role == "user"), Message("user", ""))
    opening = first.media[0].digest if first.media else first.content  # many ask the same of their pictures
    id = id_of("p", user, conversation_key(messages))
    extra = row.object("extra") | {name: plain(row.raw(name)) for name in beside if not empty(row.peek(name))}
    return Prompt(id, messages, use_case, user, split or split_of(user or opening), source, extra)


def instruction_turns(instruction: str, given: str) -> tuple[Message, ...]:
    """Return an instruction and its input as one turn."""
    instruction, given = instruction.strip(), given.strip()
    return (Message("user", f"{instruction}\n\n{given}" if given else instruction),)


def labeler_of(row: Row, default: str = LABELER, kind: LabelerKind = "person") -> Labeler:
    id, group = row.word("labeler", default), row.word("group", default)
    for name, value in (("labeler", id), ("group", group)):
        if len(value) > 120:
            raise row.error(name, "longer than 120 characters")
    return Labeler(id, kind, group)


def demonstrated(row: Row, prompt: Prompt, text: str) -> Taken:
    """Return the records of a prompt and its written response."""
    if reason := unusable(prompt, text):
        return Taken(dropped=reason)
    person = labeler_of(row)
    return Taken((person, prompt, Demonstration(id_of("d", prompt.id, person.id, text), prompt, text, person.id)))


def answered(prompt: Prompt, text: str, model: str, number: int = 0) -> Response:
    """Return a model's response; ``number`` distinguishes equal texts of one model to one prompt."""
    return Response(id_of("r", prompt.id, model, text, str(number)), prompt.id, text, model)


def all_answered(prompt: Prompt, texts: Sequence[str], models: Sequence[str]) -> list[Response]:
    """Return the models' responses to a prompt, with equal texts of one model numbered."""
    seen, responses = Counter[tuple[str, str]](), list[Response]()
    for text, model in zip(texts, models, strict=True):
        responses.append(answered(prompt, text, model, seen[text, model]))
        seen[text, model] += 1
    return responses


def ranked(
    row: Row,
    prompt: Prompt,
    texts: Sequence[str],
    ranks: Sequence[int],
    *,
    models: Sequence[str] = (),
    quality: Sequence[int] = (),
    default: str = LABELER,
    kind: LabelerKind = "person",
) -> Taken:
    """Return the records of a ranking. Repeated texts are distinguished by their number of earlier occurrences."""
    if reason := unusable(prompt, *texts):
        return Taken(dropped=reason)
    if len(set(texts)) == 1:
        return Taken(dropped="identical responses")
    person, at = labeler_of(row, default, kind), row.word("at")
    if len(at) > 40:
        raise row.error("at", "longer than 40 characters; write times in ISO 8601")
    models = models or [prompt.source] * len(texts)
    responses = all_answered(prompt, texts, models)
    ids = tuple(response.id for response in responses)
    ratings = tuple(Rating(id, q) for id, q in zip(ids, quality, strict=True)) if quality else ()
    id = id_of("k", prompt.id, person.id, *ids, *map(str, ranks), at)
    return Taken((person, prompt, *responses, Ranking(id, prompt.id, person.id, ids, tuple(ranks), GUIDELINE, at, ratings)))


def places(scores: Sequence[float]) -> tuple[int, ...]:
    """Return the ranks of scores, of which the highest is best; equal scores share a rank, and ranks have no gaps."""
    order = sorted(set(scores), reverse=True)
    return tuple(order.index(score) + 1 for score in scores)


def quality_of(score: float, low: float, high: float) -> int:
    """Return a score on another scale as overall quality from 1 to 7, rounded half up."""
    return min(7, max(1, int(1 + 6 * (score - low) / (high - low) + 0.5)))


def unusable(prompt: Prompt, *responses: str) -> str:
    """Return why a valid row teaches nothing; empty if it can be used."""
    if not prompt.messages[-1].content.strip():
        return "empty prompt"
    return "" if all(text.strip() for text in responses) else "empty response"


def id_of(kind: str, *parts: str) -> str:
    """Return a short stable hash; each part is hashed with its length, so that different lists of parts never collide by concatenation."""
    return f"{kind}-{hashlib.sha256(''.join(f'{len(part)}:{part}' for part in parts).encode()).hexdigest()[:20]}"
