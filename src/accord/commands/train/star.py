"""`accord star`: learn from the model's own rationales that led to right answers.

Needs an SFT model and problems with known answers (`accord problems`), or with --majority prompts alone. Leaves models/NAME.
Follows Zelikman et al. 2022, section 3, except as algorithms/star.py says.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Annotated

from accord.algorithms import star as algorithm
from accord.algorithms.early_stopping import HeldOut
from accord.algorithms.rewards import ExactAnswer, Mixture, Term
from accord.commands.app import Flat, Name, ProjectPath, RunFlags, Sft, TrainFlags
from accord.commands.models import digest_of, load_model, locate, training_dtype
from accord.commands.scenes import in_scenes
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
    with_rates,
)
from accord.commands.train.samplers import opened_sampler
from accord.data.templates import ChatFormat
from accord.errors import InputError
from accord.evaluation.run_facts import note_alarms
from accord.feedback.answer_keys import NO_PROBLEMS, with_answer_keys
from accord.feedback.store import Store
from accord.records import Demonstration, Message, Prompt, final_answer
from accord.runtime.progress import say
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import StarConfig

HINT = " (The answer is {answer}.)"


def star(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    name: Name = "star",
    flags: TrainFlags = RunFlags(),
    config: Annotated[StarConfig, Flat] = StarConfig(),
) -> Run:
    """Teach the SFT model by those of its own rationales that led to right answers.

    Example: accord star my-town --rounds 6 --attempts 8

    Raises:
        ModelError: the SFT model is missing.
        InputError: there are no problems with an answer.
    """
    opened = Project.open(project)
    flags.start()
    if config.majority:
        return _by_majority(opened, sft, name, flags, config)
    source = locate(opened, sft)
    with Store.open(opened.store_url) as store:
        known = with_answer_keys(store, "train", config.kinds)
    solved, digest = snapshot(opened.run(name) / "answers.jsonl", Demonstration, in_scenes(opened, known))
    held_out = _held_out(opened, config, name) if solved else []
    if not solved:
        raise InputError(f"the store has no problems with an answer by {config.kinds}", where=opened.store_name, hint=NO_PROBLEMS)
    inputs = {"sft": digest_of(source), "answers": digest, **template_input(opened)}
    run = Run.start(opened.run(name), stage="star", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype, prompts=[row.prompt for row in solved])
        model = load_model(opened, sft, bits=config.lora_bits)
        config = with_rates(config, run, model.lm)
        chat_format = model.format
        policy = trainable(model.lm, config, "star", "lora")
        known = {row.prompt.id: answer for row in solved if (answer := final_answer(row.text)) is not None}
        hinted = [replace(row.prompt, messages=with_hint(row.prompt, known[row.prompt.id])) for row in solved]
        # A problem is asked with its hint too, which is longer, so it is the hinted one that must leave room.
        asked, hints, window = askable(chat_format, hinted, config.max_tokens, config.long_rows)
        metrics |= counted_prompts(run, window)
        evaluated = _evaluated(chat_format, held_out, config)
        by_id = {row.prompt.id: row.prompt for row in solved}
        questions, answers = list[algorithm.Question](), dict[tuple[int, ...], Decimal]()
        for prompt, hint in zip(asked, hints, strict=True):
            (_, (plain,), _) = askable(chat_format, [by_id[prompt.id]], config.max_tokens, config.long_rows)
            questions.append(algorithm.Question(plain, hint))
            answers[tuple(plain)] = known[prompt.id]
        asked_ids = [ids for question in questions for ids in (question.plain, question.hinted)]
        with opened_sampler(config, policy, model.lm, chat_format, run, dtype, prompts=asked_ids, metrics=metrics) as sampler:
            algorithm.train(
                config,
                policy=policy,
                sampler=sampler,
                scorer=ExactAnswer(answers, chat_format.text),
                questions=questions,
                decode=chat_format.written,
                run=run,
                dtype=dtype,
                held_out=evaluated,
            )
        metrics |= {"problems": len(questions)} | ending(run, *HELD_OUT)
        parents, data = {sft: inputs["sft"]}, {"answers": digest}
        save(opened, name, policy, chat_format.tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run


def _by_majority(project: Project, sft: str, name: str, flags: RunFlags, config: StarConfig) -> Run:
    """Teach the SFT model by those of its rationales that most of its others agree with.

    Raises:
        ModelError: the SFT model is missing.
        InputError: there are no training prompts.
    """
    source = locate(project, sft)
    with Store.open(project.store_url) as store:
        wanted = store.prompts(split="train", use_case=config.use_case or None)
        prompts, digest = snapshot(project.run(name) / "prompts.jsonl", Prompt, in_scenes(project, wanted))
        keys = with_answer_keys(store, "train", config.kinds)
        known = {row.prompt.id: answer for row in keys if (answer := final_answer(row.text)) is not None}
    if not prompts:
        what = f"the store has no training prompts{f' of use case {config.use_case}' if config.use_case else ''}"
        raise InputError(what, where=project.store_name, hint=NO_PROBLEMS)
    held_out = _held_out(project, config, name)
    inputs = {"sft": digest_of(source), "prompts": digest, **template_input(project)}
    run = Run.start(project.run(name), stage="star", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype, prompts=prompts)
        model = load_model(project, sft, bits=config.lora_bits)
        config = with_rates(config, run, model.lm)
        policy = trainable(model.lm, config, "star", "lora")
        asked, ids, window = askable(model.format, prompts, config.max_tokens, config.long_rows)
        metrics |= counted_prompts(run, window)
        evaluated = _evaluated(model.format, held_out, config)
        right = {tuple(tokens): known[prompt.id] for prompt, tokens in zip(asked, ids, strict=True) if prompt.id in known}
        with opened_sampler(config, policy, model.lm, model.format, run, dtype, prompts=ids, metrics=metrics) as sampler:
            algorithm.train(
                config,
                policy=policy,
                sampler=sampler,
                scorer=algorithm.MajorityAnswer(config.attempts, config.agreement, model.format.text, right),
                questions=[algorithm.Question(tokens, tokens) for tokens in ids],
                decode=model.format.written,
                run=run,
                dtype=dtype,
                held_out=evaluated,
            )
        metrics |= {"problems": len(ids)} | ending(run, "majorities", *HELD_OUT)
        parents, data = {sft: inputs["sft"]}, {"prompts": digest}
        save(project, name, policy, model.format.tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run


def _held_out(project: Project, config: StarConfig, name: str) -> list[Demonstration]:
    """Snapshot the validation problems that a policy is evaluated on while it learns; none where there are none, and this says so.

    Raises:
        InputError: there are none, and the settings choose a policy by them.
    """
    if not 0 < config.evaluate_every <= config.rounds:
        return []
    with Store.open(project.store_url) as store:
        known = list(with_answer_keys(store, "validation", config.kinds))
        random.Random("held out").shuffle(known)
        found, _ = snapshot(
            project.run(name) / "validation-answers.jsonl", Demonstration, in_scenes(project, known[: config.evaluate_prompts])
        )
    if not found:
        what = "the store has no problems with an answer of split validation"
        if config.patience or config.final_policy == "best":
            raise InputError(what, where=project.store_name, hint="--patience 0 --final-policy last")
        say(f"star: {what}, so the policy is not evaluated while it learns")
    return found


def _evaluated(chat_format: ChatFormat, held_out: Sequence[Demonstration], config: StarConfig) -> HeldOut | None:
    """Build what a policy is evaluated on while it learns: 1 for a right answer, otherwise 0. None without held-out problems."""
    rule = "drop" if config.long_rows == "refuse" else config.long_rows  # only what is learned from stops a run
    prompts, asked, _ = askable(chat_format, [row.prompt for row in held_out], config.max_tokens, rule)
    if not asked:
        return None
    known = {row.prompt.id: answer for row in held_out if (answer := final_answer(row.text)) is not None}
    right = ExactAnswer({tuple(ids): known[prompt.id] for prompt, ids in zip(prompts, asked, strict=True)}, chat_format.text)
    return HeldOut(asked, Mixture((Term("right"),), {"right": right}))


def with_hint(prompt: Prompt, answer: Decimal) -> tuple[Message, ...]:
    """Return the conversation with the answer behind the last question."""
    *before, last = prompt.messages
    return (*before, replace(last, content=last.content + HINT.format(answer=answer)))
