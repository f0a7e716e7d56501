"""`accord generative-reward`: train a reward model that writes its reason, then which of two responses people prefer.

Needs an SFT model and rankings. Leaves models/NAME, a language model that judges by `judge(vs others)`, and models/NAME-words, its start.
Follows Mahan et al. 2024 (GenRM), except as algorithms/generative_reward.py says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import combinations
from math import isnan
from typing import Annotated, Any

import torch

from accord.algorithms import grpo
from accord.algorithms import sft as imitation
from accord.algorithms.early_stopping import HeldOut
from accord.algorithms.generative_reward import PEOPLE, Agrees
from accord.algorithms.rewards import Mixture, Term
from accord.commands.app import Flat, Name, ProjectPath, RunFlags, Sft, TrainFlags
from accord.commands.models import LocalSpeaker, Model, digest_of, load_model, locate, training_dtype
from accord.commands.scenes import in_scenes
from accord.commands.train.demonstrations import example
from accord.commands.train.rewards import HELD_OUT
from accord.commands.train.run import (
    askable,
    counted_prompts,
    ending,
    plan_run,
    save,
    snapshot,
    template_input,
    trainable,
    windowed,
    with_rates,
    with_reference,
)
from accord.commands.train.samplers import opened_sampler
from accord.errors import InputError
from accord.evaluation.llm_judge import Opinion, reasoned, verdict, written
from accord.evaluation.run_facts import note_alarms
from accord.evaluation.statistics import group_means, interval
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.records import Demonstration, Message, Prompt, RankedPrompt, Rating, Response, Sampling
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import GenerativeRewardConfig, SftConfig
from accord.settings.mixins import Training

WORDS = "-words"
"""Behind the name: the model that has learned the form of a verdict, and nothing else yet."""


def generative_reward(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    name: Name = "generative-reward",
    flags: TrainFlags = RunFlags(),
    config: Annotated[GenerativeRewardConfig, Flat] = GenerativeRewardConfig(),
) -> Run:
    """Train a reward model that writes its reason, then which of two responses people prefer.

    Example: accord generative-reward my-town --steps 40

    Raises:
        ModelError: the SFT model is missing.
        InputError: there are no rankings by these kinds of labelers, or every one is a tie.
    """
    opened = Project.open(project)
    flags.start()
    with Store.open(opened.store_url) as store:
        rows = in_scenes(opened, said_by(store, _pairs(store, config.seed), config.kinds))
        pairs, digest = snapshot(opened.run(name) / "demonstrations.jsonl", Demonstration, rows)
    training = [row for row in pairs if row.prompt.split == "train"]
    if not training:
        hint = "`accord sample`, then `accord label`"
        raise InputError(f"the store has no untied rankings of training prompts by {config.kinds}", where=opened.store_name, hint=hint)
    parent, start = sft, sft
    if config.words_epochs:
        start = f"{name}{WORDS}"
        _learn_words(opened, sft, start, pairs, digest, flags, config)
    source = locate(opened, start)
    inputs = {"sft": digest_of(locate(opened, parent)), "start": digest_of(source), "demonstrations": digest, **template_input(opened)}
    run = Run.start(opened.run(name), stage=config.stage, config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype, prompts=[row.prompt for row in training])
        model = load_model(opened, start, bits=config.lora_bits)
        config = with_rates(config, run, model.lm)
        chat = model.format
        held_out = _fitting(model, [row for row in pairs if row.prompt.split == "validation"], config)
        if begun := _accuracy(model, held_out, config, dtype):
            metrics["accuracy_words"] = begun["accuracy_labelers"]
        policy, reference = with_reference(model.lm, config, lambda: load_model(opened, start).lm, config.stage, "lora")
        _, ids, window = askable(chat, [row.prompt for row in training], config.max_tokens, config.long_rows)
        metrics |= counted_prompts(run, window)
        rewards = Mixture((Term("verdict"),), {"verdict": Agrees(chat.text, verdict)})
        with opened_sampler(config, policy, reference, chat, run, dtype, prompts=ids, metrics=metrics) as sampler:
            grpo.train(
                config,
                policy=policy,
                reference=reference,
                rewards=rewards,
                held_out=_held_out(model, held_out, config, rewards),
                sampler=sampler,
                prompts=ids,
                decode=chat.written,
                run=run,
                dtype=dtype,
            )
        metrics |= {"pairs": len(ids)} | ending(run, "reward", "kl_k1", "finished", *HELD_OUT)
        metrics |= _accuracy(replace(model, lm=policy), held_out, config, dtype)
        parents = {start: inputs["start"]}
        data = {"demonstrations": digest}
        save(opened, name, policy, chat.tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run


def _learn_words(
    project: Project, parent: str, name: str, pairs: Sequence[Demonstration], digest: str, flags: RunFlags, config: GenerativeRewardConfig
) -> None:
    """Step 1: fine-tune the SFT model on written verdicts, by the settings of `[sft]`; leave models/NAME."""
    own: dict[str, Any] = dict(project.settings.get("sft", {}))
    own |= {each.name: getattr(config, each.name) for each in fields(Training) if each.name in SftConfig.__dataclass_fields__}
    own |= {"seed": config.seed, "epochs": config.words_epochs, "ptx_tokens": 0, "max_tokens": 0}
    taught = SftConfig(**own)
    source = locate(project, parent)
    inputs = {"base": digest_of(source), "demonstrations": digest, **template_input(project)}
    run = Run.start(project.run(name), stage="sft", config=taught, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, taught, dtype)
        model = load_model(project, parent, bits=config.lora_bits)
        taught = with_rates(taught, run, model.lm)
        spoken, window = windowed(model.format, taught)
        build = partial(example, spoken, window=window)
        examples = window.fit([row for row in pairs if row.prompt.split == "train"], build, "written verdicts")
        held_out = window.fit([row for row in pairs if row.prompt.split == "validation"], build, "held-out verdicts", needed=False)
        learner = trainable(model.lm, taught, "sft", "lora")
        metrics |= imitation.train(taught, model=learner, examples=examples, validation=held_out, run=run, dtype=dtype)
        metrics |= {"demonstrations": len(examples), "validation_demonstrations": len(held_out)}
        parents, data = {parent: inputs["base"]}, {"demonstrations": digest}
        save(project, name, learner, model.format.tokenizer, run, parents=parents, data=data, config=taught, metrics=metrics)


def _pairs(store: Store, seed: int) -> Iterator[Demonstration]:
    """Yield each pair that a labeler has put in order, as the question to a judge and the verdict that it is to write."""
    chance = torch.Generator().manual_seed(int(torch.randint(1 << 62, (), generator=generator(seed, "generative-reward", "order"))))
    for ranking, ranked in zip(store.rankings("training"), store.ranked_prompts(), strict=True):
        rated = {rating.response_id: rating for rating in ranking.ratings}
        for i, j in combinations(range(len(ranked.ranks)), 2):
            if ranked.ranks[i] != ranked.ranks[j]:
                first, second = (i, j) if torch.rand((), generator=chance) < 0.5 else (j, i)
                yield _pair(f"{ranking.id}-{i}-{j}", ranked, first, second, rated)


def _pair(id: str, ranked: RankedPrompt, first: int, second: int, rated: dict[str, Rating]) -> Demonstration:
    a, b = ranked.responses[first], ranked.responses[second]
    won = ranked.ranks[first] < ranked.ranks[second]
    (swapped,) = reasoned(ranked.prompt, b.text, a.text)
    extra = {PEOPLE: float(won), "of": ranked.prompt.id, "swapped": swapped.content}
    asked = replace(ranked.prompt, id=id, messages=reasoned(ranked.prompt, a.text, b.text), extra=extra)
    return Demonstration(id, asked, written(_reason(a, b, rated), "A" if won else "B"), ranked.labeler)


def _reason(a: Response, b: Response, rated: dict[str, Rating]) -> str:
    """Return the labeler's own notes on two responses as a reason; empty where there are none."""
    notes = list[str]()
    for letter, response in (("A", a), ("B", b)):
        if (rating := rated.get(response.id)) is not None:
            notes.append(f"{letter}: {', '.join([f'{rating.quality} of 7', *(flag.replace('_', ' ') for flag in rating.flags)])}.")
    return " ".join(notes)


