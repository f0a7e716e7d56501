"""A reward taken apart: by token, by sentence, by the parts of a mixture, and against the other answers to the prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from accord.commands.evaluate.examine_scores import attribution
from accord.commands.evaluate.explain_answer import Answer
from accord.commands.models import TextScorer, locate
from accord.commands.train.rewards import PartScore, part_scores
from accord.data.scenes import scene_of
from accord.errors import AccordError
from accord.evaluation.explanation import by_sentence, form_differences, lacking, spans, without
from accord.records import Prompt, Response
from accord.runtime import lineage
from accord.runtime.language_models import speaks
from accord.runtime.project import Project
from accord.settings import ExplainConfig
from accord.settings.mixins import Rewards


def by_token_and_sentence(scorer: TextScorer, prompt: Prompt, response: Response) -> dict[str, Any]:
    """Return the score of an answer, the gain of each token, and of each sentence its gain and what leaving it out costs.

    The gains of the tokens, and those of the sentences, add up to the score less ``start``, the score of the prompt alone. What leaving
    a sentence out costs need not: the model reads the sentences together.
    """
    parts = attribution(scorer, prompt, response)
    said = scorer.format.tokens_of(prompt, response)
    text = scorer.format.decode(said)
    starts = [len(scorer.format.decode(said[:n]).rstrip("\ufffd")) for n in range(len(said))]
    sentences = spans(text)
    gains = by_sentence(parts.tokens, starts, parts.gains, sentences)
    score = parts.start + sum(parts.gains)
    shorter = [without(text, sentence) for sentence in sentences] if len(sentences) > 1 else []
    rewards = scorer.scores([prompt] * len(shorter), shorter, [response.finished] * len(shorter)) if shorter else []
    left_out = [score - reward for reward in rewards] or [None] * len(sentences)
    return {
        "score": score,
        "start": parts.start,
        "tokens": [{"text": token, "gain": gain} for token, gain in zip(parts.tokens, parts.gains, strict=True)],
        "sentences": [
            {"text": sentence.text, "gain": gain, "left_out": cost} for sentence, gain, cost in zip(sentences, gains, left_out, strict=True)
        ],
    }


def mixture_of(project: Project, model: str, config: ExplainConfig, scene: str = "") -> tuple[Rewards, str]:
    """Return the rewards that an answer's model was trained with, and where they are from.

    The command's own come first, then those of the prompt's scene, where it has some, then those in the lineage of the model, then [ppo]
    of accord.toml. What a scene rewards is not in the lineage: today's accord.toml says it.
    """
    record = lineage.read(project.model(model)) if model in project.models() else {}
    settings: Mapping[str, Any] = record.get("settings", {})
    source = f"the rewards of {model}" if "rewards" in settings else "the section ppo of accord.toml"
    if "rewards" not in settings:
        settings = project.settings.get("ppo", {})
    known = {field.name for field in dataclasses.fields(Rewards)}
    found = Rewards(**{name: value for name, value in settings.items() if name in known})
    if config.rewards:
        return dataclasses.replace(found, rewards=config.rewards), "--rewards"
    if scene in project.scenes and project.scenes[scene].rewards:
        return dataclasses.replace(found, rewards=project.scenes[scene].rewards), f"the scene {scene} of accord.toml"
    return found, source


def by_part(
    project: Project, scorer: TextScorer, reward: str, answer: Answer, responses: Sequence[Response], config: ExplainConfig, dtype: Any
) -> dict[str, Any]:
    """Return for each part of the reward its weight and its score of each response.

    A part that cannot be given for this prompt says why instead.
    """
    rewards, source = mixture_of(project, answer.response.model, config, scene_of(answer.prompt))
    own = answer.response.model
    name = own if own in project.models() and speaks(project.model(own)) else reward
    told: dict[str, Any] = {"rewards": rewards.rewards, "from": source}
    try:
        loaded = {locate(project, reward): scorer.model.model}
        scores = part_scores(project, rewards, reward, answer.prompt, responses, name, scorer.format, dtype, loaded)
    except AccordError as error:
        return told | {"parts": [], "total": None, "why_not": str(error)}
    return told | {"parts": [_part(score, 0) for score in scores], "total": _total(scores, 0), "scores": scores}


def _part(score: PartScore, row: int) -> dict[str, Any]:
    worth = score.scores[row]
    given = None if worth is None or score.limit is not None else score.weight * worth
    told: dict[str, Any] = {"part": score.name, "weight": score.weight, "score": worth, "gives": given}
    return told | ({"at_least": score.limit} if score.limit is not None else {}) | ({"why_not": score.why_not} if score.why_not else {})


def _total(scores: Sequence[PartScore], row: int) -> float | None:
    given = [_part(score, row)["gives"] for score in scores]
    known = [each for each in given if each is not None]
    return sum(known) if known else None


def against_others(
    scorer: TextScorer | None, answer: Answer, own: Mapping[str, Any], scores: Sequence[PartScore], config: ExplainConfig
) -> list[dict[str, Any]]:
    """Return what each of the other answers lacks and adds, the one with the highest reward first.

    Args:
        own: the answer's reward by token and sentence; empty without a reward model.
        scores: the parts of the answer and, behind it, of the others in their order.
    """
    others = list(answer.others)
    rewards = scorer.score_responses([answer.prompt] * len(others), others) if scorer and others else [0.0] * len(others)
    order = sorted(range(len(others)), key=lambda i: (-rewards[i], others[i].id))[: config.others]
    return [_against(scorer, answer, own, scores, others[i], i + 1, rewards[i]) for i in order]


def _against(
    scorer: TextScorer | None,
    answer: Answer,
    own: Mapping[str, Any],
    scores: Sequence[PartScore],
    other: Response,
    row: int,
    reward: float,
) -> dict[str, Any]:
    above, below, beside = answer.preferred(other)
    found: dict[str, Any] = {"response": other.id, "model": other.model, "text": other.text}
    found |= {"labelers": {"above": above, "below": below, "beside": beside}}
    theirs, ours = spans(other.text), spans(answer.response.text)
    gains: list[Any] = [None] * len(ours)
    their_gains: list[Any] = [None] * len(theirs)
    if scorer:
        taken_apart = by_token_and_sentence(scorer, answer.prompt, other)
        found |= {"score": reward, "ahead": own["score"] - reward}
        gains = _gains(own["sentences"], ours)
        their_gains = _gains(taken_apart["sentences"], theirs)
    found["lacks"] = [{"text": ours[i].text, "gain": gains[i]} for i in lacking(ours, other.text)]
    found["adds"] = [{"text": theirs[i].text, "gain": their_gains[i]} for i in lacking(theirs, answer.response.text)]
    found["parts"] = {score.name: _difference(score.scores[0], score.scores[row]) for score in scores}
    form = form_differences(answer.response.text, other.text)
    found["form"] = {name: {"answer": one, "other": two} for name, (one, two) in form.items()}
    return found


def _gains(sentences: Sequence[Mapping[str, Any]], expected: Sequence[Any]) -> list[Any]:
    """Return the gains of sentences; unknown where the tokens' text has other sentences than the stored one."""
    same = [each["text"] for each in sentences] == [each.text for each in expected]
    return [each["gain"] for each in sentences] if same else [None] * len(expected)


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
