"""Public sets of comparisons: Nectar, HelpSteer2 and 3, SHP, WebGPT, summarize-from-feedback, PKU-SafeRLHF, Chatbot Arena.

Each becomes rankings in our records. Strengths, reasons, further criteria and ratings are kept in ``Prompt.extra`` (``row_extra.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any

from accord.data.row_extra import columns, describe, judged, keyed, noted
from accord.data.row_records import (
    LABELER,
    MOST,
    Taken,
    answered,
    conversation,
    demonstrated,
    labeler_of,
    make_prompt,
    places,
    quality_of,
    ranked,
    unusable,
)
from accord.data.rows import TOGETHER, Fault, Row, plain, replaced
from accord.records import Labeler, Message, Prompt, Response, Role, Thumb

_MARK = re.compile(r"\n\n(Human|Assistant):")
_EXTRA_ID = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_WINNERS = {"model_a": (1, 2), "model_b": (2, 1), "tie": (1, 1), "tie (bothbad)": (1, 1), "both_bad": (1, 1), "bothbad": (1, 1)}
_BOTH_BAD = ("tie (bothbad)", "both_bad", "bothbad")
SAFER = "imported (safer)"
"""The labeler and the group of rankings by safety, so that they can be told from those by quality."""
AXES = ("overall", "accuracy", "coverage", "coherence", "compatible")
"""The axes on which summarize-from-feedback rates summaries, 1 to 7."""
ASPECTS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
"""HelpSteer's ratings of a response, 0 to 4."""


def nectar(row: Row) -> Taken:
    """Read a ``prompt`` in hh-rlhf's marks and its ``answers``, each with a ``model`` and GPT-4's ``rank`` (Zhu et al. 2023)."""
    prompt = make_prompt(row, marked_turns(row, "prompt"))
    answers, beyond = row.rows("answers")[:MOST], row.rows("answers")[MOST:]
    for answer in beyond:
        answer.pass_over()
    if len(answers) < 2:
        return Taken(dropped="fewer than two answers")
    ranks = [answer.whole("rank") for answer in answers]
    if min(ranks) < 1:
        raise row.error("answers", f"ranks are whole numbers from 1 (best), not {ranks}")
    texts, models = [answer.text("answer") for answer in answers], [answer.word("model", "model") for answer in answers]
    taken = ranked(row, prompt, texts, places([-rank for rank in ranks]), models=models, default="gpt-4", kind="model")
    taken = judged(taken, columns(row, "source", "good_natured", "turns", "num_responses"))
    return replace(taken, left_out=("answer beyond the ninth",) * len(beyond)) if taken.records else taken


def marked_turns(row: Row, field: str) -> tuple[Message, ...]:
    """Return the turns of a text in the marks "Human:" and "Assistant:"; a text without marks is the user's one turn.

    Raises:
        InputError: the text does not end with the user's turn.
    """
    head, *parts = _MARK.split(f"\n\n{row.text(field).strip()}")
    if head.strip() or parts[:1] != ["Human"]:
        return (Message("user", row.text(field).strip()),)
    turns = list(zip(parts[::2], (text.strip() for text in parts[1::2]), strict=True))
    if turns[-1] == ("Assistant", ""):
        turns.pop()
    if turns[-1][0] != "Human":
        raise row.error(field, "a prompt must end with the user's turn")
    messages = list[Message]()
    for name, group in groupby(turns, key=lambda turn: turn[0]):
        role: Role = "user" if name == "Human" else "assistant"
        messages.append(Message(role, "\n\n".join(text for _, text in group if text)))
    return tuple(messages)


def helpsteer_turns(row: Row) -> tuple[Message, ...]:
    """Return the turns of HelpSteer's ``prompt``, whose later turns follow marks such as "<extra_id_1>Assistant".

    Raises:
        InputError: the turns are out of order, or do not end with the user's turn.
    """
    first, *parts = _EXTRA_ID.split(row.text("prompt"))
    messages, last = [Message("user", first.strip() if parts else first)], "User"
    for name, said in zip(parts[::2], parts[1::2], strict=True):
        if name == last:
            raise row.error("prompt", f"two turns of {name} follow one another")
        messages.append(Message("user" if name == "User" else "assistant", said.strip()))
        last = name
    if not messages[-1].content and len(messages) > 1 and messages[-1].role == "assistant":
        messages.pop()
    if messages[-1].role != "user":
        raise row.error("prompt", "a prompt must end with the user's turn")
    return tuple(messages)


