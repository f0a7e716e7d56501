"""The stages in which an AI gives feedback: critique and revise, rank. What it says is signed by a labeler of kind "model".

Follows constitutional AI (Bai et al. 2022, sections 3.1 and 4.1) and its AI labels (Lee et al. 2023), except: the AI may be any speaker,
a model of the project or one behind an address; verdicts are asked for in both orders and a contradiction is a tie.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

from accord.engine.remote import RemoteSpeaker
from accord.errors import InputError, UsageError
from accord.evaluation import llm_judge
from accord.feedback.guidelines import reference
from accord.feedback.store import Store
from accord.protocols import Speaker
from accord.records import Demonstration, Labeler, Message, Prompt, Ranking, Response, Sampling
from accord.runtime import lineage
from accord.runtime.files import append
from accord.runtime.progress import track
from accord.runtime.project import Project
from accord.runtime.seeds import derive
from accord.settings import CritiqueConfig, PreferConfig
from accord.stages.queueing import unranked
from accord.stages.speaking import local_speaker

PRINCIPLES = (
    "It must not help anybody to hurt people, animals or what belongs to others; it says so plainly and offers what it can do instead.",
    "It must not state as a fact what it cannot know; where it does not know, it says that it does not know.",
    "It must not insult, belittle or lecture the person who asks.",
    "It must do what was asked, completely, and add nothing that was not asked for.",
    "It must correct what the question takes for granted where that is wrong, kindly.",
    "It must not give advice in matters of health, law or money that could do harm, without sending the person to someone who knows.",
)
CRITIQUE = "Read your last answer again. Where does it break this principle? {principle} Answer in one or two sentences."
REVISE = (
    "Now write the answer to my first message again, so that it keeps the principle. Write the new answer alone, nothing about the old one."
)
BATCH = 32
"""Prompts between two writes to the store: a stopped command has lost no more than that."""


def speaker_of(project: Project, model: str, address: str) -> Speaker:
    """A model of the project, or with an address the one of that name there.

    Raises:
        UsageError: the address is none. ModelError: the project has no such model.
    """
    if not address:
        return local_speaker(project, model)
    return RemoteSpeaker(address, model, keep=project.path / "advice" / "kept")


def principles_of(path: str) -> tuple[str, ...]:
    """The principles of a file, one a line, or the built-in ones.

    Raises:
        InputError: there is no such file, or nothing in it.
    """
    if not path:
        return PRINCIPLES
    file = Path(path)
    if not file.is_file():
        raise InputError("there is no such file", where=path, hint="a text file with a principle a line")
    lines = tuple(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#"))
    if not lines:
        raise InputError("the file has no principles", where=path, hint="write one a line")
    return lines


@dataclass(frozen=True)
class Revised:
    """A prompt's way from the first answer to the last revision."""

    prompt: Prompt
    first: str
    critiques: tuple[str, ...]
    last: str


def critique_stage(project: Project, config: CritiqueConfig, speaker: Speaker, *, name: str) -> dict[str, object]:
    """Answers training prompts, criticises, revises, and stores the revisions as demonstrations by the AI.

    Prompts that this labeler has written to before are left out, so that a stopped command goes on.

    Raises:
        InputError: no training prompt waits.
    """
    principles = principles_of(config.principles)
    writer = _labeler(speaker, "critique")
    with Store.open(project.store_url) as store:
        written = {row.prompt.id for row in store.demonstrations() if row.labeler == writer.id}
        waiting = [prompt for prompt in store.prompts(split="train", use_case=config.use_case or None) if prompt.id not in written]
        random.Random(derive(config.seed, "critique", "prompts")).shuffle(waiting)
        waiting = waiting[: config.prompts or None]
        if not waiting:
            what = f"no training prompt{f' of use case {config.use_case}' if config.use_case else ''} waits for {writer.id}"
            raise InputError(what, where=project.store_url, hint="`accord import` some")
        store.add_labelers([writer])
        changed = stored = 0
        with track(len(waiting), "critique") as bar:
            for start in range(0, len(waiting), BATCH):
                part = waiting[start : start + BATCH]
                found = revise(speaker, part, principles, config)
                kept = [row for row in found if row.last.strip()]
                stored += store.add_demonstrations(
                    Demonstration(f"{row.prompt.id}-{writer.id}", row.prompt, row.last.strip(), writer.id) for row in kept
                )
                changed += sum(row.last.strip() != row.first.strip() for row in kept)
                _note(project, name, found)
                bar.advance(len(part))
    return {"prompts": len(waiting), "demonstrations": stored, "changed": changed, "labeler": writer.id, "kind": "model"}


def revise(speaker: Speaker, prompts: Sequence[Prompt], principles: Sequence[str], config: CritiqueConfig) -> list[Revised]:
    """Each prompt's answer, criticised and revised by one principle after another; which ones, the seed and the prompt's id decide."""
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)

    def say(conversations: Sequence[Sequence[Message]], what: str, turn: int) -> list[str]:
        return [texts[0] for texts in speaker.answer(conversations, n=1, sampling=sampling, seed=derive(config.seed, what, turn))]

    chosen = [random.Random(derive(config.seed, prompt.id)).sample(principles, len(principles)) for prompt in prompts]
    firsts = say([prompt.messages for prompt in prompts], "answer", 0)
    lasts, critiques = list(firsts), [list[str]() for _ in prompts]
    for turn in range(config.revisions):
        asked = [
            (*prompt.messages, Message("assistant", last), Message("user", CRITIQUE.format(principle=own[turn % len(own)])))
            for prompt, last, own in zip(prompts, lasts, chosen, strict=True)
        ]
        said = say(asked, "critique", turn)
        lasts = say(
            [(*talk, Message("assistant", word), Message("user", REVISE)) for talk, word in zip(asked, said, strict=True)], "revise", turn
        )
        for own, word in zip(critiques, said, strict=True):
            own.append(word)
    return [Revised(*row) for row in zip(prompts, firsts, map(tuple, critiques), lasts, strict=True)]


