"""Label Studio's exports: JSON with every annotation of a task, and the flat JSON_MIN.

Without the project's labeling config, a result is understood by its type and by the data that its tags are named after: pairwise, ranker,
rating, choices and textarea. A result of another type, or of a tag whose data is not there, is refused by name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from accord.data.formats_judged import verdict
from accord.data.row_records import MOST, Taken, answered, demonstrated, labeler_of, make_prompt, places, ranked, unusable
from accord.data.row_turns import asked
from accord.data.rows import Row, empty, plain
from accord.records import Prompt, Thumb

ASKED = ("prompt", "messages", "dialogue", "conversation", "question", "instruction", "query", "input", "text", "history")
"""Columns of a task's data that may hold the prompt."""
ASIDE = ("predictions", "drafts", "ground_truth", "result_count", "agreement", "prediction", "meta", "last_action")
"""Columns of Label Studio's own administration."""
_TEXT = ("text", "html", "body", "value", "title")
_NUMBERED = re.compile(r"(.*?)[ _-]?([12ab])$", re.IGNORECASE)
BARE = frozenset("yes no true false 1 0 1.0 0.0 +1 -1 -1.0".split())  # noqa: SIM905
"""Words that answer a question, so that they say nothing without it."""
_POSITIVE = re.compile(
    r"better|best|prefer|winner|chosen|choice|good|helpful|correct|accept|approv|liked?\b|thumb|useful|quality|desirable|satisf|safe|pick|select|ok\b",
    re.IGNORECASE,
)
"""In names of tags that ask whether an answer is to be approved, or which one."""
_NEGATIVE = re.compile(
    r"worse|worst|harm|toxic|bad|wrong|incorrect|reject|unsafe|unhelpful|dis(like|approv|satisf)|un(desir|accept|satisf|us)"
    r"|(^|[ _-])(not?|un|in|less|least|more)([ _-]|$)|bias|offens|error",
    re.IGNORECASE,
)
"""In names of tags that ask the opposite, or after something else."""
_ANSWER = re.compile(
    r"(?!.*(model|source|length|score))(.*[^n])?"
    r"(answer|response|output|text|completion|reply|generation|candidate|option|summary)",
    re.I,
)
"""In names of columns that hold an answer."""
_OWN = frozenset("id annotation_id annotator created_at updated_at lead_time annotations_id".split())  # noqa: SIM905


def of_tasks(value: dict[str, Any]) -> bool:
    """Return whether a row is a task with its annotations."""
    return isinstance(value.get("data"), dict) and isinstance(value.get("annotations"), list)


def tasks(row: Row) -> Taken:
    """Read a task: each annotation's results become rankings, thumbs and demonstrations of its annotator; skipped ones are counted."""
    taken, data = Taken(), row.row("data")
    name = next((name for name in ASKED if data.has(name)), "")
    if not name:
        raise data.error(
            "prompt", "no column holds the prompt", f"the task's data has {', '.join(data.value)[:150]}; one of {', '.join(ASKED)}"
        )
    prompt = make_prompt(data, asked(data, name))
    for annotation in row.rows("annotations"):
        if annotation.has("was_cancelled") and annotation.truth("was_cancelled"):
            annotation.pass_over()
            taken += Taken(left_out=("skipped annotation",))
            continue
        taken += _annotated(annotation, data, prompt)
    return taken if taken.records or taken.dropped else Taken(dropped="task without a finished annotation", left_out=())


