"""`accord sft`: fine-tune a model on demonstrations, loss on response tokens only.

Needs demonstrations and a base model; raw text for the pretraining mix. Leaves models/NAME with a chat template.
Follows Ouyang et al. 2022, section 3.5, except as algorithms/sft.py says.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from cyclopts import Parameter

from accord.algorithms import sft as algorithm
from accord.commands.app import FindLr, Flat, Name, ProjectPath, RunFlags, TrainFlags, shows
from accord.commands.models import digest_of, ends_of, load_model, locate, training_dtype
from accord.commands.scenes import in_scenes
from accord.commands.train.demonstrations import every_turn, example, written_demonstrations
from accord.commands.train.range_test import few, print_run, range_test, run_folder
from accord.commands.train.raw_text import need_raw_text, raw_text_batches
from accord.commands.train.run import (
    counted,
    plan_run,
    save,
    snapshot,
    template_input,
    trainable,
    windowed,
    with_rates,
)
from accord.data.task_mixture import mixed, parse_weights, without
from accord.data.template_variables import write_variables
from accord.data.templates import chat_format, control_ends, give_chat_template
from accord.errors import InputError
from accord.evaluation.run_facts import note_alarms
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.models.folders import set_ends
from accord.records import Demonstration
from accord.runtime.progress import say
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import SftConfig


@shows(print_run)
def sft(
    project: ProjectPath,
    *,
    base: Annotated[str, Parameter(help="Base model: a name, a folder or a hub name.")] = "base",
    name: Name = "sft",
    flags: TrainFlags = RunFlags(),
    find_lr: FindLr = False,
    config: Annotated[SftConfig, Flat] = SftConfig(),
) -> Run:
    """Fine-tune a model on demonstrations, loss on response tokens only.

    Example: accord sft my-project --base HuggingFaceTB/SmolLM2-135M --lora-rank 16

    Raises:
        ModelError: the base model is missing.
        InputError: there are no demonstrations by these kinds of labelers.
    """
    opened = Project.open(project)
    flags.start()
    if config.ptx_tokens:
        need_raw_text(opened, "--ptx-tokens 0")
    source, folder = locate(opened, base), run_folder(opened, name, find_lr=find_lr, resume=flags.resume)
    with Store.open(opened.store_url) as store:
        written = said_by(store, written_demonstrations(store), config.kinds)
        demonstrations, digest = snapshot(folder / "demonstrations.jsonl", Demonstration, in_scenes(opened, written))
    if not demonstrations:
        what = f"the store has no demonstrations by {config.kinds}"
        raise InputError(what, where=opened.store_name, hint="`accord import` some, or have labelers write them")
    inputs = {"base": digest_of(source), "demonstrations": digest, **template_input(opened)}
    run = Run.start(folder, stage="sft", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype)
        model = load_model(opened, base, bits=config.lora_bits)
        config = with_rates(config, run, model.lm)
        tokenizer = model.format.tokenizer
        if give_chat_template(tokenizer):
            write_variables(tokenizer, opened.template.variables, opened.template.date)
        ends = chat_format(tokenizer, model.format.context, control_ends(tokenizer, ends_of(model.lm))).stop
        chat = replace(model.format, stop=ends, raw=False)
        set_ends(model.lm, chat.stop)
        if config.turns == "all":
            demonstrations = every_turn(demonstrations)
        shown, strange = without(demonstrations, config.held_out_tasks)
        training = mixed([row for row in shown if row.prompt.split == "train"], parse_weights(config.tasks), config.seed)
        spoken, window = windowed(chat, config)
        build = partial(example, spoken, window=window)
        examples = window.fit(training, build, "demonstrations")
        held_out = [row for row in shown if row.prompt.split == "validation"]
        validation = window.fit(held_out, build, "demonstrations of validation users", needed=False)
        policy = trainable(model.lm, config, "sft", "lora")
        raw_text = raw_text_batches(opened, chat, config.seed, config.ptx_tokens) if config.ptx_tokens else None
        if find_lr:
            seen = few(examples, config)
            learn = partial(algorithm.train, model=policy, examples=seen, validation=(), pretraining=raw_text)
            metrics |= range_test(config, learn, len(seen), run, model.lm, dtype)
            return run
        metrics |= {"demonstrations": len(examples), "validation_demonstrations": len(validation)}
        if config.select == "validation_loss" and not validation:
            say("sft: no demonstration is of a validation user, so the weights after the last pass are kept")
        metrics |= algorithm.train(
            config, model=policy, examples=examples, validation=validation, pretraining=raw_text, run=run, dtype=dtype
        )
        if unseen := window.fit(strange, build, "demonstrations of held-out tasks", needed=False):
            metrics["held_out_task_loss"] = algorithm.response_loss(policy, unseen, dtype=dtype, batch_tokens=config.micro_tokens)
        metrics |= counted(run, window)
        parents, data = {base: inputs["base"]}, {"demonstrations": digest}
        save(opened, name, policy, tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run