def helpsteer(row: Row) -> Taken:
    """Read the responses to one prompt, rated 0 to 4 (Wang et al. 2023, arXiv 2311.09528); ``helpfulness`` gives order and quality.

    A list of ratings, as in HelpSteer2's disagreements, holds one of each annotator; their mean counts.
    """
    prompt, given = make_prompt(row, helpsteer_turns(row)), row.rows(TOGETHER)
    texts, scores = [rated.text("response") for rated in given], [_mean(rated, "helpfulness") for rated in given]
    each = [_ratings(rated) for rated in given]
    if len(given) > 1:
        return judged(ranked(row, prompt, texts, places(scores), quality=[quality_of(score, 0, 4) for score in scores]), {}, each)
    if reason := unusable(prompt, *texts):
        return Taken(dropped=reason)
    response = answered(prompt, texts[0], prompt.source)
    alone = Taken((prompt, response), left_out=("rating of a response that stands alone",))
    return noted(alone, keyed("judgement", {"responses": [describe(response, each[0])]}))


def _ratings(row: Row) -> dict[str, Any]:
    """Return a response's ratings by their own names, also where another one was mapped to ``helpfulness``."""
    ratings = columns(row, *ASPECTS)
    own = columns(row, *map(replaced, ASPECTS))
    return {name: own.get(replaced(name), value) for name, value in ratings.items()}


def _mean(row: Row, field: str) -> float:
    if not isinstance(row.peek(field), list):
        return row.number(field)
    every = [row.like({field: score}).number(field) for score in row.items(field)]
    if not every:
        raise row.error(field, "an empty list")
    return sum(every) / len(every)


def helpsteer2_preference(row: Row) -> Taken:
    """Read HelpSteer2's pairs with ``preference_strength`` from -3 (the first is much better) to 3 (Wang et al. 2024, arXiv 2410.01257)."""
    strength = row.whole("preference_strength")
    taken = _by_strength(row, make_prompt(row, helpsteer_turns(row)), ("response_1", "response_2"), strength)
    pair = {"strength": strength, **columns(row, "preference_statement", "preference_elaboration")}
    annotators = columns(row, "all_preferences_unprocessed", "three_most_similar_preferences")
    return judged(taken, {**columns(row, "split"), **pair, **annotators})


def _by_strength(row: Row, prompt: Prompt, fields: tuple[str, str], strength: int) -> Taken:
    """Return the ranking of two responses; a negative strength prefers the first, 0 is a tie."""
    if not -3 <= strength <= 3:
        raise row.error("preference", f"a strength of {strength} is not within -3 to 3")
    order = (1, 2) if strength < 0 else (2, 1) if strength > 0 else (1, 1)
    return ranked(row, prompt, [row.text(field) for field in fields], order)


def helpsteer3(row: Row) -> Taken:
    """Read HelpSteer3's pairs with ``overall_preference`` from -3 to 3 and the annotators' own (Wang et al. 2025, arXiv 2505.11475)."""
    strength = row.whole("overall_preference")
    taken = _by_strength(row, _context(row), ("response1", "response2"), strength)
    people = plain(row.items("individual_preference")) if row.has("individual_preference") else []
    return judged(taken, {**columns(row, "domain", "language"), "strength": strength, **({"annotators": people} if people else {})})


def _context(row: Row) -> Prompt:
    messages = conversation(row, "context")
    if not messages or messages[-1].role != "user":
        raise row.error("context", "a context must end with the user's turn")
    return make_prompt(row, messages)


def helpsteer3_edit(row: Row) -> Taken:
    """Read HelpSteer3's edits: the edited response is a demonstration, and is ranked above the original (arXiv 2503.04378)."""
    prompt, edited, original = _context(row), row.text("edited_response"), row.text("original_response")
    taken = ranked(row, prompt, (edited, original), (1, 2), models=("edited", "original"))
    taken = judged(taken, columns(row, "domain", "language", "feedback", "change_summary"))
    return taken if not taken.records else _with_written(taken, demonstrated(row, prompt, edited))


def _with_written(taken: Taken, written: Taken) -> Taken:
    """Return the records of a ranking with a demonstration of the same prompt, which carries the prompt's ``extra`` too."""
    prompt = next(record for record in taken.records if isinstance(record, Prompt))
    return noted(Taken(tuple(record for record in written.records if not isinstance(record, Prompt))), prompt.extra) + taken


def helpsteer3_edit_quality(row: Row) -> Taken:
    """Read HelpSteer3's two edits, of which the good one follows the feedback; the original response is kept unranked."""
    prompt = _context(row)
    texts = (row.text("good_edited_response"), row.text("bad_edited_response"))
    taken = ranked(row, prompt, texts, (1, 2), models=("good edit", "bad edit"))
    taken = judged(taken, {"criterion": "follows the feedback", **columns(row, "domain", "language", "feedback")})
    original = row.text("original_response", "")
    if not taken.records or not original.strip():
        return taken
    return replace(taken, records=(*taken.records, answered(prompt, original, "original")))


