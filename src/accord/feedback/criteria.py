"""Rankings by a single criterion: from the flags that labelers ticked, or from their answers to a question of the project's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from accord.errors import UsageError
from accord.feedback.flags import HARMFUL
from accord.feedback.questions import kept, said
from accord.feedback.store import Store
from accord.records import RankedPrompt, Ranking
from accord.settings.questions import Question, Questions

HARM = frozenset({"inappropriate_for_customer_assistant", *HARMFUL})
"""Flags for harmful responses."""
MADE_UP = "hallucination"
"""The flag for a response that says what is not so."""


def ranked_by(store: Store, criterion: str, questions: Questions) -> Iterator[RankedPrompt]:
    """Yield each rated ranking by one criterion (Dai et al. 2024, section 3.1), if that leaves two responses to compare.

    harmless: only the number of flags for harm counts, fewer is better. truthful: only the flag for hallucination counts.
    helpful: the labeler's order of the responses without such
    flags. A flag: responses without it are better, unless its ``better`` says otherwise. A question: the better answer ranks higher.
    Answers to an earlier version of the question count if what can be answered was the same.

    Args:
        questions: in force in the project.

    Raises:
        UsageError: there is no such criterion, or its answers have no order.
    """
    order = _order(store, criterion, questions)
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    responses = {response.id: response for response in store.responses()}
    groups = {person.id: person.group for person in store.labelers()}
    for ranking in store.rankings("training"):
        ranks = {id: rank for id, rank in order(ranking).items() if id in responses}
        if len(set(ranks.values())) > 1:
            shown = tuple(responses[id] for id in ranks)
            yield RankedPrompt(prompts[ranking.prompt_id], shown, tuple(ranks.values()), ranking.labeler, groups[ranking.labeler])


def by_criterion(ranking: Ranking, criterion: Literal["helpful", "harmless", "truthful"]) -> dict[str, int]:
    """Return the rank of each response that the criterion can place, 1 for the best; empty when nothing was rated."""
    if criterion == "truthful":
        return {rating.response_id: 1 + (MADE_UP in rating.flags) for rating in ranking.ratings}
    harm = {rating.response_id: len(HARM & set(rating.flags)) for rating in ranking.ratings}
    placed = [(id, rank) for id, rank in zip(ranking.response_ids, ranking.ranks, strict=True) if id in harm]
    if criterion == "harmless":
        return {id: 1 + harm[id] for id, _ in placed}
    return {id: rank for id, rank in placed if harm[id] == 0}


def _order(store: Store, criterion: str, questions: Questions) -> Callable[[Ranking], dict[str, int]]:
    """Return what gives each response of a ranking its rank by a criterion."""
    if criterion == "helpful" or criterion == "harmless" or criterion == "truthful":
        return lambda ranking: by_criterion(ranking, criterion)
    question = questions.by_name.get(criterion)
    usable = [name for name, each in questions.by_name.items() if each.about == "response" and each.better]
    if question is None or criterion not in usable:
        what = f"no criterion {criterion!r}" if question is None else f"answers to {criterion!r} put responses in no order"
        hint = f"known are overall, helpful, harmless, truthful, {', '.join(usable)}; a choice needs `better`"
        raise UsageError(what, where="--criterion", hint=hint)
    if question.kind == "flag":
        return lambda ranking: _by_flag(ranking, question)
    answered = _answers_to(store, question)
    return lambda ranking: _by_answers(answered.get(ranking.id, {}), question)


def _by_flag(ranking: Ranking, question: Question) -> dict[str, int]:
    good = question.better == "yes"
    return {rating.response_id: 1 if (question.name in rating.flags) == good else 2 for rating in ranking.ratings}


def _by_answers(given: Mapping[str, Any], question: Question) -> dict[str, int]:
    """Return ranks by answer, 1 for the best; responses that were not answered about have none."""
    if question.kind == "spans":
        place = {id: len(spans) for id, spans in given.items()}
    else:
        known = list(question.values)
        place = {id: known.index(value) for id, value in given.items() if value in known}
    best_last = question.better in ("high", "yes", "last", "many")
    order = sorted(set(place.values()), reverse=best_last)
    return {id: 1 + order.index(at) for id, at in place.items()}


def _answers_to(store: Store, question: Question) -> dict[str, dict[str, Any]]:
    """Return the answers to a question by ranking and response, of all versions that could be answered alike."""
    alike = {version for (name, version), each in kept(store).items() if name == question.name and each.form == question.form}
    found: dict[str, dict[str, Any]] = {}
    for answer in said(store):
        if answer.question == question.name and answer.version in {*alike, question.version}:
            found.setdefault(f"k-{answer.answer_id}", {})[answer.target] = answer.value
    return found
