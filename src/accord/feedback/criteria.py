"""Rankings by a single criterion: from labelers' flags, from checked facts, or from answers to a question of the project's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from accord.errors import UsageError
from accord.feedback.facts import checks
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

    harmless: only the number of flags for harm counts, fewer is better. truthful: only the flag for hallucination counts, and facts that
    were checked. helpful: the labeler's order of the responses without such
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
    if criterion == "truthful":
        yield from by_facts(store)


def by_facts(store: Store) -> Iterator[RankedPrompt]:
    """Yield for each prompt the order of its responses by the facts that labelers checked, if that leaves two to compare.

    A response with a contradicted claim is worse than one with supported claims and none that is contradicted. A claim's verdict is that
    of most of its checks; where as many say otherwise, and where the document says nothing of it, it tells nothing. Labelers of different
    kinds or groups are counted apart; those of one count together, for few of them check several responses to one prompt. The order is
    credited to the one of them who made most of the checks.
    """
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    responses = {response.id: response for response in store.responses()}
    people = {person.id: (person.kind, person.group) for person in store.labelers()}
    verdicts: dict[tuple[str, tuple[str, str]], dict[str, dict[str, Counter[str]]]] = {}
    makers: dict[tuple[str, tuple[str, str]], Counter[str]] = {}
    for check in checks(store):
        if check.guideline == "training" and check.prompt_id in prompts and check.response_id in responses:
            place = check.prompt_id, people[check.labeler]
            claims = verdicts.setdefault(place, {}).setdefault(check.response_id, {})
            claims.setdefault(check.task_id, Counter())[check.verdict] += 1
            makers.setdefault(place, Counter())[check.labeler] += 1
    for place, of_responses in sorted(verdicts.items()):
        ranks = {id: rank for id, claims in of_responses.items() if (rank := _by_claims(claims))}
        if len(set(ranks.values())) > 1:
            prompt, (_, group) = place
            labeler = min(makers[place], key=lambda one: (-makers[place][one], one))
            yield RankedPrompt(prompts[prompt], tuple(responses[id] for id in ranks), tuple(ranks.values()), labeler, group)


def _by_claims(claims: Mapping[str, Counter[str]]) -> int:
    """Return 2 for a response with a contradicted claim, 1 for one with supported claims alone, 0 where nothing is told."""
    found: set[str] = set()
    for verdicts in claims.values():
        most = max(verdicts.values())
        leading = [verdict for verdict, count in verdicts.items() if count == most]
        found.update(leading if len(leading) == 1 else ())
    return 2 if "contradicted" in found else 1 if "supported" in found else 0


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
