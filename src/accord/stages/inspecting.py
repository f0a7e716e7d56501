"""A reward model from the inside: scores of many rows, what must not change them, and how a score comes about token by token."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any, cast

import torch

from accord.algorithms import reward
from accord.evaluation.verdicts import moved
from accord.models.folders import scalar_from
from accord.models.scalar import RewardModel, new_head
from accord.records import Message, Prompt, RankedPrompt, Response
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import RewardConfig
from accord.stages.judging import Rewarder
from accord.stages.opening import Model

LOOKED_AT = 300
"""Rows on which invariances are tried; padding is tried on a fifth of them."""


@dataclass(frozen=True)
class Scores:
    """The rewards of all responses that rankings speak of, each given once."""

    rewarder: Rewarder
    known: Mapping[str, float]

    def of(self, ranked: Sequence[RankedPrompt]) -> list[list[float]]:
        return [[self.known[response.id] for response in row.responses] for row in ranked]


def score_all(rewarder: Rewarder, ranked: Sequence[RankedPrompt]) -> Scores:
    """Scores every response that the rankings show, by its very tokens where they are of this tokenizer."""
    rows = {response.id: (row.prompt, response) for row in ranked for response in row.responses}
    return Scores(rewarder, dict(zip(rows, rewards(rewarder, list(rows.values())), strict=True)))


def rewards(rewarder: Rewarder, rows: Sequence[tuple[Prompt, Response]]) -> list[float]:
    """One score a row, in their order."""
    prompts = [rewarder.format.prompt(prompt.messages) for prompt, _ in rows]
    scores: list[float] = rewarder.model.score(prompts, [tokens_of(rewarder, prompt, response) for prompt, response in rows]).tolist()
    return scores


def tokens_of(rewarder: Rewarder, prompt: Prompt, response: Response) -> list[int]:
    """The tokens that were sampled, unless they are of another tokenizer."""
    sampled = list(response.tokens)
    return (
        sampled if sampled and rewarder.format.text(sampled) == response.text else rewarder.format.response(prompt.messages, response.text)
    )


def invariances(scores: Scores, ranked: Sequence[RankedPrompt], source: str, seed: int) -> dict[str, dict[str, float]]:
    """What changes that should not matter do to the scores; see docs/examine.md for each.

    ``order``, ``padding``: the same tokens in another batch, and padded through transformers' own forward pass: 0 or the code is wrong.
    ``tokens``: the text tokenised anew. ``space``, ``blank_line``: white space after the prompt. ``greeting``: "Hello!" before it.
    """
    rows, pairs = _some(ranked, seed)
    before = rewards(scores.rewarder, rows)
    shuffled = list(range(len(rows)))
    random.Random(seed).shuffle(shuffled)
    mixed = dict(zip(shuffled, rewards(scores.rewarder, [rows[i] for i in shuffled]), strict=True))
    found = {"order": moved(before, [mixed[i] for i in range(len(rows))], pairs)}
    fresh = [(prompt, replace(response, tokens=())) for prompt, response in rows]
    found["tokens"] = moved(before, rewards(scores.rewarder, fresh), pairs)
    for name, change in {"space": "{} ", "blank_line": "{}\n\n", "greeting": "Hello! {}"}.items():
        found[name] = moved(before, rewards(scores.rewarder, [(_changed(prompt, change), response) for prompt, response in rows]), pairs)
    few = max(1, len(rows) // 5)
    padded = _padded(scores.rewarder, rows[:few], source)
    found["padding"] = moved(before[:few], padded, [(i, j) for i, j in pairs if max(i, j) < few])
    return {name: dict(figures) for name, figures in found.items()}


def _some(ranked: Sequence[RankedPrompt], seed: int) -> tuple[list[tuple[Prompt, Response]], list[tuple[int, int]]]:
    """Rows of some rankings, and the pairs among those of one prompt."""
    chosen = list({row.prompt.id: row for row in ranked}.values())
    random.Random(seed).shuffle(chosen)
    rows, pairs = list[tuple[Prompt, Response]](), list[tuple[int, int]]()
    for row in chosen:
        if len(rows) + len(row.responses) > LOOKED_AT:
            break
        pairs += combinations(range(len(rows), len(rows) + len(row.responses)), 2)
        rows += [(row.prompt, response) for response in row.responses]
    return rows, pairs


def _changed(prompt: Prompt, change: str) -> Prompt:
    *before, last = prompt.messages
    return replace(prompt, messages=(*before, Message(last.role, change.replace("{}", last.content))))


@torch.no_grad()
def _padded(rewarder: Rewarder, rows: Sequence[tuple[Prompt, Response]], source: str) -> list[float]:
    """The rows' scores by transformers' own classifier, in one right-padded batch, as another tool would compute them."""
    from transformers import AutoModelForSequenceClassification

    loaded: Any = cast("Any", AutoModelForSequenceClassification).from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa")
    ids = [[*rewarder.format.prompt(prompt.messages), *tokens_of(rewarder, prompt, response)] for prompt, response in rows]
    width, pad = max(map(len, ids)), int(loaded.config.pad_token_id or 0)
    tokens = torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids])
    keep = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    states = loaded.eval().base_model(input_ids=tokens, attention_mask=keep).last_hidden_state
    last = states[torch.arange(len(ids)), keep.sum(1) - 1]
    scores: list[float] = (loaded.score(last).squeeze(1) + float(getattr(loaded.config, "reward_bias", 0.0))).tolist()
    return scores


@dataclass(frozen=True)
class Attribution:
    """A score as a sum: ``start``, of the prompt alone, and what each token of the response added to it."""

    tokens: list[str]
    gains: list[float]
    start: float


def attribution(rewarder: Rewarder, prompt: Prompt, response: Response) -> Attribution:
    """What each token of a response adds to the score of what stands before it. The gains sum to the score minus ``start``.

    A prefix is scored as it is, without a stop token, so a gain says what the model made of the token when it came, not what would
    happen if it were taken out.
    """
    asked, said = rewarder.format.prompt(prompt.messages), tokens_of(rewarder, prompt, response)
    steps: list[float] = rewarder.model.score([asked] * (len(said) + 1), [said[:n] for n in range(len(said) + 1)]).tolist()
    words = [rewarder.format.tokenizer.decode([token]) for token in said]
    return Attribution(words, [after - before for before, after in pairwise(steps)], steps[0])


def small_reward(
    project: Project, model: Model, config: RewardConfig, ranked: Sequence[RankedPrompt], folder: str, seed: int, dtype: torch.dtype
) -> Rewarder:
    """A reward model trained from the SFT model on these rankings alone, for a point of the learning curve; it is not kept."""
    run = Run.start(project.path / folder, stage="reward", config=config, inputs={}, resume=False, seed=seed)
    scalar = scalar_from(model.lm, new_head(model.lm.config.hidden_size, generator(seed, "examine", "head"))).to(pick_device())
    learned = reward.with_mismatched(ranked, config.mismatched, seed)
    rows = [
        reward.ranked_rows(
            model.format.prompt(row.prompt.messages),
            [model.format.response(row.prompt.messages, response.text) for response in row.responses],
            row.ranks,
            config.max_tokens,
        )
        for row in learned
    ]
    reward.train(config, model=scalar, rankings=rows, validation=[], demonstrations=[], run=run, dtype=dtype)
    return Rewarder(RewardModel(scalar, dtype=dtype), model.format)
