"""Knowledge: does a model know, does it know that it does not know, or does it make things up; and how sure is it when it is wrong?

Each question is answered several times, and once greedily. Semantic entropy and its discrete form (Farquhar et al. 2024), self-consistency
(Wang et al. 2023) and P(True) (Kadavath et al. 2022) of the greedy answer are held against the truth, where there is one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from accord.commands.evaluate.answers import Answers
from accord.commands.evaluate.held_out import held_out_prompts
from accord.commands.evaluate.probe_likelihood import summed_logprobs
from accord.commands.evaluate.probe_measure import SHOWN, Probing, sample_row
from accord.commands.evaluate.probe_truth import CLOSED, HELPFUL
from accord.commands.knowledge import OwnAnswer, open_meaning, own_answers, question_of, questions_of
from accord.commands.models import Model
from accord.commands.world import has_world, world_of
from accord.data.semantics import UNKNOWN, Admits, Asked, Meaning, discrete_entropy, holds_answer, semantic_entropy
from accord.data.token_rows import RowTooLong
from accord.errors import InputError
from accord.evaluation.certainty import auroc, coverage_curve, ece, resampled, threshold_for
from accord.evaluation.statistics import rate
from accord.evaluation.systems import System
from accord.records import Message, Prompt, Sampling
from accord.runtime.files import write_atomic
from accord.world import GoldJudge, World
from accord.world.grammar import parse

CURVES = "knowledge.json"
"""File of the run with each system's coverage-accuracy curve."""
REFERENCE = "answer"
"""Column beside a prompt that holds the right answer, outside the built-in world."""
IDEAS = 5
_IS_IT_TRUE = "{question}\nSome ideas for the answer: {ideas}\nPossible answer: {answer}\nIs the possible answer true? Say True or False."


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and whether it states something false. An admission is neither."""

    right: bool
    made_up: bool


@dataclass(frozen=True)
class Truth:
    """What is known of the questions: the world's gold judge, or the answers that stand beside the prompts."""

    judge: GoldJudge | None
    admits: Admits

    def knows(self, prompt: Prompt) -> bool:
        """Return whether an answer to a prompt can be checked."""
        return self.judge is not None or bool(prompt.extra.get(REFERENCE))

    def verdicts(self, prompt: Prompt, texts: Sequence[str]) -> list[Verdict]:
        """Check the answers to a prompt."""
        return [self._verdict(prompt, text, unsure) for text, unsure in zip(texts, self.admits(texts), strict=True)]

    def _verdict(self, prompt: Prompt, text: str, unsure: bool) -> Verdict:
        if self.judge is None:
            right = not unsure and any(holds_answer(text, each) for each in references(prompt))
            return Verdict(right, not unsure and not right)
        found = self.judge.judge(prompt, text)
        return Verdict(not unsure and not found.made_up and found.helpful >= HELPFUL, found.made_up)


def references(prompt: Prompt) -> list[str]:
    """Return the right answers that stand beside a prompt; a list holds alternatives."""
    given: Any = prompt.extra[REFERENCE]
    return [str(each) for each in cast("list[Any]", given)] if isinstance(given, list) else [str(given)]


@dataclass(frozen=True)
class Question:
    """One question with a system's answers and how sure it is of the greedy one."""

    prompt: Prompt
    kind: str
    answer: str
    admits: bool
    certainty: Mapping[str, float]
    """Each measure as a number from 0 to 1; an entropy H as exp(-H)."""
    agreement: float
    """The largest share of the samples that anything stated has."""
    admitted: float
    """Share of the samples that admit ignorance."""
    verdict: Verdict | None
    shares: tuple[float, float] | None
    """Shares of the samples that are right, and that are made up."""


class TownMeaning:
    """Answers alike by the town's grammar: they claim the same facts. It knows nothing of which are true."""

    name = "the town's grammar"

    def __init__(self, world: World, prompts: Sequence[Prompt], admits: Admits) -> None:
        self._admits = admits
        self._subjects = {question_of(prompt): world.specs[prompt.id].subject for prompt in prompts}

    def groups(self, rows: Sequence[Asked]) -> list[list[str]]:
        """Return for each question the name of each answer's cluster."""
        found: list[list[str]] = []
        for question, texts in rows:
            admitted = self._admits(texts)
            found.append([UNKNOWN if unsure else self._key(question, text) for text, unsure in zip(texts, admitted, strict=True)])
        return found

    def _key(self, question: str, text: str) -> str:
        reading = parse(text, self._subjects[question])
        claims = [f"{claim.fact.subject} {claim.fact.relation} {claim.fact.object} {claim.negated}" for claim in reading.claims]
        listed = [", ".join(sentence.items) for sentence in reading.sentences if sentence.items]
        return " and ".join(sorted(claims)) or " and ".join(listed) or text.strip().lower()