def _annotated(annotation: Row, data: Row, prompt: Prompt) -> Taken:
    by: Any = annotation.raw("completed_by")
    person_of = cast(dict[str, Any], by) if isinstance(by, dict) else {"id": by}
    who = person_of.get("email") or person_of.get("id")
    at = annotation.word("created_at")
    person = annotation.like({"labeler": "imported" if who is None else str(who), "at": at[:40]})
    taken, ratings, said = Taken(), dict[tuple[str, str], float](), dict[str, Any]()
    chosen = _choices(annotation, data)
    for result in annotation.rows("result"):
        kind, tag, value = result.text("type", ""), result.text("from_name", ""), result.row("value")
        to = result.text("to_name", "")
        result.raw("id")
        if kind == "pairwise":
            taken += _pairwise(result, person, data, prompt, value.text("selected", ""), to)
        elif kind == "ranker":
            taken += _ranker(result, person, data, prompt, value)
        elif kind == "rating" and to in data.value:
            ratings[tag, to] = value.number("rating")
        elif kind == "choices" and (choice := chosen.get((tag, to))) is not None:
            value.raw("choices")
            taken += _chosen_taken(result, person, data, prompt, to, choice)
        elif kind == "textarea" and re.search(r"answer|response|correct|rewrite|demonstration|edit", tag, re.IGNORECASE):
            texts = value.texts("text") if isinstance(value.peek("text"), list) else (value.text("text"),)
            taken += demonstrated(person, prompt, "\n".join(texts))
        elif kind in ("choices", "textarea", "rating", "number"):
            what = plain(value.raw(kind if kind != "textarea" else "text"))
            said[f"{tag} of {to}" if tag in said else tag] = what
        else:
            hint = (
                "pairwise, ranker, rating, choices and textarea are read; leave the tag out of the export, or drop the column annotations"
            )
            raise result.error("type", f"a result of type {kind!r} of the tag {tag!r} cannot be read", hint)
    about_answers = {of: stars for of, stars in ratings.items() if of[1] not in ASKED}
    order = _rated(person, data, prompt, about_answers)
    taken += order
    unused = {f"{tag} of {to}": stars for (tag, to), stars in ratings.items() if not order.records or (tag, to) not in about_answers}
    if said or unused:
        kept = {"labeler": str(who), **said, **unused}
        taken += Taken(_with_note(prompt, f"annotation-{annotation.word('id')}", kept))
    else:
        annotation.raw("id")
    for name in ("updated_at", "lead_time", "unique_id", "task", "project"):
        annotation.raw(name)
    return taken


def _with_note(prompt: Prompt, key: str, note: dict[str, Any]) -> tuple[Prompt]:
    return (Prompt(prompt.id, prompt.messages, prompt.use_case, prompt.user, prompt.split, prompt.source, {**prompt.extra, key: note}),)


def _answer(result: Row, data: Row, tag: str) -> str:
    """Return the text of an answer whose tag is named after its column."""
    if tag not in data.value:
        raise result.error(
            "to_name",
            f"the data of the tag {tag!r} is not known",
            f"name the tags of your config after the columns: {', '.join(data.value)[:150]}",
        )
    return data.text(tag)


def _pairwise(result: Row, person: Row, data: Row, prompt: Prompt, selected: str, to: str) -> Taken:
    tags = [tag.strip() for tag in to.split(",")]
    if len(tags) != 2 or selected not in ("left", "right", ""):
        raise result.error("value.selected", f"{selected!r} of {to!r} is no choice between two")
    ranks = {"left": (1, 2), "right": (2, 1), "": (1, 1)}[selected]
    return ranked(person, prompt, [_answer(result, data, tag) for tag in tags], ranks)


def _ranker(result: Row, person: Row, data: Row, prompt: Prompt, value: Row) -> Taken:
    order: Any = value.raw("ranker")
    if not isinstance(order, dict) or len(cast(dict[str, Any], order)) != 1:
        names = ", ".join(cast(dict[str, Any], order)) if isinstance(order, dict) else ""
        raise result.error("value.ranker", f"buckets ({names[:80]}) have no order that is known", "a ranker without buckets is read")
    ids = [str(id) for id in next(iter(cast(dict[str, list[Any]], order).values()))]
    column = next((name for name, items in data.value.items() if _has_ids(items, ids)), "")
    if not column:
        raise result.error("value.ranker", "no list of the task's data has these ids", f"the data has {', '.join(data.value)[:150]}")
    texts = {item.word("id"): item.text(next((name for name in _TEXT if item.has(name)), "text")) for item in data.rows(column)}
    kept = ids[:MOST]
    if len(kept) < 2:
        return Taken(left_out=("ranking of fewer than two",))
    taken = ranked(person, prompt, [texts[id] for id in kept], range(1, len(kept) + 1))
    return taken + Taken(left_out=("ranked answer beyond the ninth",) * (len(ids) - len(kept)) if taken.records else ())


def _has_ids(items: object, ids: list[str]) -> bool:
    if not isinstance(items, list):
        return False
    return set(ids) <= {str(cast(dict[str, Any], item).get("id")) for item in cast(list[Any], items) if isinstance(item, dict)}


def _choices(annotation: Row, data: Row) -> dict[tuple[str, str], bool | str]:
    """Return what the choices of an annotation say that can be learned from, by tag and what it is about.

    A choice is a thumb for an answer if it says up or down by itself ("good"), or says yes or no to a tag whose name asks for approval; it
    is an order if it names the better answer to such a tag. Where several tags judge the same, none of them alone is the judgement.
    """
    found = dict[tuple[str, str], bool | str]()
    for result in annotation.rows("result"):
        if result.peek("type") != "choices":
            continue
        tag, to, choices = str(result.peek("from_name")), str(result.peek("to_name")), result.row("value").peek("choices")
        only = cast(list[Any], choices)[0] if isinstance(choices, list) and len(cast(list[Any], choices)) == 1 else None
        said = _chosen(data, tag, to, only) if isinstance(only, str) else None
        if said is not None:
            found[tag, to] = said
    thumbs = Counter(to for (_, to), said in found.items() if isinstance(said, bool))
    orders = sum(isinstance(said, str) for said in found.values())
    return {(tag, to): said for (tag, to), said in found.items() if (thumbs[to] if isinstance(said, bool) else orders) == 1}


