"""Changes that must not move a reward model's scores: order, padding, white space, a greeting."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, cast

import torch
from transformers import AutoModelForSequenceClassification

from accord.commands.evaluate.examine_scores import Answer, Scores, rewards
from accord.commands.models import TextScorer
from accord.evaluation.verdicts import moved
from accord.records import Prompt, RankedPrompt

INVARIANCE_ROWS = 300
"""Responses on which invariances are tried; padding is tried on a fifth of them, and on 16 at least."""
CHANGES = {"space": "{} ", "blank_line": "{}\n\n", "greeting": "Hello! {}"}
"""Changes to the last turn of a prompt that should not move a score."""


def invariances(scores: Scores, ranked: Sequence[RankedPrompt], source: str, seed: int) -> dict[str, dict[str, float]]:
    """Return how far changes that should not matter move the scores; see docs/examine.md for each.

    ``order``, ``padding``: the same tokens in another batch, and padded through transformers' own forward pass: 0 or the code is wrong.
    ``tokens``: the text tokenized anew. ``space``, ``blank_line``: white space after the prompt. ``greeting``: "Hello!" before it.

    Args:
        source: the reward model's folder, from which transformers loads it.
    """
    scorer = scores.scorer
    rows, pairs = _some_rows(ranked, seed)
    before = rewards(scorer, rows)
    shuffled = list(range(len(rows)))
    random.Random(seed).shuffle(shuffled)
    by_row = dict(zip(shuffled, rewards(scorer, [rows[i] for i in shuffled]), strict=True))
    found = {"order": moved(before, [by_row[i] for i in range(len(rows))], pairs)}
    without_tokens = [(prompt, replace(response, tokens=())) for prompt, response in rows]
    found["tokens"] = moved(before, rewards(scorer, without_tokens), pairs)
    for name, change in CHANGES.items():
        changed = [(_with_last_turn(prompt, change), response) for prompt, response in rows]
        found[name] = moved(before, rewards(scorer, changed), pairs)
    few = min(len(rows), max(16, len(rows) // 5))  # one row alone has no padding and no spread
    padded = _padded_scores(scorer, rows[:few], source)
    found["padding"] = moved(before[:few], padded, [(i, j) for i, j in pairs if max(i, j) < few])
    return {name: dict(shift) for name, shift in found.items()}


def _some_rows(ranked: Sequence[RankedPrompt], seed: int) -> tuple[list[Answer], list[tuple[int, int]]]:
    """Return the responses of some prompts, and the pairs among those of one prompt."""
    chosen = list({row.prompt.id: row for row in ranked}.values())
    random.Random(seed).shuffle(chosen)
    rows, pairs = list[Answer](), list[tuple[int, int]]()
    for row in chosen:
        if len(rows) + len(row.responses) > INVARIANCE_ROWS:
            break
        pairs += combinations(range(len(rows), len(rows) + len(row.responses)), 2)
        rows += [(row.prompt, response) for response in row.responses]
    return rows, pairs


def _with_last_turn(prompt: Prompt, change: str) -> Prompt:
    *before, last = prompt.messages
    return replace(prompt, messages=(*before, replace(last, content=change.replace("{}", last.content))))


@torch.no_grad()
def _padded_scores(scorer: TextScorer, rows: Sequence[Answer], source: str) -> list[float]:
    """Score the rows by transformers' own classifier, in one right-padded batch, as another tool would compute them."""
    loader: Any = cast("Any", AutoModelForSequenceClassification)
    loaded = loader.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa")
    ids = [[*scorer.format.asked(prompt), *scorer.format.tokens_of(prompt, response)] for prompt, response in rows]
    width, pad = max(map(len, ids)), loaded.config.pad_token_id
    if pad is None:  # such a classifier takes no batch
        outputs = [loaded.eval()(torch.tensor([row])).logits for row in ids]
    else:
        tokens = torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids])
        keep = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        outputs = [loaded.eval()(input_ids=tokens, attention_mask=keep).logits]
    scores: list[float] = (torch.cat(outputs)[:, 0] + float(getattr(loaded.config, "reward_bias", 0.0))).tolist()
    return scores
