"""`accord taste`: learn a person's taste from a few choices, say it in words, and name the pair to ask next.

Needs a reward model of `accord reward --personal`, and choices of the person: rankings on the site, or choices of two answers in the chat
by whoever switched their taste on there. Trains nothing and stores nothing: the person's weights are a regression of a few numbers over
their choices (docs/taste.md).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath, Reward, shows, table_of
from accord.commands.models import compute_dtype, local_speaker
from accord.commands.tastes import PersonalScorer
from accord.data import traits
from accord.errors import InputError
from accord.feedback import choices, tastes
from accord.feedback.store import Store
from accord.models.tastes import Taste, information, margins, within_lines
from accord.records import Message, Prompt, RankedPrompt, Response, Sampling
from accord.runtime.device import choose_device
from accord.runtime.jsonable import jsonable
from accord.runtime.project import Project
from accord.runtime.seeds import derive
from accord.settings import TasteConfig


def _show(found: Mapping[str, Any]) -> None:
    table_of(f"taste of {found['user']}", {name: value for name, value in found.items() if not isinstance(value, list | dict)})
    print(f"In words: {', '.join(found['words']) or 'nothing that is sure enough to be said'}.")
    for pair in found["next"]:
        print(f"\nAsk next ({pair['information']:.3f} nats): prompt {pair['prompt']}\n  {pair['first']}: {pair['texts'][0]}")
        print(f"  {pair['second']}: {pair['texts'][1]}")
    if answer := found.get("answer"):
        print(f"\nFor this person: {answer['personal']}\nFor everybody:   {answer['shared']}")


@shows(_show)
def taste(
    project: ProjectPath,
    *,
    user: Annotated[str, Parameter(help="The person: a labeler's id, or a chat user's.")],
    reward: Reward = "reward",
    prompt: Annotated[str, Parameter(help="A prompt to answer for this person, by best of n.")] = "",
    model: Annotated[str, Parameter(help="The model that answers it.")] = "sft",
    flags: ComputeFlags = Compute(),
    config: Annotated[TasteConfig, Flat] = TasteConfig(),
) -> dict[str, Any]:
    """Learn a person's taste from a few choices, and name the pair to ask next.

    Example: accord taste my-project --user p-d281b218d594 --next 3

    Returns:
        The number of choices and contradictions, weights with their standard deviations, the taste in words, and the next pairs.

    Raises:
        ModelError: the reward model is missing, or knows no tastes.
        InputError: nobody of that name is in the database.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    dtype = compute_dtype(flags.dtype)
    with Store.open(opened.store_url) as store:
        if user not in {person.id for person in store.labelers()}:
            raise InputError(f"the database has no person {user!r}", where="--user", hint="`accord labelers list` shows the ids")
        chosen, chat = choices.of_person(store, user), tastes.of(store, user).on
        pool = list(_pool(store, {row.prompt.id for row in chosen}, config)) if config.next else []
    personal = PersonalScorer.open(opened, reward, dtype)
    learned = personal.fit(chosen)
    spread = np.sqrt(np.diag(learned.covariance))
    found: dict[str, Any] = {
        "user": user,
        "reward": reward,
        "choices": learned.choices,
        "choices_in_chat": "counted" if chat else "left out: this person has not switched their taste on",
        "contradictions": choices.contradictions(chosen),
        "consistent": learned.consistent,
        **_foretold(personal, learned, chosen),
        "words": traits.in_words(personal.tastes.leans(learned)),
        "leans": {name: list(lean) for name, lean in personal.tastes.leans(learned).items()},
        "weights": [list(each) for each in zip(learned.mean.tolist(), spread.tolist(), strict=True)],
        "next": next_pairs(personal, learned, pool, config.next),
    }
    if prompt:
        found["answer"] = _answered(opened, personal, learned, prompt, model, config, flags.dtype)
    return jsonable(found)


def next_pairs(personal: PersonalScorer, taste: Taste, pool: Sequence[RankedPrompt], count: int) -> list[dict[str, Any]]:
    """Return the pairs of responses whose choice tells most about a person, one per prompt."""
    best: list[tuple[float, RankedPrompt, tuple[int, int]]] = []
    for row, (readings, _) in zip(pool, personal.read_rankings(pool) if pool else [], strict=True):
        pairs = list(combinations(range(len(row.responses)), 2))
        told = information(np.array([readings[i] - readings[j] for i, j in pairs]), taste)
        top = int(np.argmax(told))
        best.append((float(told[top]), row, pairs[top]))
    best.sort(key=lambda each: (-each[0], each[1].prompt.id))
    named: list[dict[str, Any]] = []
    for nats, row, pair in best[:count]:
        first, second = (row.responses[i] for i in pair)
        texts = [first.text, second.text]
        named.append({"prompt": row.prompt.id, "first": first.id, "second": second.id, "texts": texts, "information": nats})
    return named


def _pool(store: Store, known: set[str], config: TasteConfig) -> list[RankedPrompt]:
    """Return prompts with responses that the person has not ranked, drawn by the seed."""
    prompts: dict[str, Prompt] = {prompt.id: prompt for prompt in store.prompts() if prompt.id not in known}
    responses: dict[str, list[Response]] = {}
    for response in store.responses():
        if response.prompt_id in prompts and all(response.text != other.text for other in responses.get(response.prompt_id, ())):
            responses.setdefault(response.prompt_id, []).append(response)
    usable = sorted(id for id, group in responses.items() if len(group) > 1)
    drawn = random.Random(derive(config.seed, "taste", "pool")).sample(usable, min(config.pool, len(usable)))
    return [RankedPrompt(prompts[id], tuple(responses[id]), (1,) * len(responses[id]), "") for id in drawn]


def _foretold(personal: PersonalScorer, taste: Taste, chosen: Sequence[RankedPrompt]) -> dict[str, float]:
    """Return the share of the person's own choices that the shared score and their weights order as they did."""
    by_shared, by_own, count = 0.0, 0.0, 0
    for row, (readings, _) in zip(chosen, personal.read_rankings(chosen) if chosen else [], strict=True):
        pairs, _ = margins(readings, row.ranks)
        by_shared += float((pairs[:, 0] > 0).sum())
        by_own += float((pairs[:, 0] + pairs @ taste.mean > 0).sum())
        count += len(pairs)
    return {"ordered_by_shared": by_shared / count, "ordered_by_own": by_own / count} if count else {}


def _answered(
    project: Project, personal: PersonalScorer, taste: Taste, prompt: str, model: str, config: TasteConfig, dtype: str
) -> dict[str, str]:
    """Draw n answers; return the one that the person would choose, and the shared score's choice."""
    conversation = (Message("user", prompt),)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    replies = local_speaker(project, model, dtype).answer([conversation], n=config.best_of, sampling=sampling, seed=config.seed)[0]
    readings, risks = personal.read([conversation] * len(replies), replies)
    own = within_lines(readings[:, 0], taste.scores(readings), risks)
    return {"personal": replies[int(np.argmax(own))], "shared": replies[int(np.argmax(readings[:, 0]))]}
