"""The groups that a policy serves: how far its own preferences are those of each group of labelers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch

from accord.commands.evaluate.probe_likelihood import summed_logprobs
from accord.commands.evaluate.probe_measure import Probing
from accord.commands.models import Model, load_model
from accord.evaluation.reward_accuracy import group_accuracy, labeler_accuracy
from accord.feedback.store import Store
from accord.records import RankedPrompt
from accord.runtime import lineage
from accord.runtime.language_models import speaks
from accord.runtime.project import Project


def group_agreement(probing: Probing) -> dict[str, Any]:
    """Return by model and labeler group how often the model's own preference between two ranked responses is the group's.

    A model prefers the response whose log-probability rose most since its parent model: log model - log parent, DPO's implicit
    reward without beta (Rafailov et al. 2023, section 4). Held-out prompts alone; models without such a parent are left out.
    """
    project = probing.project
    with Store.open(project.store_url) as store:
        ranked = [row for row in store.ranked_prompts() if row.prompt.split != "train"]
    ranked = ranked[: probing.config.prompts or None]
    found, logprobs = dict[str, Any](), dict[str, list[list[float]]]()
    for name in probing.models if ranked else ():
        parent = speaking_parent(project, name)
        if not parent:
            continue
        # Several models may share a parent, whose log-probabilities are computed once.
        for each in (name, parent):
            if each not in logprobs:
                logprobs[each] = response_logprobs(load_model(project, each), ranked, probing.dtype)
        scores: list[list[float]] = []
        for own, parents in zip(logprobs[name], logprobs[parent], strict=True):
            scores.append([a - b for a, b in zip(own, parents, strict=True)])
        found[name] = {"all": labeler_accuracy(scores, ranked, **probing.draw)}
        for group, accuracy in group_accuracy(scores, ranked, **probing.draw).items():
            found[name][group or "(none)"] = accuracy
    return found


def speaking_parent(project: Project, model: str) -> str:
    """Return the language model that a model of the project was trained from; empty when it is not here."""
    if model not in project.models():
        return ""
    parents = lineage.read(project.model(model)).get("parents", {})
    return next((name for name in parents if name in project.models() and speaks(project.model(name))), "")


def response_logprobs(model: Model, ranked: Sequence[RankedPrompt], dtype: torch.dtype) -> list[list[float]]:
    """Return the summed log-probability of each response to its prompt, as this model's format writes both."""
    prompts, texts = list[list[int]](), list[list[int]]()
    for row in ranked:
        for response in row.responses:
            prompts.append(model.format.asked(row.prompt))
            texts.append(model.format.answered(row.prompt, response.text))
    sums = iter(summed_logprobs(model, prompts, texts, dtype))
    return [list(islice(sums, len(row.responses))) for row in ranked]