def helpsteer3_feedback(row: Row) -> Taken:
    """Read HelpSteer3's two responses with written feedback on each and no order: two responses to rank."""
    prompt, texts = _context(row), (row.text("response1"), row.text("response2"))
    if reason := unusable(prompt, *texts):
        return Taken(dropped=reason)
    if texts[0] == texts[1]:
        return Taken(dropped="identical responses")
    given = [answered(prompt, text, prompt.source) for text in texts]
    said = [describe(given[i], {"feedback": plain(row.raw(f"feedback{i + 1}"))}) for i in range(2)]
    return noted(Taken((prompt, *given)), keyed("judgement", {**columns(row, "domain", "language"), "responses": said}))


def shp(row: Row) -> Taken:
    """Read a post and two comments, of which readers preferred the first if ``labels`` is 1 (Ethayarajh et al. 2022, SHP)."""
    prompt = make_prompt(row, (Message("user", row.text("history")),))
    label = row.whole("labels") if not isinstance(row.peek("labels"), bool) else int(row.truth("labels"))
    if label not in (0, 1):
        raise row.error("labels", f"{label} is neither 1 (A is preferred) nor 0 (B is)")
    texts = (row.text("human_ref_A"), row.text("human_ref_B"))
    taken = ranked(row, prompt, texts, (1, 2) if label else (2, 1), models=("people", "people"))
    each = [_suffixed(row, f"_{side}", "score", "created_at_utc", "c_root_id") for side in "AB"]
    return judged(taken, columns(row, "post_id", "domain", "upvote_ratio", "score_ratio", "seconds_difference"), each)


def _suffixed(row: Row, suffix: str, *names: str) -> dict[str, Any]:
    """Return columns whose names end in the response's letter or number, by their names without it."""
    found = columns(row, *(f"{name}{suffix}" for name in names))
    return {name.removesuffix(suffix): value for name, value in found.items()}


def webgpt(row: Row) -> Taken:
    """Read a question and two answers with scores from -1 to 1 that add up to 0 (Nakano et al. 2021, arXiv 2112.09332).

    The answer with the higher score is preferred; two scores of 0 are a tie. Quotes are kept beside their answers.
    """
    question = row.row("question") if isinstance(row.peek("question"), dict) else None
    text = question.text("full_text") if question else row.text("question")
    scores = [row.number("score_0"), row.number("score_1")]
    if not all(-1 <= score <= 1 for score in scores):
        raise row.error("score_0", f"the scores {scores} are not within -1 to 1")
    prompt = make_prompt(row, (Message("user", text),), use_case="open QA")
    taken = ranked(row, prompt, (row.text("answer_0"), row.text("answer_1")), places(scores))
    each = [_suffixed(row, f"_{n}", "score", "quotes") for n in range(2)]
    return judged(taken, columns(question, "dataset", "id") if question else {}, each)


def summaries(row: Row) -> Taken:
    """Read a post or an article and two ``summaries``; the worker chose number ``choice`` (Stiennon et al. 2020, arXiv 2009.01325)."""
    given, choice = row.rows("summaries"), row.whole("choice")
    if len(given) != 2 or choice not in (0, 1):
        raise row.error("choice", f"{choice} of {len(given)} summaries: there are two, and the choice is 0 or 1")
    prompt = _to_summarise(row)
    texts, policies = [summary.text("text") for summary in given], [summary.word("policy", "policy") for summary in given]
    taken = ranked(_by(row, "worker"), prompt, texts, (1, 2) if choice == 0 else (2, 1), models=policies)
    confidence: dict[str, Any] = plain(row.raw("extra")) if isinstance(row.peek("extra"), dict) else {}
    pair = {**_origin(row), **columns(row, "batch"), **confidence}
    return judged(taken, pair, [columns(summary, "note") for summary in given])


def _by(row: Row, labeler: str, at: str = "") -> Row:
    """Return the row with its labeler's column under our name, and the time of the judgement."""
    named = {"labeler": row.word(labeler)} if row.has(labeler) else {}
    value = {name: cell for name, cell in row.value.items() if name != "extra"}
    return row.like({**value, **named, **({"at": at} if at else {})})


