"""The next round: what is new since the model that answers, real prompts for the labelers, and the stages again."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, cast

from accord.errors import InputError
from accord.evaluation import drift
from accord.feedback import deployments, queue, review
from accord.feedback.agreement import pairwise_agreement
from accord.feedback.answers import CORRECTION
from accord.feedback.codec import encode
from accord.feedback.store import Store
from accord.records import Prompt, RankedPrompt, Response, Sampling
from accord.runtime import lineage
from accord.runtime.project import Project, sections
from accord.settings import ChatConfig, DpoConfig, KtoConfig, PpoConfig, RewardConfig, RoundConfig, SftConfig
from accord.stages import trials
from accord.stages.tracing import FROM_CHAT, chat_turns, snapshots

READ = ("rankings", "demonstrations", "thumbs", "prompts")


def whats_new(project: Project, config: RoundConfig, *, reward: str = "", dtype: str = "auto") -> dict[str, Any]:
    """What the store holds that the answering model and its ancestors have not learned from, and how it differs.

    Args:
        reward: a reward model that is asked how sure it is of the chat's choices; nobody is asked when it is empty.
    """
    with Store.open(project.store_url) as store:
        model = trials.answering(project, store)
        seen = {what: set[str]() for what in READ}
        for snapshot in snapshots(project, model):
            seen.setdefault(snapshot.what, set()).update(snapshot.lines())
        new = {what: [row for row in _rows(store, what) if _line(row) not in seen[what]] for what in READ}
        trial = deployments.trial(store)
        asked = [json.loads(line) for line in sorted(seen["prompts"])] or [encode(p) for p in store.prompts(split="train")]
        figures: dict[str, Any] = {
            "answering": model,
            "since": lineage.read(project.model(model)).get("at", ""),
            "new": _counted(store, new),
            "waiting": review.count_waiting(store),
            "agreement": _agreement(store, new["rankings"]),
            "chat_turns_learned_from": len({one.turn for one in chat_turns(project, model)}),
        }
        figures |= _drifted([p for p in new["prompts"] if p.id.startswith(FROM_CHAT)], asked, config)
        choices = [row for row in new["rankings"] if row.prompt.id.startswith(FROM_CHAT)]
        if reward and choices and "topics" in figures:
            _add_doubts(figures["topics"], project, reward, choices, asked, dtype)
        return figures | ({"trial": trials.shown(store, trial, config)} if trial else {})


def queue_round(project: Project, config: RoundConfig, chat: ChatConfig, *, reward: str = "", dtype: str = "auto") -> dict[str, Any]:
    """Queues one ranking task for each reviewed prompt of the chat, with responses drawn until there are k.

    Raises:
        InputError: no prompt of the chat has been accepted.
    """
    from accord.stages.speaking import local_speaker

    with Store.open(project.store_url) as store:
        prompts = [prompt for prompt in store.prompts() if prompt.id.startswith(FROM_CHAT)]
        if not prompts:
            raise InputError(
                "no prompt of the chat was accepted yet", where=project.store_url, hint="a lead accepts them on the chat's page"
            )
        said: dict[str, list[Response]] = {prompt.id: [] for prompt in prompts}
        for response in store.responses():
            if response.prompt_id in said and response.model != CORRECTION:
                said[response.prompt_id].append(response)
        short = [prompt for prompt in prompts if len(said[prompt.id]) < config.k]
        model = trials.answering(project, store)
        if short:
            speaker = local_speaker(project, model, dtype)
            sampling = Sampling(1.0, chat.top_k, chat.top_p, chat.repetition_penalty, chat.max_tokens)
            drawn = speaker.answer([prompt.messages for prompt in short], n=config.k, sampling=sampling, seed=config.seed)
            for prompt, texts in zip(short, drawn, strict=True):
                said[prompt.id] += _missing(prompt, said[prompt.id], texts, config.k, f"{model}@{speaker.model.digest[:12]}")
        doubts = _doubts(project, reward, prompts, said, dtype) if reward else dict[str, float]()
        made = [
            queue.Task(
                queue.task_id("rank", "training", prompt.id, (r.id for r in said[prompt.id])),
                "rank",
                prompt,
                tuple(sorted(said[prompt.id], key=lambda r: r.id)),
                overlap=config.overlap,
                priority=round(doubts.get(prompt.id, 0.0), 6),
            )
            for prompt in prompts
            if 2 <= len(said[prompt.id]) <= 9
        ]
        before = {prompt for prompt in said if len(said[prompt]) < 2}
        return {"prompts": len(prompts), "queued": queue.add(store, made), "responses_all_alike": len(before)}


def run_round(project: Project, config: RoundConfig, *, base: str, dtype: str = "auto") -> dict[str, Any]:
    """Runs the stages again under names that count up; returns what each made, and the chat turns in the last one's lineage."""
    from accord.stages.preferring import dpo_stage, kto_stage
    from accord.stages.training import ppo_stage, reward_stage, sft_stage

    wanted = config.stages.replace(",", " ").split() or _needed(project, config)
    made: dict[str, str] = {}
    sft = newest(project, "sft")
    for stage in [name for name in ("sft", "reward", "ppo", "dpo", "kto") if name in wanted]:
        name, settings = next_name(project, stage), _settings(project, stage, config)
        match stage:
            case "sft":
                sft_stage(project, cast("SftConfig", settings), base=base, name=name, resume=False, dtype=dtype)
                sft = name
            case "reward":
                reward_stage(project, cast("RewardConfig", settings), sft_model=sft, name=name, resume=False, dtype=dtype)
            case "ppo":
                reward = made.get("reward", newest(project, "reward"))
                ppo = cast("PpoConfig", settings)
                ppo_stage(project, ppo, sft_model=sft, reward_model=reward, name=name, resume=False, dtype=dtype)
            case "dpo":
                dpo_stage(project, cast("DpoConfig", settings), sft_model=sft, name=name, resume=False, dtype=dtype)
            case _:
                kto_stage(project, cast("KtoConfig", settings), sft_model=sft, name=name, resume=False, dtype=dtype)
        made[stage] = name
    last = list(made.values())[-1]
    return {**made, "chat_turns_learned_from": len({one.turn for one in chat_turns(project, last)})}