def knowledge(probing: Probing) -> dict[str, Any]:
    """Return by system how it answers questions of each kind, and how well its certainty tells its right answers from wrong ones.

    Raises:
        InputError: there are no questions of held-out users.
        UsageError: no such way of telling answers apart.
    """
    world = world_of(probing.project) if has_world(probing.project) else None
    asked = _questions(probing, world)
    prompts = [prompt for prompt, _ in asked]
    config = probing.config
    if config.knowledge_meaning == "auto" and world is not None:
        meaning: Meaning = TownMeaning(world, prompts, probing.classifiers.admits)
    else:
        name = "short" if config.knowledge_meaning == "auto" else config.knowledge_meaning
        meaning = open_meaning(probing.project, name, probing.classifiers.admits)
    truth = Truth(GoldJudge(world, rules="evaluation") if world else None, probing.classifiers.admits)
    found: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    for system in probing.systems:
        if system.remote:
            probing.run.note(f"knowledge: {system.name} is behind an address and gives no probabilities of its answers; it is left out")
            continue
        rows = _answered(probing, system, asked, meaning, truth)
        found[system.name], curves[system.name] = _measured(probing, rows)
        shown = [sample_row("knowledge", system, row.prompt, row.answer, of=row.kind, **row.certainty) for row in rows[:SHOWN]]
        probing.run.samples(0, shown)
    probing.run.note(f"knowledge: {len(prompts)} questions, {config.knowledge_samples} answers each, told apart by {meaning.name}")
    shared = {"meaning": meaning.name, "samples": config.knowledge_samples, "use_cases": config.knowledge_use_cases, "systems": curves}
    write_atomic(probing.run.folder / CURVES, json.dumps(shared, ensure_ascii=False, indent=1))
    return found


def _questions(probing: Probing, world: World | None) -> list[tuple[Prompt, str]]:
    """Return the held-out prompts that ask for a fact, each with its kind: in the world how often the raw text told the fact."""
    prompts = held_out_prompts(probing.project, known=world.specs if world else None)
    if world is not None:
        kinds: dict[str, list[Prompt]] = {"common": [], "rare": [], "absent": [], "unanswerable": []}
        for prompt in prompts:
            kind = "unanswerable" if prompt.use_case == "unanswerable" else world.fact_class(prompt.id)
            if kind and prompt.use_case not in (*CLOSED, "false_premise"):
                kinds[kind].append(prompt)
        return [(prompt, kind) for kind, rows in kinds.items() for prompt in probing.some(rows)]
    asked = probing.some(questions_of(prompts, probing.config.knowledge_use_cases))
    if not asked:
        hint = "name the use cases that ask for a fact by --knowledge-use-cases"
        raise InputError("no held-out prompt asks for a fact", where=str(probing.project.path), hint=hint)
    return [(prompt, prompt.use_case or "question") for prompt in asked]


def _answered(probing: Probing, system: System, asked: Sequence[tuple[Prompt, str]], meaning: Meaning, truth: Truth) -> list[Question]:
    """Ask a system every question several times and once greedily, and say how sure it is of the greedy answer."""
    config, prompts = probing.config, [prompt for prompt, _ in asked]
    greedy = Answers(probing.project, Sampling(temperature=0.0, max_tokens=config.max_tokens), config.seed, probing.dtype, config.shots)
    best = greedy.of_system(system, prompts)
    model = greedy.opened(system.model)
    own = own_answers(
        probing.project,
        model,
        [greedy.conversation(system, prompt) for prompt in prompts],
        n=config.knowledge_samples,
        sampling=Sampling(temperature=1.0, max_tokens=config.max_tokens),
        seed=config.knowledge_seed,
        dtype=probing.dtype,
    ).answers
    texts = [[*(answer.text for answer in drawn), said] for drawn, said in zip(own, best, strict=True)]
    named = meaning.groups([(question_of(prompt), each) for prompt, each in zip(prompts, texts, strict=True)])
    believed = p_true(model, prompts, best, own, probing)
    rows: list[Question] = []
    for place, (prompt, kind) in enumerate(asked):
        *groups, answer = named[place]
        stated = [name for name in groups if name != UNKNOWN]
        drawn, of_best = list[Verdict](), None
        if checks := truth.knows(prompt):
            *drawn, of_best = truth.verdicts(prompt, texts[place])
        certainty = {
            "semantic_entropy": math.exp(-semantic_entropy(groups, [drawn.logprob for drawn in own[place]])),
            "discrete_entropy": math.exp(-discrete_entropy(groups)),
            "self_consistency": groups.count(answer) / len(groups),
        }
        if (belief := believed[place]) is not None:
            certainty["p_true"] = belief
        rows.append(
            Question(
                prompt,
                kind,
                best[place],
                answer == UNKNOWN,
                certainty,
                max((stated.count(name) for name in set(stated)), default=0) / len(groups),
                groups.count(UNKNOWN) / len(groups),
                of_best,
                (_share([each.right for each in drawn]), _share([each.made_up for each in drawn])) if checks else None,
            )
        )
    return rows