def _to_summarise(row: Row) -> Prompt:
    """Return the post or article in the form in which the paper's models read it."""
    info = row.row("info")
    if info.has("article"):
        parts = [f"Title: {info.text('title')}"] if info.text("title", "").strip() else []
        text = "\n\n".join([*parts, f"Article: {info.text('article').strip()}", "TL;DR:"])
    else:
        parts = [("SUBREDDIT: r/", "subreddit"), ("TITLE: ", "title"), ("POST: ", "post")]
        lines = [f"{mark}{info.text(name).strip()}" for mark, name in parts if info.text(name, "").strip()]
        info.text("post")
        text = "\n".join([*lines, "TL;DR:"])
    return make_prompt(_by(row, "worker"), (Message("user", text),), use_case="summarise")


def _origin(row: Row) -> dict[str, Any]:
    return {**columns(row.row("info"), "id", "subreddit", "site"), **columns(row, "split")}


def summary_axes(row: Row) -> Taken:
    """Read one worker's summaries of one post, each rated 1 to 7 on several axes; ``overall`` gives order and quality."""
    everything = [rated.row("summary") for rated in row.rows(TOGETHER)]
    given = [summary for summary in everything if summary.row("axes").has("overall")]
    unrated = ("summary without an overall rating",) * (len(everything) - len(given))
    if not given:
        return Taken(dropped="summary without an overall rating")
    prompt, texts = _to_summarise(row), [summary.text("text") for summary in given]
    quality, details = list[int](), list[dict[str, Any]]()
    for summary in given:
        axes = summary.row("axes")
        overall = axes.whole("overall")
        if not 1 <= overall <= 7:
            raise axes.error("overall", f"{overall} is not in 1..7")
        quality.append(overall)
        details.append({**columns(axes, *AXES), **columns(summary, "note")})
    policies = [summary.word("policy", "policy") for summary in given]
    if len(given) > 1:
        taken = ranked(_by(row, "worker"), prompt, texts, places(quality), models=policies, quality=quality)
        taken = judged(taken, {**_origin(row), **columns(row, "batch")}, details)
        return replace(taken, left_out=unrated) if taken.records else taken
    if reason := unusable(prompt, *texts):
        return Taken(dropped=reason)
    response = answered(prompt, texts[0], policies[0])
    said = {"labeler": row.word("worker"), **_origin(row), **columns(row, "batch"), "responses": [describe(response, details[0])]}
    return noted(Taken((prompt, response), left_out=("rating of a response that stands alone", *unrated)), keyed("judgement", said))


def same_worker(rows: Iterator[Row]) -> Iterator[Row | Fault]:
    """Merge consecutive rated summaries of one post by one worker into one row, at most nine at a time."""
    for _, group in groupby(rows, key=lambda row: (repr(row.peek("info")), row.peek("worker"))):
        while together := list(islice(group, MOST)):
            first = together[0]
            yield first.like({**first.value, TOGETHER: [row.value for row in together]})


def safe_pairs(row: Row) -> Taken:
    """Read PKU-SafeRLHF's two responses, ranked by which one is better (Ji et al. 2023, arXiv 2307.04657).

    Which one is safer, whether each is safe, and the kinds of harm are kept beside the ranking. ``--format pku-safer`` ranks by that.
    """
    return _safe_pair(row, "better_response_id")


def safer_pairs(row: Row) -> Taken:
    """Read the same rows, ranked by which response is safer, as the judgement of the labeler and group "imported (safer)"."""
    return _safe_pair(row, "safer_response_id")


def _safe_pair(row: Row, field: str) -> Taken:
    chosen = row.whole(field)
    if chosen not in (0, 1):
        raise row.error(field, f"{chosen} is neither 0 nor 1")
    prompt = make_prompt(row, (Message("user", row.text("prompt")),))
    texts = [row.text(f"response_{n}") for n in range(2)]
    models = [row.word(f"response_{n}_source", prompt.source) for n in range(2)]
    each = list[dict[str, Any]]()
    for n in range(2):
        safe = {"safe": row.truth(f"is_response_{n}_safe")} if row.has(f"is_response_{n}_safe") else {}
        harm = _harms(row, f"response_{n}_harm_category")
        each.append({**safe, **harm, **columns(row, f"response_{n}_severity_level")})
        each[-1] = {name.removeprefix(f"response_{n}_"): value for name, value in each[-1].items()}
        for name, criterion in (("better_response_id", "better"), ("safer_response_id", "safer")):
            if row.has(name):
                each[-1][criterion] = row.whole(name) == n
    safer = field == "safer_response_id"
    taken = ranked(row, prompt, texts, (1, 2) if chosen == 0 else (2, 1), models=models, default=SAFER if safer else LABELER)
    return judged(taken, {"criterion": "safer" if safer else "better", **columns(row, "prompt_source")}, each)


