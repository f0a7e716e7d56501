"""`accord prefer`: let an AI rank responses that nobody has ranked.

Needs responses (`accord sample`) and a model of the project, or one behind an address. Leaves rankings by a labeler of kind "model".
Follows RLAIF (Bai et al. 2022, section 4.1; Lee et al. 2023), except: verdicts are asked for in both orders and a contradiction is a tie.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Annotated, Any

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath
from accord.commands.models import open_speaker
from accord.commands.train.principles import Address, Adviser, ai_labeler, read_principles
from accord.errors import InputError
from accord.evaluation import llm_judge
from accord.feedback.guidelines import reference
from accord.feedback.store import Store
from accord.feedback.unranked import unranked
from accord.protocols import Speaker
from accord.records import Labeler, Prompt, Ranking, Response, Sampling
from accord.runtime import lineage
from accord.runtime.device import choose_device
from accord.runtime.progress import track
from accord.runtime.project import Project
from accord.runtime.seeds import derive
from accord.settings import PreferConfig

BATCH = 32
"""Prompts between two writes to the store: a stopped command has lost no more than that."""
PairValues = dict[tuple[int, int], float]
"""What each pair of a prompt's responses is worth to the first: 1, 0, a half for a tie, NaN where no verdict was readable."""


def prefer(
    project: ProjectPath,
    *,
    model: Adviser = "sft",
    at: Address = "",
    flags: ComputeFlags = Compute(),
    config: Annotated[PreferConfig, Flat] = PreferConfig(),
) -> dict[str, Any]:
    """Let an AI rank responses that nobody has ranked, by written principles; the rankings are of kind "model".

    Example: accord prefer my-town --at http://127.0.0.1:8000/v1 --model qwen --principles rules.txt

    Raises:
        ModelError: the project has no such model.
        InputError: no response waits.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    return prefer_by(opened, config, open_speaker(opened, model, at, flags.dtype))


def prefer_by(project: Project, config: PreferConfig, speaker: Speaker) -> dict[str, Any]:
    """The same by any speaker."""
    principles = read_principles(config.principles)
    judge = ai_labeler(speaker, "prefer")
    with Store.open(project.store_url) as store:
        waiting = unranked(store)[: config.prompts or None]
        if not waiting:
            raise InputError("the store has no responses that wait to be ranked", where=project.store_name, hint="`accord sample` first")
        store.add_labelers([judge])
        rankings = ties = unreadable = asked = 0
        with track(len(waiting), "prefer") as bar:
            for start in range(0, len(waiting), BATCH):
                part = [(prompt, responses[: config.responses]) for prompt, responses in waiting[start : start + BATCH]]
                values = compared(speaker, part, principles, config)
                made = [_ranking(judge, prompt, responses, pairs) for (prompt, responses), pairs in zip(part, values, strict=True)]
                rankings += store.add_rankings(ranking for ranking in made if ranking is not None)
                ties += sum(ranking is not None and len(set(ranking.ranks)) == 1 for ranking in made)
                asked += sum(len(pairs) for pairs in values)
                for pairs in values:
                    unreadable += sum(math.isnan(value) for value in pairs.values())
                bar.advance(len(part))
    return {"rankings": rankings, "all_tied": ties, "pairs": asked, "unreadable": unreadable, "labeler": judge.id, "kind": "model"}


def compared(
    speaker: Speaker, part: Sequence[tuple[Prompt, list[Response]]], principles: Sequence[str], config: PreferConfig
) -> list[PairValues]:
    """Judge every pair of each prompt's responses by one principle, which the seed and the prompt's id choose."""
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    values: list[PairValues] = [{} for _ in part]
    by_principle: dict[str, list[int]] = {}
    for row, (prompt, _) in enumerate(part):
        by_principle.setdefault(random.Random(derive(config.seed, prompt.id)).choice(principles), []).append(row)
    for principle, rows in by_principle.items():
        pairs: list[tuple[int, int, int]] = []
        for row in rows:
            pairs += [(row, i, j) for i, j in combinations(range(len(part[row][1])), 2)]
        opinions = llm_judge.ask(
            speaker,
            [part[row][0] for row, _, _ in pairs],
            [part[row][1][i].text for row, i, _ in pairs],
            [part[row][1][j].text for row, _, j in pairs],
            question=f"Which answer keeps this principle better? {principle} If both keep it, which one helps more?",
            sampling=sampling,
            seed=config.seed,
        )
        for (row, i, j), opinion in zip(pairs, opinions, strict=True):
            values[row][i, j] = opinion.worth
    return values


def ranks_by(count: int, pairs: PairValues) -> tuple[int, ...] | None:
    """Return ranks by the share of its readable pairs that each response won, a tie a half; None when nothing was readable."""
    won: list[list[float]] = [[] for _ in range(count)]
    for (i, j), value in pairs.items():
        if not math.isnan(value):
            won[i].append(value)
            won[j].append(1 - value)
    if not any(won):
        return None
    shares = [sum(each) / len(each) if each else 0.5 for each in won]
    # Shares that differ by rounding alone are ties.
    return tuple(1 + sum(other > mine + 1e-9 for other in shares) for mine in shares)


def _ranking(judge: Labeler, prompt: Prompt, responses: Sequence[Response], pairs: PairValues) -> Ranking | None:
    ranks = ranks_by(len(responses), pairs)
    if ranks is None:
        return None
    ids = tuple(response.id for response in responses)
    key = lineage.digest_rows([judge.id, *ids])[:12]
    at = datetime.now(UTC).replace(microsecond=0).isoformat()
    return Ranking(f"{prompt.id}-{judge.id}-{key}", prompt.id, judge.id, ids, ranks, reference("training"), at)
