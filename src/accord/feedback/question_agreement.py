"""Agreement on a project's own questions and on single flags: coefficients for each question, with intervals that resample prompts.

A unit is what a question was asked about: a response, a turn of a conversation, or a prompt. For spans it is a character of the response,
and the value is whether a labeler marked it. Answers to two versions of a question, or under two guideline sets, never share a unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from accord.feedback.facts import checks
from accord.feedback.intervals import Figure, Interval
from accord.feedback.payloads import VERDICTS
from accord.feedback.questions import Said, kept, said
from accord.feedback.reliability import INTERVAL, NOMINAL, ORDINAL, Scale, Unit, Units, of_scale
from accord.feedback.store import Store
from accord.records import Ranking
from accord.settings.questions import Question

LONGEST_RESPONSE = 20_000
"""Characters of a response that are compared for spans."""


@dataclass(frozen=True, slots=True)
class QuestionAgreement:
    """Agreement on one version of a question."""

    name: str
    version: str
    """Empty for a flag, which has one version per name."""
    kind: str
    answers: int
    labelers: int
    shared: int
    """Units that two or more labelers answered."""
    metrics: Mapping[str, Interval]


def question_agreement(store: Store, *, resamples: int = 2000, seed: int = 0) -> list[QuestionAgreement]:
    """Return the agreement on each question, in the order in which they were first asked, and on fact checks.

    Questions answered in words have no figures.
    """
    wordings = kept(store)
    given: dict[tuple[str, str], list[Said]] = {}
    for answer in said(store):
        given.setdefault((answer.question, answer.version), []).append(answer)
    found = list[QuestionAgreement]()
    for key, question in wordings.items():
        if key in given:
            found.append(_of_question(question, given[key], resamples, seed))
    return found + _of_facts(store, resamples, seed)


def _of_facts(store: Store, resamples: int, seed: int) -> list[QuestionAgreement]:
    """Return the agreement on fact checks, a unit being a claim beside its document; empty when there are none."""
    units: dict[str, dict[tuple[str, ...], Unit]] = {}
    people, given = set[str](), 0
    for check in checks(store):
        units.setdefault(check.prompt_id, {}).setdefault((check.task_id,), {})[check.labeler] = VERDICTS.index(check.verdict)
        people.add(check.labeler)
        given += 1
    scale = Scale(len(VERDICTS), "none", False, {"alpha": NOMINAL})
    return [_measured("fact", "", "fact", given, len(people), units, scale, resamples, seed)] if given else []


def flag_agreement(rankings: Iterable[Ranking], *, resamples: int = 2000, seed: int = 0) -> list[QuestionAgreement]:
    """Return the agreement on each flag that was ticked at least once, by name."""
    rated = [ranking for ranking in rankings if ranking.ratings]
    ticked = sorted({flag for ranking in rated for rating in ranking.ratings for flag in rating.flags})
    return [_of_flag(flag, rated, resamples, seed) for flag in ticked]


def _of_flag(flag: str, rankings: list[Ranking], resamples: int, seed: int) -> QuestionAgreement:
    units: dict[str, dict[tuple[str, ...], Unit]] = {}
    people, answers = set[str](), 0
    for ranking in rankings:
        for rating in ranking.ratings:
            unit = (ranking.guideline.set, rating.response_id)
            units.setdefault(ranking.prompt_id, {}).setdefault(unit, {})[ranking.labeler] = int(flag in rating.flags)
            people.add(ranking.labeler)
            answers += 1
    return _measured(flag, "", "flag", answers, len(people), units, Scale(2, "none", False, {"alpha": NOMINAL}), resamples, seed)


def _of_question(question: Question, given: list[Said], resamples: int, seed: int) -> QuestionAgreement:
    units: dict[str, dict[tuple[str, ...], Unit]] = {}
    places = {value: place for place, value in enumerate(question.values)}
    # Turns are numbered within their prompt, so that a target alone does not name a text.
    lengths = {(answer.prompt_id, answer.target): 0 for answer in given}
    if question.kind == "spans":
        for answer in given:
            text = (answer.prompt_id, answer.target)
            lengths[text] = max([lengths[text], *(span["end"] for span in answer.value)])
    for answer in given:
        of_prompt, unit = units.setdefault(answer.prompt_id, {}), (answer.guideline, _about(question, answer))
        if question.kind == "spans":
            marked = set(chain.from_iterable(range(span["start"], span["end"]) for span in answer.value))
            for at in range(min(lengths[answer.prompt_id, answer.target], LONGEST_RESPONSE)):
                of_prompt.setdefault((*unit, str(at)), {})[answer.labeler] = int(at in marked)
        elif answer.value in places:
            of_prompt.setdefault(unit, {})[answer.labeler] = places[answer.value]
    people = {answer.labeler for answer in given}
    return _measured(question.name, question.version, question.kind, len(given), len(people), units, _scale(question), resamples, seed)


def _about(question: Question, answer: Said) -> str:
    """Return what an answer is about. Turns are numbered within their task's prompt; responses have ids of their own."""
    return answer.target if question.about == "response" else answer.prompt_id


def _scale(question: Question) -> Scale | None:
    match question.kind:
        case "scale":
            return Scale(len(question.values), "quadratic", False, {"alpha_ordinal": ORDINAL, "alpha_interval": INTERVAL})
        case "choice":
            ordered = bool(question.better)
            alphas: dict[str, Figure] = {"alpha_ordinal": ORDINAL} if ordered else {"alpha": NOMINAL}
            return Scale(len(question.values), "quadratic" if ordered else "none", False, alphas)
        case "text":
            return None
        case _:
            return Scale(2, "none", False, {"alpha": NOMINAL})


def _measured(
    name: str,
    version: str,
    kind: str,
    answers: int,
    people: int,
    units: Mapping[str, Mapping[tuple[str, ...], Unit]],
    scale: Scale | None,
    resamples: int,
    seed: int,
) -> QuestionAgreement:
    judged: Units = [[unit for unit in part.values() if len(unit) > 1] for part in units.values()]
    judged = [part for part in judged if part]
    shared = sum(map(len, judged))
    metrics = of_scale(judged, scale, resamples, seed) if scale and judged else {}
    return QuestionAgreement(name, version, kind, answers, people, shared, metrics)
