"""Records that the answering model has not learned from, and how the new prompts differ from the old. Loads no torch."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from accord.commands.serve import trials
from accord.errors import InputError
from accord.evaluation import drift
from accord.feedback import deployments, review
from accord.feedback.agreement import pairwise_agreement
from accord.feedback.codec import encode
from accord.feedback.snapshot import snapshot_line
from accord.feedback.store import Store
from accord.feedback.traces import FROM_APPS, FROM_CHAT, chat_turns, snapshots
from accord.records import Prompt, RankedPrompt
from accord.runtime import lineage
from accord.runtime.project import Project
from accord.settings import RoundConfig

USED = (FROM_CHAT, FROM_APPS)
"""Prefixes of the ids of prompts whose answers somebody used."""
RECORDS = ("rankings", "demonstrations", "thumbs", "prompts")
Encoded = Mapping[str, Any]
"""A prompt as a snapshot holds it."""


def news(project: Project, config: RoundConfig, *, reward: str = "", dtype: str = "auto") -> dict[str, Any]:
    """Count the records that the answering model and its ancestors have not learned from.

    Args:
        reward: a reward model, to say how sure it is of the chat's choices; empty for none.
    """
    with Store.open(project.store_url) as store:
        model = trials.answering(project, store)
        learned = _learned_lines(project, model)
        new: dict[str, list[Any]] = {}
        for what in RECORDS:
            new[what] = [row for row in _rows(store, what) if snapshot_line(row) not in learned[what]]
        known = [json.loads(line) for line in sorted(learned["prompts"])] or [encode(prompt) for prompt in store.prompts(split="train")]
        known = [prompt for prompt in known if prompt["messages"]]
        metrics: dict[str, Any] = {
            "answering": model,
            "since": lineage.read(project.model(model)).get("at", ""),
            "new": _counted(store, new),
            "waiting": review.count_waiting(store),
            "agreement": _agreement(store, new["rankings"]),
            "chat_turns_learned_from": len({one.turn for one in chat_turns(project, model)}),
        }
        metrics |= _drift([prompt for prompt in new["prompts"] if prompt.id.startswith(USED)], known, config)
        choices = [row for row in new["rankings"] if row.prompt.id.startswith(USED)]
        if reward and choices and "topics" in metrics:
            from accord.commands.serve.round_doubts import certainty_by_topic

            asked = [row.prompt.messages[-1].content for row in choices]
            topics = drift.topics(asked, _texts(known), _use_cases(known))
            for topic, certainty in certainty_by_topic(project, reward, choices, topics, dtype).items():
                if topic in metrics["topics"]:
                    metrics["topics"][topic] |= certainty
        if trial := deployments.trial(store):
            metrics["trial"] = trials.trial_metrics(store, trial, config)
        return metrics


def _learned_lines(project: Project, model: str) -> dict[str, set[str]]:
    """Return the rows that a model and its ancestors learned from, as their snapshots hold them, by kind of record."""
    learned = {what: set[str]() for what in RECORDS}
    for snapshot in snapshots(project, model):
        learned.setdefault(snapshot.what, set()).update(snapshot.lines())
    return learned


def _rows(store: Store, what: str) -> Iterable[Any]:
    match what:
        case "rankings":
            return store.ranked_prompts()
        case "demonstrations":
            return store.demonstrations()
        case "thumbs":
            return store.thumbs()
        case _:
            return store.prompts(split="train")


def _counted(store: Store, new: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, int]]:
    """Count new records by kind of labeler, and prompts by whether they come from the chat, an app, or elsewhere."""
    kinds = {labeler.id: labeler.kind for labeler in store.labelers()}
    counted: dict[str, dict[str, int]] = {}
    for what, rows in new.items():
        if what == "prompts":
            counted[what] = dict(Counter(_origin(prompt) for prompt in rows))
        else:
            counted[what] = dict(Counter(kinds[row.labeler] for row in rows))
    return counted


def _origin(prompt: Prompt) -> str:
    return "chat" if prompt.id.startswith(FROM_CHAT) else "apps" if prompt.id.startswith(FROM_APPS) else "other"


def _agreement(store: Store, new: Sequence[RankedPrompt]) -> list[float] | None:
    """Return how far rankings of the prompts that have a new one agree; None when no two judged the same."""
    prompts = {row.prompt.id for row in new}
    try:
        found = pairwise_agreement(r for r in store.rankings("training") if r.prompt_id in prompts).dropped
    except InputError:  # no two labelers ranked the same responses
        return None
    return None if math.isnan(found.mean) else [round(value, 4) for value in (found.mean, found.low, found.high)]


def _drift(new: Sequence[Prompt], known: Sequence[Encoded], config: RoundConfig) -> dict[str, Any]:
    """Return how far new prompts drifted from those that the model knows, and their topics; nothing when either has no words."""
    texts, known_texts = [prompt.messages[-1].content for prompt in new], _texts(known)
    if not any(map(drift.words, texts)) or not any(map(drift.words, known_texts)):
        return {}
    found = drift.drift(texts, known_texts, seed=config.seed)
    counted = Counter(drift.topics(texts, known_texts, _use_cases(known)))
    return {
        "drift": round(found.bits, 4),
        "drift_expected": round(found.expected, 4),
        "drift_p": round(found.p, 4),
        "unlike": round(drift.unlike(texts, known_texts, seed=config.seed), 4),
        "topics": {topic: {"prompts": number} for topic, number in counted.most_common(config.topics)},
    }


def _texts(prompts: Sequence[Encoded]) -> list[str]:
    return [str(prompt["messages"][-1]["content"]) for prompt in prompts]


def _use_cases(prompts: Sequence[Encoded]) -> list[str]:
    return [str(prompt["use_case"]) for prompt in prompts]
