"""`accord distill`: let the SFT model learn a larger model's distribution at every token, on its own responses and on written ones.

Needs an SFT model, a teacher with the same tokenizer, training prompts, and demonstrations unless every step is on-policy or on the
teacher's responses. Leaves models/NAME. Follows Agarwal et al. 2024 (GKD), except as algorithms/distill.py says.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Annotated

import torch
from cyclopts import Parameter

from accord.algorithms import distill as algorithm
from accord.commands.app import Flat, Name, ProjectPath, RunFlags, Sft, TrainFlags
from accord.commands.models import Model, digest_of, load_model, locate, training_dtype
from accord.commands.scenes import in_scenes
from accord.commands.train.demonstrations import written_demonstrations
from accord.commands.train.rewards import HELD_OUT
from accord.commands.train.run import (
    askable,
    counted_prompts,
    ending,
    plan_run,
    save,
    shards,
    snapshot,
    template_input,
    trainable,
    with_rates,
)
from accord.commands.train.samplers import opened_sampler
from accord.data.templates import ChatFormat
from accord.data.token_rows import RowWindow
from accord.data.tokenizers import load_tokenizer
from accord.engine.local import LocalSampler
from accord.errors import InputError, ModelError, UsageError
from accord.evaluation.run_facts import note_alarms
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.models.distributions import vocabulary_of
from accord.models.pictures import sees
from accord.protocols import Sampler
from accord.records import Demonstration, Prompt
from accord.runtime.progress import say
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import DistillConfig


def distill(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    teacher: Annotated[str, Parameter(help="The teacher, of the same tokenizer: a model's name, a folder or a hub name.")] = "teacher",
    name: Name = "distill",
    flags: TrainFlags = RunFlags(),
    config: Annotated[DistillConfig, Flat] = DistillConfig(),
) -> Run:
    """Let the SFT model learn a larger model's distribution at every token: forward or reverse KL, Jensen-Shannon, on-policy (GKD).

    Example: accord distill my-town --teacher big --on-policy 1 --beta 1

    Raises:
        ModelError: a model is missing, or the teacher has another tokenizer.
        InputError: there are no training prompts, or no demonstrations where they are learned on.
        UsageError: the models read pictures, or are too large for one process to hold.
    """
    opened = Project.open(project)
    flags.start()
    source, taught_by = locate(opened, sft), locate(opened, teacher)
    check_tokenizers(source, taught_by, sft, teacher)
    on_written = config.on_policy < 1 and config.otherwise == "demonstrations"
    with Store.open(opened.store_url) as store:
        prompts, digest = snapshot(opened.run(name) / "prompts.jsonl", Prompt, in_scenes(opened, store.prompts(split="train")))
        inputs = {"sft": digest_of(source), "teacher": digest_of(taught_by), "prompts": digest, **template_input(opened)}
        demonstrations = list[Demonstration]()
        if on_written and prompts:
            shown = (row for row in said_by(store, written_demonstrations(store), config.kinds) if row.prompt.split == "train")
            file = opened.run(name) / "demonstrations.jsonl"
            demonstrations, inputs["demonstrations"] = snapshot(file, Demonstration, in_scenes(opened, shown))
        asked = _held_out(opened, store, config, name) if prompts else []
    if not prompts:
        raise InputError("the store has no training prompts", where=opened.store_name, hint="`accord import` some")
    if on_written and not demonstrations:
        hint = "--on-policy 1, --otherwise teacher, or `accord import` some"
        raise InputError(f"the store has no demonstrations by {config.kinds}", where=opened.store_name, hint=hint)
    run = Run.start(opened.run(name), stage="distill", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype, prompts=prompts, teacher=taught_by)
        model, guide = load_model(opened, sft, bits=config.lora_bits), load_model(opened, teacher, bits=config.teacher_bits)
        _check_models(model, guide, config)
        config = with_rates(config, run, model.lm)
        chat_format = replace(model.format, context=_least(model.format.context, guide.format.context))
        policy = trainable(model.lm, config, "distill", "lora")
        _, ids, window = askable(chat_format, prompts, config.max_tokens, config.long_rows)
        metrics |= counted_prompts(run, window)
        rule = "drop" if config.long_rows == "refuse" else config.long_rows  # only what is learned from stops a run
        _, held_out, unseen = askable(chat_format, asked, config.max_tokens, rule)
        for line in unseen.remarks():
            run.note(f"held-out prompts: {line}")
        rows = RowWindow.of(0, config.long_rows, chat_format.context, config.stage)
        spoken = replace(chat_format, context=0)  # the window alone limits a row
        written = rows.fit(demonstrations, partial(_answered, spoken, window=rows), "demonstrations")
        for line in rows.remarks():
            run.note(line)
        with opened_sampler(config, policy, model.lm, chat_format, run, dtype, prompts=ids, metrics=metrics) as sampler:
            algorithm.train(
                config,
                policy=policy,
                teacher=guide.lm.eval().requires_grad_(False),
                sampler=sampler,
                teacher_sampler=_teacher_sampler(config, guide, chat_format, dtype),
                prompts=ids,
                written=written,
                decode=chat_format.written,
                run=run,
                dtype=dtype,
                held_out=held_out,
            )
        metrics |= {"demonstrations": len(written)} if on_written else {}
        metrics |= ending(run, "loss", "forward_kl", "reverse_kl", "agreement", *HELD_OUT)
        parents = {sft: inputs["sft"], teacher: inputs["teacher"]}
        data = {key: value for key, value in inputs.items() if key in ("prompts", "demonstrations")}
        save(opened, name, policy, chat_format.tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run


def check_tokenizers(student: str, teacher: str, sft: str, named: str) -> None:
    """Refuse a teacher that reads other token ids than the student: its distribution would be over other words.

    Raises:
        ModelError: their vocabularies differ.
    """
    ours, theirs = load_tokenizer(student).get_vocab(), load_tokenizer(teacher).get_vocab()
    if ours == theirs:
        return
    other = sorted(set(ours.items()) ^ set(theirs.items()), key=lambda entry: (entry[1], entry[0]))
    what = f"the tokenizer of {named} ({len(theirs)} entries) is not that of {sft} ({len(ours)}): they differ first at {other[0][0]!r}"
    hint = "take a teacher of the same family, or let it write demonstrations and run `accord sft` on them"
    raise ModelError(what, where=teacher, hint=hint)


def _check_models(model: Model, teacher: Model, config: DistillConfig) -> None:
    """Refuse models whose distributions cannot be compared here.

    Raises:
        UsageError: they read pictures, or the processes would shard them.
        ModelError: one has fewer logits than the tokenizer has entries.
    """
    for each in (model, teacher):
        if sees(each.lm):
            raise UsageError("a vision-language model is not distilled", where=each.name, hint="`accord sft` on the teacher's answers")
        if vocabulary_of(each.lm) < len(model.format.tokenizer):
            what = f"{vocabulary_of(each.lm)} logits for {len(model.format.tokenizer)} entries of the tokenizer"
            raise ModelError(what, where=each.name, hint="take the model with the tokenizer that it was trained with")
        if shards(each.lm, config):
            what = "two models' whole distributions are compared in each process, so neither can be sharded"
            raise UsageError(what, where=each.name, hint="--shard replicate, --lora-rank 16, or --teacher-bits 4")


def _least(one: int, other: int) -> int:
    """Return the smaller context of two; 0 stands for no limit."""
    return min(filter(None, (one, other)), default=0)


def _teacher_sampler(config: DistillConfig, teacher: Model, chat_format: ChatFormat, dtype: torch.dtype) -> Sampler | None:
    """Return what draws the teacher's responses, which end where the student's do; None where the settings ask for none."""
    if config.otherwise != "teacher" or config.on_policy == 1:
        return None
    return LocalSampler(teacher.lm, stop=chat_format.stop, dtype=dtype, divides=True)


def _answered(chat_format: ChatFormat, row: Demonstration, window: RowWindow) -> algorithm.Answered:
    """A demonstration as token ids."""
    joined = window.join(chat_format.asked(row.prompt), chat_format.answered(row.prompt, row.text), f"demonstration {row.id}")
    return algorithm.Answered(joined.tokens[: -joined.kept], joined.tokens[-joined.kept :])


def _held_out(project: Project, store: Store, config: DistillConfig, name: str) -> list[Prompt]:
    """Snapshot the validation prompts that a student is evaluated on while it learns; none where there are none, and this says so.

    Raises:
        InputError: there are none, and the settings choose a policy by them.
    """
    if not 0 < config.evaluate_every <= config.steps:
        return []
    wanted = list(in_scenes(project, store.prompts(split="validation")))
    random.Random("held out").shuffle(wanted)
    found, _ = snapshot(project.run(name) / "validation-prompts.jsonl", Prompt, wanted[: config.evaluate_prompts])
    if not found:
        what = "the store has no prompts of split validation"
        if config.patience or config.final_policy == "best":
            raise InputError(what, where=project.store_name, hint="--patience 0 --final-policy last")
        say(f"distill: {what}, so the student is not evaluated while it learns")
    return found