def _chosen(data: Row, tag: str, to: str, choice: str) -> bool | str | None:
    """Return what a choice says: a thumb for the answer that it is about, or the name of the better answer."""
    asked = tag if _POSITIVE.search(tag) and not _NEGATIVE.search(tag) else ""
    if (up := verdict(choice)) is not None and to in data.value and to not in ASKED:
        return up if asked or (choice.strip().lower() not in BARE and not _NEGATIVE.search(tag)) else None
    return choice if choice in data.value and choice not in ASKED and asked else None


def _chosen_taken(result: Row, person: Row, data: Row, prompt: Prompt, to: str, said: bool | str) -> Taken:
    if isinstance(said, bool):
        text = _answer(result, data, to)
        if reason := unusable(prompt, text):
            return Taken(dropped=reason)
        who, response = labeler_of(person), answered(prompt, text, prompt.source)
        return Taken((who, prompt, response, Thumb(prompt, response, said, who.id, who.group)))
    match = _NUMBERED.fullmatch(said)
    others = [name for name in data.value if match and (found := _NUMBERED.fullmatch(name)) and found[1] == match[1] and name != said]
    if len(others) != 1:
        raise result.error("value.choices", f"it is not known which answer {said!r} is better than")
    return ranked(person, prompt, (data.text(said), data.text(others[0])), (1, 2))


def _rated(person: Row, data: Row, prompt: Prompt, ratings: dict[tuple[str, str], float]) -> Taken:
    """Return the ranking of answers by an annotator's stars, if there is one number of stars for each answer."""
    names = [to for _, to in ratings]
    if not 2 <= len(names) <= MOST or len(set(names)) < len(names) or any(_NEGATIVE.search(tag) for tag, _ in ratings):
        return Taken()
    return ranked(person, prompt, [data.text(name) for name in names], places(list(ratings.values())))


def flat(row: Row) -> Taken:
    """Read a row of JSON_MIN: the task's columns, and a column per tag; a choice between two answers becomes a ranking."""
    sides = [name for name in row.value if row.peek(name) in ("left", "right")]
    pairs = list(_pairs(row))
    answers = [pair for pair in pairs if _ANSWER.match(pair[0])]
    if len(answers) != 1 and pairs:
        names = ", ".join(f"{one} and {other}" for one, other in answers or pairs)
        hint = f"rename the columns of the answers, e.g. --map answer1={pairs[0][0]} --map answer2={pairs[0][1]}, and --drop the others"
        raise row.error(pairs[0][0], f"it is not known which columns are the two answers: {names[:200]}", hint)
    pair = answers[0] if answers else None
    if len(sides) != 1 or pair is None:
        names = [name for name in row.value if name not in _OWN]
        hint = "export as JSON, which names the types, or map the columns with --map"
        raise row.error(names[0] if names else "id", f"no choice between two answers is told in {', '.join(names)[:120]}", hint)
    who, at = row.word("annotator", "imported"), row.word("created_at")
    for name in ("annotation_id", "lead_time", "updated_at", "id"):
        row.raw(name)
    prompt = make_prompt(row, asked(row, *(name for name in ASKED if name not in pair)))
    ranks = (1, 2) if row.raw(sides[0]) == "left" else (2, 1)
    return ranked(row.like({**row.value, "labeler": who, "at": at}), prompt, [row.text(name) for name in pair], ranks)


def _pairs(row: Row) -> Iterator[tuple[str, str]]:
    """Yield pairs of columns such as ``answer1`` and ``answer2``, or ``response_a`` and ``response_b``."""
    names = [name for name in row.value if isinstance(row.peek(name), str) and not empty(row.peek(name)) and _NUMBERED.fullmatch(name)]
    numbered = dict[tuple[str, str], list[str]]()
    for name in names:
        match = cast(re.Match[str], _NUMBERED.fullmatch(name))
        numbered.setdefault((match[1], match[2].lower()), []).append(name)
    for one in names:
        match = cast(re.Match[str], _NUMBERED.fullmatch(one))
        second = {"1": "2", "a": "b"}.get(match[2].lower(), "")
        for other in numbered.get((match[1], second), ()):
            yield one, other