def _fitting(model: Model, pairs: Sequence[Demonstration], config: GenerativeRewardConfig) -> list[Demonstration]:
    """Return the held-out pairs that leave room for a verdict in the model's context, in either order."""
    swapped = [replace(row.prompt, messages=(Message("user", str(row.prompt.extra["swapped"])),)) for row in pairs]
    fits = {prompt.id for prompt in askable(model.format, [row.prompt for row in pairs], config.max_tokens, "drop")[0]}
    fits &= {prompt.id for prompt in askable(model.format, swapped, config.max_tokens, "drop")[0]}
    return [row for row in pairs if row.prompt.id in fits]


def _held_out(model: Model, pairs: Sequence[Demonstration], config: GenerativeRewardConfig, rewards: Mixture) -> HeldOut | None:
    """Build what the model is evaluated on while it learns: verdicts on held-out prompts' pairs. None without any."""
    if not pairs or not 0 < config.evaluate_every <= config.steps:
        return None
    order: list[int] = torch.randperm(len(pairs), generator=generator(0, "generative-reward", "held out")).tolist()
    some = [pairs[place].prompt for place in order[: config.evaluate_prompts or None]]
    _, ids, _ = askable(model.format, some, config.max_tokens, "drop")
    return HeldOut(ids, rewards)


def _accuracy(model: Model, pairs: Sequence[Demonstration], config: GenerativeRewardConfig, dtype: torch.dtype) -> dict[str, Any]:
    """Return how often the model's greedy verdicts, asked in both orders, are people's; a mean over held-out prompts, ties one half."""
    order: list[int] = torch.randperm(len(pairs), generator=generator(0, "generative-reward", "accuracy")).tolist()
    some = [pairs[place] for place in order[: config.held_out_pairs]]
    if not some:
        return {}
    asked, prompts = list[tuple[Message, ...]](), list[Prompt]()
    for row in some:
        asked += [row.prompt.messages, (Message("user", str(row.prompt.extra["swapped"])),)]
        prompts.append(row.prompt)
    greedy = Sampling(temperature=0.0, max_tokens=config.max_tokens)
    said = [texts[0] for texts in LocalSpeaker(model, dtype).answer(asked, n=1, sampling=greedy, seed=0)]
    opinions = [Opinion(verdict(there), 1 - verdict(back)) for there, back in zip(said[::2], said[1::2], strict=True)]
    right = list[float]()
    for prompt, opinion in zip(prompts, opinions, strict=True):
        worth = 0.5 if isnan(opinion.worth) else opinion.worth
        right.append(1 - abs(worth - float(str(prompt.extra[PEOPLE]))))
    found = interval(group_means([str(prompt.extra["of"]) for prompt in prompts], right))
    unread = sum(isnan(opinion.worth) for opinion in opinions) / len(opinions)
    same = sum(each.first_shown_first == each.second_shown_first for each in opinions) / len(opinions)
    return {"validation_pairs": len(some), "accuracy_labelers": list(found), "unreadable": unread, "consistent": same}