def _harms(row: Row, field: str) -> dict[str, Any]:
    """Return the kinds of harm that a column of truth values says are there."""
    if not row.has(field):
        return {}
    kinds = row.row(field)
    return {"harm": sorted(name for name in kinds.value if kinds.truth(name))}


def judged_safe(row: Row) -> Taken:
    """Read BeaverTails: a response that is safe is a thumb up, one that is not a thumb down (Ji et al. 2023, arXiv 2307.04657)."""
    prompt, text = make_prompt(row, (Message("user", row.text("prompt")),)), row.text("response")
    if reason := unusable(prompt, text):
        return Taken(dropped=reason)
    person, response = labeler_of(row), answered(prompt, text, row.word("model", prompt.source))
    harm = _harms(row, "category")
    thumb = Thumb(prompt, response, row.truth("is_safe"), person.id, person.group)
    said = {"labeler": person.id, "responses": [describe(response, {"safe": thumb.up, **harm})]}
    return noted(Taken((person, prompt, response, thumb)), keyed("judgement", said))


_MODEL_JUDGE = re.compile(
    r"([\w.-]+/)?(gpt|chatgpt|o[134](-|$)|claude|llm|llama|gemini|palm|mistral|mixtral|qwen|deepseek|glm|command-r|grok|prometheus|auto-?j|model)",
    re.IGNORECASE,
)
"""How names of judges begin that are models."""


def arena(row: Row) -> Taken:
    """Read two models' conversations with one user and the user's vote (Zheng et al. 2023, arXiv 2309.11998; MT-Bench's judgements too).

    A vote on the answers to one question is a ranking; "both bad" is a tie, and a thumb down for each. A vote on whole conversations that
    part before the last answer ranks no two answers: the last answers are kept as responses, and the vote beside them.
    """
    winner = row.word("winner").lower()
    if winner not in _WINNERS:
        raise row.error("winner", f"{winner!r} is none of {', '.join(_WINNERS)}")
    models = [row.word("model_a", "model_a"), row.word("model_b", "model_b")]
    rounds = row.whole("turn") if row.has("turn") else None
    sides = [_rounds(row, f"conversation_{side}", rounds) for side in "ab"]
    about = columns(row, "question_id", "language", "anony", "toxic_chat_tag", "openai_moderation")
    at = _moment(row, "tstamp")
    if sides[0][:-1] == sides[1][:-1]:
        named = _by(row, "judge", at)
        prompt, texts = make_prompt(named, sides[0][:-1]), [side[-1].content for side in sides]
        kind = "model" if _MODEL_JUDGE.match(row.word("judge")) else "person"
        taken = ranked(named, prompt, texts, _WINNERS[winner], models=models, kind=kind)
        taken = judged(taken, {"vote": winner, **about})
        return _both_bad(taken) if winner in _BOTH_BAD else taken
    taken = Taken(left_out=("vote on conversations that part before the last answer",))
    vote = {"vote": winner, "model_a": models[0], "model_b": models[1], **columns(row, "judge")}
    for model, side in zip(models, sides, strict=True):
        prompt = make_prompt(_by(row, "judge"), side[:-1])
        reason = unusable(prompt, side[-1].content)
        kept = Taken(dropped=reason) if reason else Taken((prompt, answered(prompt, side[-1].content, model)))
        taken += noted(kept, keyed("judgement", {**vote, **about}))
    return taken


def _rounds(row: Row, field: str, rounds: int | None) -> tuple[Message, ...]:
    """Return a conversation that ends with the assistant, up to the round that was judged."""
    messages = conversation(row, field)
    opening = 1 if messages and messages[0].role == "system" else 0
    messages = messages if rounds is None else messages[: opening + 2 * rounds]
    if len(messages) < 2 or messages[-1].role != "assistant":
        raise row.error(field, "a conversation must end with the assistant's turn")
    return messages


def _both_bad(taken: Taken) -> Taken:
    """Return the records of a tie with a thumb down for each response."""
    prompt = next((record for record in taken.records if isinstance(record, Prompt)), None)
    person = next((record for record in taken.records if isinstance(record, Labeler)), None)
    if prompt is None or person is None:
        return taken
    responses = [record for record in taken.records if isinstance(record, Response)]
    thumbs = tuple(Thumb(prompt, response, False, person.id, person.group) for response in responses)
    return replace(taken, records=(*taken.records, *thumbs))


def _moment(row: Row, field: str) -> str:
    """Return a time given in seconds since 1970, or as text, in ISO 8601; empty when there is none."""
    value = row.raw(field)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return row.word(field)[:40]
    try:
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError) as error:
        raise row.error(field, f"not a time: {value}") from error