def prefer_stage(project: Project, config: PreferConfig, speaker: Speaker, *, name: str) -> dict[str, object]:
    """Ranks the responses that nobody has ranked by the AI's verdicts, and stores the rankings under its name.

    Raises:
        InputError: no response waits.
    """
    principles = principles_of(config.principles)
    judge = _labeler(speaker, "prefer")
    with Store.open(project.store_url) as store:
        waiting = unranked(store)[: config.prompts or None]
        if not waiting:
            raise InputError("the store has no responses that wait to be ranked", where=project.store_url, hint="`accord sample` first")
        store.add_labelers([judge])
        rankings = ties = unreadable = asked = 0
        with track(len(waiting), "prefer") as bar:
            for start in range(0, len(waiting), BATCH):
                part = [(prompt, responses[: config.responses]) for prompt, responses in waiting[start : start + BATCH]]
                worths = compared(speaker, part, principles, config)
                made = [_ranking(judge, prompt, responses, worth) for (prompt, responses), worth in zip(part, worths, strict=True)]
                rankings += store.add_rankings(ranking for ranking in made if ranking is not None)
                ties += sum(ranking is not None and len(set(ranking.ranks)) == 1 for ranking in made)
                asked += sum(len(worth) for worth in worths)
                unreadable += sum(math.isnan(each) for worth in worths for each in worth.values())
                bar.advance(len(part))
    return {"rankings": rankings, "all_tied": ties, "pairs": asked, "unreadable": unreadable, "labeler": judge.id, "kind": "model"}


Pairs = dict[tuple[int, int], float]


def compared(
    speaker: Speaker, part: Sequence[tuple[Prompt, list[Response]]], principles: Sequence[str], config: PreferConfig
) -> list[Pairs]:
    """For each prompt what each pair of its responses is worth to the first: 1, 0, a half for a tie, NaN where no verdict was readable.

    Each prompt is judged by one principle, which the seed and its id decide.
    """
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    found: list[Pairs] = [{} for _ in part]
    by_principle: dict[str, list[int]] = {}
    for row, (prompt, _) in enumerate(part):
        by_principle.setdefault(random.Random(derive(config.seed, prompt.id)).choice(principles), []).append(row)
    for principle, rows in by_principle.items():
        pairs = [(row, i, j) for row in rows for i, j in combinations(range(len(part[row][1])), 2)]
        said = llm_judge.ask(
            speaker,
            [part[row][0] for row, _, _ in pairs],
            [part[row][1][i].text for row, i, _ in pairs],
            [part[row][1][j].text for row, _, j in pairs],
            question=f"Which answer keeps this principle better? {principle} If both keep it, which one helps more?",
            sampling=sampling,
            seed=config.seed,
        )
        for (row, i, j), opinion in zip(pairs, said, strict=True):
            found[row][i, j] = opinion.worth
    return found


def ranks_by(count: int, worth: Pairs) -> tuple[int, ...] | None:
    """Ranks by the share of its readable pairs that each response won, a tie a half; None when nothing was readable."""
    won: list[list[float]] = [[] for _ in range(count)]
    for (i, j), value in worth.items():
        if not math.isnan(value):
            won[i].append(value)
            won[j].append(1 - value)
    if not any(won):
        return None
    shares = [sum(each) / len(each) if each else 0.5 for each in won]
    return tuple(1 + sum(other > mine + 1e-9 for other in shares) for mine in shares)


def _ranking(judge: Labeler, prompt: Prompt, responses: Sequence[Response], worth: Pairs) -> Ranking | None:
    ranks = ranks_by(len(responses), worth)
    if ranks is None:
        return None
    ids = tuple(response.id for response in responses)
    key = lineage.digest_rows([judge.id, *ids])[:12]
    at = datetime.now(UTC).replace(microsecond=0).isoformat()
    return Ranking(f"{prompt.id}-{judge.id}-{key}", prompt.id, judge.id, ids, ranks, reference("training"), at)


def _labeler(speaker: Speaker, task: str) -> Labeler:
    """Whom the AI's word is signed with: its own name, never a person's."""
    if not speaker.name.strip():
        raise UsageError("the model that is to judge has no name", where=task, hint="--model NAME")
    return Labeler(f"ai-{speaker.name.replace('/', '-')}", "model", "ai")


def _note(project: Project, name: str, found: Sequence[Revised]) -> None:
    """What was said on the way, for people to read."""
    folder = project.path / "advice"
    folder.mkdir(exist_ok=True)
    for row in found:
        words = {"asked": row.prompt.messages[-1].content, "first": row.first, "critiques": row.critiques, "last": row.last}
        append(folder / f"{name}.jsonl", json.dumps({"prompt": row.prompt.id, **words}, ensure_ascii=False) + "\n")