def next_name(project: Project, stage: str) -> str:
    """The name of a stage's next run: reward, reward-2, reward-3 ..."""
    taken = {*project.models(), *project.runs()}
    return next(name for name in (stage, *(f"{stage}-{n}" for n in range(2, 10_000))) if name not in taken)


def newest(project: Project, stage: str) -> str:
    """The latest model that a stage made; the stage's own name when there is none."""
    made = [name for name in project.models() if name == stage or name.startswith(f"{stage}-")]
    made = [name for name in made if name.removeprefix(stage).lstrip("-").isdigit() or name == stage]
    return max(made, key=lambda name: int(name.removeprefix(stage).lstrip("-") or 1), default=stage)


def _needed(project: Project, config: RoundConfig) -> list[str]:
    new = whats_new(project, config)["new"]
    return [*(["sft"] if new["demonstrations"] else []), "reward", "ppo"]


def _settings(project: Project, stage: str, config: RoundConfig) -> Any:
    kind = sections()[stage]
    given = {"seed": project.settings.get("project", {}).get("seed", 0), **project.settings.get(stage, {})}
    settings = kind(**given)
    return replace(settings, kinds=config.kinds) if any(field.name == "kinds" for field in fields(kind)) else settings


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


def _line(row: Any) -> str:
    """A row as ``snapshot.write_snapshot`` writes it."""
    return json.dumps(encode(row), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _counted(store: Store, new: dict[str, list[Any]]) -> dict[str, dict[str, int]]:
    """New records by kind of labeler; prompts by whether they come from the chat."""
    kinds = {person.id: person.kind for person in store.labelers()}
    counted = {what: Counter(kinds[row.labeler] for row in rows) for what, rows in new.items() if what != "prompts"}
    origin = Counter("chat" if prompt.id.startswith(FROM_CHAT) else "other" for prompt in new["prompts"])
    return {what: dict(counts) for what, counts in {**counted, "prompts": origin}.items()}


def _agreement(store: Store, new: Sequence[RankedPrompt]) -> list[float] | None:
    """How far rankings of the prompts that have a new one agree; None when no two judged the same."""
    prompts = {row.prompt.id for row in new}
    try:
        found = pairwise_agreement(r for r in store.rankings("training") if r.prompt_id in prompts).dropped
    except InputError:  # no two labelers ranked the same responses
        return None
    return None if math.isnan(found.mean) else [round(value, 4) for value in (found.mean, found.low, found.high)]


def _drifted(new: Sequence[Prompt], asked: Sequence[dict[str, Any]], config: RoundConfig) -> dict[str, Any]:
    texts = [prompt.messages[-1].content for prompt in new]
    known, labels = _texts(asked), [str(row["use_case"]) for row in asked]
    if not any(map(drift.words, texts)) or not any(map(drift.words, known)):
        return {}
    found = drift.drift(texts, known, seed=config.seed)
    counted = Counter(drift.topics(texts, known, labels))
    return {
        "drift": round(found.bits, 4),
        "drift_expected": round(found.expected, 4),
        "drift_p": round(found.p, 4),
        "unlike": round(drift.unlike(texts, known, seed=config.seed), 4),
        "topics": {topic: {"prompts": number} for topic, number in counted.most_common(config.topics)},
    }


def _texts(asked: Sequence[dict[str, Any]]) -> list[str]:
    return [str(row["messages"][-1]["content"]) for row in asked if row["messages"]]


def _add_doubts(
    topics: dict[str, dict[str, Any]],
    project: Project,
    reward: str,
    choices: Sequence[RankedPrompt],
    asked: Sequence[dict[str, Any]],
    dtype: str,
) -> None:
    """How sure a reward model is of the pairs that users chose between, and how often it is right, by topic."""
    labels = drift.topics([row.prompt.messages[-1].content for row in choices], _texts(asked), [str(row["use_case"]) for row in asked])
    scored = _scored(project, reward, [(row.prompt, row.responses) for row in choices], dtype)
    sure: dict[str, list[float]] = {}
    right: dict[str, list[float]] = {}
    for label, row, (one, other) in zip(labels, choices, scored, strict=True):
        sure.setdefault(label, []).append(_sure(one, other))
        if row.ranks[0] != row.ranks[1]:
            right.setdefault(label, []).append(float((one > other) == (row.ranks[0] < row.ranks[1])))
    for label in sure.keys() & topics.keys():
        topics[label]["reward_sure"] = round(sum(sure[label]) / len(sure[label]), 4)
        if label in right:
            topics[label]["reward_right"] = round(sum(right[label]) / len(right[label]), 4)


def _doubts(project: Project, reward: str, prompts: Sequence[Prompt], said: dict[str, list[Response]], dtype: str) -> dict[str, float]:
    """1 minus how sure the reward model is of the two responses that it holds for the best, by prompt."""
    asked = [prompt for prompt in prompts if len(said[prompt.id]) >= 2]
    scored = _scored(project, reward, [(prompt, said[prompt.id]) for prompt in asked], dtype)
    best = [sorted(scores, reverse=True)[:2] for scores in scored]
    return {prompt.id: 1 - _sure(one, other) for prompt, (one, other) in zip(asked, best, strict=True)}


def _sure(one: float, other: float) -> float:
    """Probability of the preferred one under Bradley-Terry."""
    return 1 / (1 + math.exp(-abs(one - other)))


def _scored(project: Project, reward: str, rows: Sequence[tuple[Prompt, Sequence[Response]]], dtype: str) -> list[list[float]]:
    from accord.data.templates import chat_format
    from accord.data.tokenizers import load_tokenizer
    from accord.models.folders import load_scalar_model
    from accord.models.scalar import RewardModel
    from accord.stages.opening import compute_dtype, locate

    source = locate(project, reward)
    scalar = load_scalar_model(source)
    spoken = chat_format(load_tokenizer(source), int(getattr(scalar.config, "max_position_embeddings", 0) or 0))
    pairs = [(spoken.prompt(prompt.messages), spoken.response(prompt.messages, r.text)) for prompt, said in rows for r in said]
    scored: list[float] = RewardModel(scalar, dtype=compute_dtype(dtype)).score([p for p, _ in pairs], [r for _, r in pairs]).tolist()
    values = iter(scored)
    return [[next(values) for _ in said] for _, said in rows]


def _missing(prompt: Prompt, there: Sequence[Response], texts: Sequence[str], k: int, model: str) -> list[Response]:
    """Responses in other words than those that are there, as many as are missing."""
    known = {response.text for response in there}
    fresh = [text for text in dict.fromkeys(texts) if text.strip() and text not in known]
    return [Response(f"{prompt.id}-{queue.digest(model, text)[:12]}", prompt.id, text, model) for text in fresh[: k - len(there)]]