def p_true(
    model: Model, prompts: Sequence[Prompt], answers: Sequence[str], own: Sequence[Sequence[OwnAnswer]], probing: Probing
) -> list[float | None]:
    """Return the probability that a model gives to "True" against "False", asked of its own answers; None where the question does not fit.

    As Kadavath et al. 2022 do, it is shown some of its other answers first.
    """
    asked: list[list[int]] = []
    said: list[list[int]] = []
    places: list[int] = []
    for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ideas = "; ".join(dict.fromkeys(drawn.text.strip() for drawn in own[place][:IDEAS]))
        text = _IS_IT_TRUE.format(question=question_of(prompt), ideas=ideas, answer=answer.strip())
        turns = (Message("user", text),)
        try:
            ids, words = model.format.prompt(turns), [model.format.response(turns, word) for word in ("True", "False")]
        except RowTooLong:
            continue
        if model.format.context and len(ids) + max(map(len, words)) > model.format.context:
            continue
        places.append(place)
        asked += [ids, ids]
        said += words
    sums = summed_logprobs(model, asked, said, probing.dtype)
    found: list[float | None] = [None] * len(prompts)
    for number, place in enumerate(places):
        found[place] = 1 / (1 + math.exp(min(700.0, sums[2 * number + 1] - sums[2 * number])))
    return found


def _measured(probing: Probing, rows: Sequence[Question]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a system's metrics, and its coverage-accuracy curve with the threshold that was asked for."""
    draw = probing.draw
    kinds: dict[str, Any] = {}
    for kind in dict.fromkeys(row.kind for row in rows):
        some = [row for row in rows if row.kind == kind]
        known = {"knows_that_it_does_not": rate([row.admitted for row in some], **draw)}
        checked = [row.shares for row in some if row.shares is not None]
        if checked:
            known = {"knows": rate([right for right, _ in checked], **draw)} | known
            known["makes_up"] = rate([made_up for _, made_up in checked], **draw)
            sure = [row.agreement >= probing.config.knowledge_threshold and _states_wrongly(row) for row in some]
            known["sure_and_wrong"] = rate([float(each) for each in sure], **draw)
        kinds[kind] = {**known, "agreement": rate([row.agreement for row in some], **draw), "prompts": len(some)}
    metrics: dict[str, Any] = {"kinds": kinds, "measures": {}}
    stated = [row for row in rows if row.verdict is not None and not row.admits]
    for name in ("semantic_entropy", "discrete_entropy", "self_consistency", "p_true"):
        scored = [row for row in stated if name in row.certainty]
        scores = [row.certainty[name] for row in scored]
        right = [row.verdict is not None and row.verdict.right for row in scored]
        metrics["measures"][name] = {
            "auroc": resampled(auroc, scores, right, **draw),
            "ece": resampled(ece, scores, right, **draw),
            "questions": len(scored),
        }
    right = [row.verdict is not None and row.verdict.right for row in stated]
    checked_questions = sum(row.verdict is not None for row in rows)
    curve = coverage_curve([row.certainty["self_consistency"] for row in stated], right, checked_questions) if stated else []
    chosen = threshold_for(curve, probing.config.accuracy)
    metrics["threshold"] = asdict(chosen) if chosen else None
    metrics["answers_all"] = asdict(curve[-1]) if curve else None
    metrics["curve"] = [asdict(point) for point in curve]
    return metrics, {"curve": metrics["curve"], "threshold": metrics["threshold"], "questions": checked_questions}


def _states_wrongly(row: Question) -> bool:
    return row.verdict is not None and not row.admits and not row.verdict.right


def _share(holds: Sequence[bool]) -> float:
    return sum(holds) / len(holds)
