"""Plain rows (prompts, demonstrations, responses, rankings, text), tables of histories, and the lines of ``accord export``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast, get_args

from accord.data.archives import bare_name
from accord.data.rendered import told_in
from accord.data.row_pictures import with_media
from accord.data.row_records import (
    ANSWERS,
    MOST,
    NAMES,
    Known,
    Taken,
    all_answered,
    conversation,
    demonstrated,
    instruction_turns,
    make_prompt,
    prompt_of,
    ranked,
    unusable,
)
from accord.data.rows import Row, listed
from accord.records import (
    Demonstration,
    Guideline,
    GuidelineSet,
    Labeler,
    LabelerKind,
    Message,
    Prompt,
    Ranking,
    Rating,
    Response,
    Split,
    Thumb,
    flag_named,
)

NOTHING = Known()
_TURN = re.compile(r"^[ \t]*(human|user|q|question|assistant|bot|ai|a|answer|system)[ \t]*:[ \t]*", re.IGNORECASE | re.MULTILINE)
_SHORT = {"q": "user", "question": "user", "ai": "assistant", "a": "assistant", "answer": "assistant"}


def prompts(row: Row) -> Taken:
    """Read a prompt; its right answer, tests or constraints stay with it in ``extra``."""
    prompt = prompt_of(row, beside=ANSWERS)
    reason = unusable(prompt)
    return Taken(dropped=reason) if reason else Taken((prompt,))


def demonstrations(row: Row) -> Taken:
    return demonstrated(row, prompt_of(row), row.text("response"))


def rankings(row: Row) -> Taken:
    prompt, texts, ranks = prompt_of(row), row.texts("responses"), row.ranks("ranks")
    if not 2 <= len(texts) <= MOST:
        raise row.error("responses", f"a ranking takes 2 to {MOST} responses, not {len(texts)}")
    if len(texts) != len(ranks):
        raise row.error("ranks", f"{len(texts)} responses but {len(ranks)} ranks")
    models = row.texts("models") if row.has("models") else ()
    if models and len(models) != len(texts):
        raise row.error("models", f"{len(texts)} responses but {len(models)} models")
    return ranked(row, prompt, texts, ranks, models=models)


def responses(row: Row, known: Known = NOTHING) -> Taken:
    """Read one model's response, to be ranked beside those of others. An empty response is kept, since it is what the model returned.

    The model is named by the row, or else by the file. The prompt is the one read beside the file with the same text, if there is one.
    """
    if row.has("instruction"):
        prompt = make_prompt(row, instruction_turns(row.text("instruction"), row.text("input", "")), source="responses", beside=ANSWERS)
    else:
        said = prompt_of(row)
        prompt = make_prompt(row, said.messages, source="responses", beside=ANSWERS)
    if reason := unusable(prompt):
        return Taken(dropped=reason)
    prompt = known.by_text.get(prompt.messages, prompt)
    model = row.word("model", bare_name(row.file).rsplit(".", 1)[0].removesuffix("_predictions"))
    return Taken((prompt, *all_answered(prompt, [row.text("response")], [model])))


def history(row: Row) -> Taken:
    """Read a table of ``history`` (a question, "User: ..." lines, or a list of turns) and ``responses`` (a text, or a list of texts).

    One text is a demonstration. Several are responses to rank, or a ranking if the column ``ranks`` gives their order (1 is best).
    """
    prompt = make_prompt(row, _turns(row))
    several = row.peek("responses")
    if isinstance(several, str) and not several.lstrip().startswith("["):
        return demonstrated(row, prompt, row.text("responses"))
    texts = row.texts("responses")
    if row.has("ranks") and row.peek("ranks") != "":
        return rankings(row.like({**row.value, "messages": _plain(prompt.messages)}))
    if len(texts) == 1:
        return demonstrated(row, prompt, texts[0])
    if reason := unusable(prompt, *texts):
        return Taken(dropped=reason)
    model = bare_name(row.file)
    return Taken((prompt, *all_answered(prompt, texts, [model] * len(texts))))


def _turns(row: Row) -> tuple[Message, ...]:
    given: Any = row.raw("history")
    if isinstance(given, str) and given.lstrip().startswith("["):
        given = listed(given)
    if isinstance(given, list):
        return _listed_turns(row, cast("list[Any]", given))
    text = row.text("history")
    parts = _TURN.split(text)
    if len(parts) < 3 or parts[0].strip():
        return (Message("user", text.strip()),)
    turns = [
        {"role": _SHORT.get(name.lower(), name.lower()), "content": said.strip()}
        for name, said in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return _asking(row, turns)


def _listed_turns(row: Row, given: list[Any]) -> tuple[Message, ...]:
    if all(isinstance(turn, str) for turn in given):
        first = (len(given) + 1) % 2
        return _asking(row, [{"role": ("user", "assistant")[(i + first) % 2], "content": turn} for i, turn in enumerate(given)])
    return _asking(row, given)


def _asking(row: Row, turns: list[Any]) -> tuple[Message, ...]:
    messages = conversation(row.like({"history": turns}), "history")
    if not messages or messages[-1].role != "user":
        raise row.error("history", "a history must end with the user's turn")
    return messages


def text(row: Row) -> Taken:
    """Read raw text. A conversation that a template has rendered is a demonstration of its last answer."""
    said = row.text("text")
    if turns := told_in(said):
        return demonstrated(row, make_prompt(row, turns[:-1]), turns[-1].content)
    return document(said)


def document(said: str) -> Taken:
    return Taken(documents=(said,)) if said.strip() else Taken(dropped="empty text")


def accord(row: Row) -> Taken:
    """Read a line of ``accord export``. It keeps its ids, so importing it into its own project adds nothing."""
    kind = row.text("accord")
    if (read := _LINES.get(kind)) is None:
        raise row.error("accord", f"{kind!r} cannot be imported", f"only lines of these kinds can: {', '.join(_LINES)}")
    return read(row)


def _thumb_line(row: Row) -> Taken:
    prompt, person = _prompt(row, "prompt_id"), _labeler(row)
    response = _response(row.like({**row.value, "id": row.text("response_id")}), prompt)
    return Taken((person, prompt, response, Thumb(prompt, response, row.truth("up"), person.id, person.group)))


def _prompt_line(row: Row) -> Taken:
    return Taken((_prompt(row, "id"),))


def _demonstration_line(row: Row) -> Taken:
    prompt, person = _prompt(row, "prompt_id"), _labeler(row)
    return Taken((person, prompt, Demonstration(row.text("id"), prompt, row.text("response"), person.id)))


def _response_line(row: Row) -> Taken:
    prompt = _prompt(row, "prompt_id")
    return Taken((prompt, _response(row, prompt)))


def _ranking_line(row: Row) -> Taken:
    prompt, person = _prompt(row, "prompt_id"), _labeler(row)
    given = _responses_of(row, prompt)
    ratings = tuple(Rating(r.text("response_id"), _quality(r), tuple(map(flag_named, r.texts("flags")))) for r in row.rows("ratings"))
    guideline = row.row("guideline")
    under = Guideline(cast(GuidelineSet, _one_of(guideline, "set", get_args(GuidelineSet))), guideline.text("version"))
    ids, ranks = tuple(response.id for response in given), row.ranks("ranks")
    try:
        ranking = Ranking(row.text("id"), prompt.id, person.id, ids, ranks, under, row.text("at"), ratings)
    except ValueError as error:
        raise row.error("ranks", str(error)) from error
    if not {rating.response_id for rating in ratings} <= set(ids):
        raise row.error("ratings", "a rating of a response that is not in the ranking")
    return Taken((person, prompt, *given, ranking))


_LINES: dict[str, Callable[[Row], Taken]] = {
    "prompt": _prompt_line,
    "demonstration": _demonstration_line,
    "response": _response_line,
    "ranking": _ranking_line,
    "thumb": _thumb_line,
}


def _quality(row: Row) -> int:
    quality = row.whole("quality")
    if not 1 <= quality <= 7:
        raise row.error("quality", f"{quality} is not in 1..7")
    return quality


def _prompt(row: Row, id: str) -> Prompt:
    messages = tuple(Message(NAMES[_one_of(turn, "role", tuple(NAMES))], turn.text("content")) for turn in row.rows("messages"))
    if not messages:
        raise row.error("messages", "an empty list")
    messages = tuple(map(with_media, messages))
    split = cast(Split, _one_of(row, "split", get_args(Split)))
    return Prompt(row.text(id), messages, row.text("use_case"), row.text("user"), split, row.text("source"), row.object("extra"))


def _response(row: Row, prompt: Prompt) -> Response:
    tokens = tuple(row.items("tokens"))
    if any(type(token) is not int for token in tokens):
        raise row.error("tokens", "token ids are whole numbers")
    return Response(row.text("id"), prompt.id, row.text("response"), row.text("model"), tokens, row.truth("finished"))


def _responses_of(row: Row, prompt: Prompt) -> tuple[Response, ...]:
    """Return the responses of a ranking, whose fields are parallel lists."""
    names = {"id": "response_ids", "response": "responses", "model": "models", "tokens": "tokens", "finished": "finished"}
    columns = {name: row.items(column) for name, column in names.items()}
    if len(set(map(len, columns.values()))) > 1:
        raise row.error("responses", f"{', '.join(names.values())} have different lengths")
    values = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return tuple(_response(Row(value, row.file, row.line, f"[{i}]."), prompt) for i, value in enumerate(values))


def _labeler(row: Row) -> Labeler:
    return Labeler(row.text("labeler"), cast(LabelerKind, _one_of(row, "kind", get_args(LabelerKind))), row.text("group"))


def _one_of(row: Row, field: str, known: tuple[str, ...]) -> str:
    word = row.text(field)
    if word not in known:
        raise row.error(field, f"{word!r} is none of {', '.join(known)}")
    return word


def _plain(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
