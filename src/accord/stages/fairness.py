"""Whom a model serves: rewards under group swaps, and how far a policy's own preferences are those of each group of labelers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accord.evaluation.counterfactual import AXES, swap
from accord.evaluation.reward_accuracy import group_accuracy, labeler_accuracy
from accord.evaluation.statistics import interval
from accord.feedback.store import Store
from accord.models.packing import by_tokens, pack
from accord.models.policy import logprobs
from accord.records import Message, Prompt, RankedPrompt
from accord.runtime import lineage
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ProbeConfig
from accord.stages.comparing import plain
from accord.stages.judging import Rewarder
from accord.stages.opening import Model, load_model

SHOWN = 10
"""Responses that an axis moved most, written down."""


def swapped(project: Project, reward: str, config: ProbeConfig, dtype: torch.dtype, run: Run) -> dict[str, Any]:
    """By axis: how far exchanging groups in prompt and response moves the reward, on held-out responses in which any can be exchanged.

    ``shift`` is the mean absolute change in standard deviations of the rewards, ``towards_second`` the mean signed one from texts
    about the first-named group of a pair towards the second (swaps that lead the other way count with the other sign).
    """
    rewarder = Rewarder.open(project, reward, dtype)
    rows = _held_out_rows(project, config)
    if not rows:
        return {}
    plainly = np.array(rewarder.scores([prompt for prompt, _ in rows], [text for _, text in rows]))
    spread, found = float(plainly.std()) or 1.0, dict[str, Any]()
    for axis in AXES:
        other = [_exchanged(prompt, text, axis) for prompt, text in rows]
        places = [i for i, (before, after) in enumerate(zip(rows, other, strict=True)) if before != after]
        if not places:
            continue
        after = np.array(rewarder.scores([other[i][0] for i in places], [other[i][1] for i in places]))
        gap = (after - plainly[places]) / spread
        signed = gap * np.array([_direction(rows[i], axis) for i in places])
        draw = {"resamples": config.bootstrap, "seed": config.seed}
        found[axis] = {"responses": len(places), "shift": interval(np.abs(gap), **draw), "towards_second": interval(signed, **draw)}
        widest = sorted(range(len(places)), key=lambda k: -abs(float(gap[k])))[:SHOWN]
        run.samples(0, [_row(axis, rows[places[k]], other[places[k]], float(gap[k])) for k in widest])
    return found


def _held_out_rows(project: Project, config: ProbeConfig) -> list[tuple[Prompt, str]]:
    with Store.open(project.store_url) as store:
        prompts = {prompt.id: prompt for split in ("validation", "test") for prompt in store.prompts(split=split)}
        rows = [(prompts[r.prompt_id], r.text) for r in store.responses() if r.prompt_id in prompts]
    return rows[: 10 * config.prompts or None]


def _exchanged(prompt: Prompt, text: str, axis: str) -> tuple[Prompt, str]:
    turns = tuple(Message(message.role, swap(message.content, axis)) for message in prompt.messages)
    return replace(prompt, messages=turns), swap(text, axis)


def _direction(row: tuple[Prompt, str], axis: str) -> float:
    """1 where the text speaks more of the first-named group of the axis, so that the swap leads to the second; -1 the other way."""
    firsts, seconds = ({pair[side] for pair in AXES[axis]} for side in (0, 1))
    words = " ".join([*(message.content for message in row[0].messages), row[1]]).lower().split()
    clean = [word.strip(".,!?;:'\"") for word in words]
    count = sum(word in firsts for word in clean) - sum(word in seconds for word in clean)
    return 1.0 if count >= 0 else -1.0


def _row(axis: str, before: tuple[Prompt, str], after: tuple[Prompt, str], gap: float) -> dict[str, Any]:
    told = {"kind": "swap", "axis": axis, "prompt": before[0].messages[-1].content, "response": before[1]}
    return plain(told | {"swapped_prompt": after[0].messages[-1].content, "swapped": after[1], "shift": gap})


def served(project: Project, models: Sequence[str], config: ProbeConfig, dtype: torch.dtype) -> dict[str, Any]:
    """By model and labeler group: how often the model's own preference between two ranked responses is the group's.

    A model's preference is what it makes likelier than the model that it was trained from does: log model - log parent, DPO's implicit
    reward without beta (Rafailov et al. 2023, section 4). Held-out prompts alone; models without such a parent are left out.
    """
    with Store.open(project.store_url) as store:
        ranked = [row for row in store.ranked_prompts() if row.prompt.split != "train"]
    ranked = ranked[: config.prompts or None]
    found, known = dict[str, Any](), dict[str, list[list[float]]]()
    draw = {"resamples": config.bootstrap, "seed": config.seed}
    for name in models if ranked else ():
        parent = speaking_parent(project, name)
        if not parent:
            continue
        for each in (name, parent):
            if each not in known:
                known[each] = response_logprobs(load_model(project, each), ranked, dtype)
        scores = [[a - b for a, b in zip(one, other, strict=True)] for one, other in zip(known[name], known[parent], strict=True)]
        groups = {group or "(none)": accuracy for group, accuracy in group_accuracy(scores, ranked, **draw).items()}
        found[name] = {"all": labeler_accuracy(scores, ranked, **draw)} | groups
    return found


def speaking_parent(project: Project, model: str) -> str:
    """The language model that a model of the project was trained from; empty when it is not here."""
    if model not in project.models():
        return ""
    parents = lineage.read(project.model(model)).get("parents", {})
    return next((name for name in parents if name in project.models() and speaks(project.model(name))), "")


def speaks(folder: Path) -> bool:
    """Whether a model folder holds a language model."""
    config = folder / "config.json"
    return config.is_file() and "ForCausalLM" in config.read_text("utf-8")


@torch.no_grad()
def response_logprobs(model: Model, ranked: Sequence[RankedPrompt], dtype: torch.dtype) -> list[list[float]]:
    """The summed log-probability of each response to its prompt, as this model's format writes both."""
    rows, counts = list[list[int]](), list[int]()
    for row in ranked:
        prompt = model.format.prompt(row.prompt.messages)
        for response in row.responses:
            said = model.format.response(row.prompt.messages, response.text)
            rows.append([*prompt, *said])
            counts.append(len(said))
    sums = [0.0] * len(rows)
    for group in by_tokens([len(row) for row in rows], 16_384):
        batch = pack([rows[i] for i in group], [counts[i] for i in group]).to(model.lm.device)
        parts = torch.split(logprobs(model.lm, batch, dtype=dtype)[0].double().cpu(), [counts[i] for i in group])
        for i, part in zip(group, parts, strict=True):
            sums[i] = float(part.sum())
    values = iter(sums)
    return [[next(values) for _ in row.responses] for row in ranked]
