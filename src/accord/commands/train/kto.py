"""`accord kto`: learn from thumbs up and down on single responses.

Needs an SFT model and thumbs: given in the chat, or taken from ratings or ranks. Leaves models/NAME.
Follows Ethayarajh et al. 2024, except as algorithms/kto.py says.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from accord.algorithms import kto as algorithm
from accord.commands.app import FindLr, Flat, Name, ProjectPath, RunFlags, Sft, TrainFlags, shows
from accord.commands.models import digest_of, load_model, locate, training_dtype
from accord.commands.scenes import in_scenes
from accord.commands.train.range_test import few, print_run, range_test, run_folder
from accord.commands.train.run import (
    SAMPLE_FIRST,
    counted,
    parts,
    plan_run,
    save,
    snapshot,
    template_input,
    trainable,
    windowed,
    with_rates,
)
from accord.data.templates import ChatFormat
from accord.data.token_rows import RowWindow
from accord.errors import InputError
from accord.evaluation.run_facts import note_alarms
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.feedback.thumbs import thumbs
from accord.records import Thumb
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import KtoConfig


@shows(print_run)
def kto(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    name: Name = "kto",
    flags: TrainFlags = RunFlags(),
    find_lr: FindLr = False,
    config: Annotated[KtoConfig, Flat] = KtoConfig(),
) -> Run:
    """Learn from thumbs up and down on single responses, given, or taken from ratings or ranks.

    Example: accord kto my-town --thumbs ranks --beta 0.2

    Raises:
        ModelError: the SFT model is missing.
        InputError: there are no thumbs by these kinds of labelers, or all of them point one way.
    """
    opened = Project.open(project)
    flags.start()
    source, folder = locate(opened, sft), run_folder(opened, name, find_lr=find_lr, resume=flags.resume)
    with Store.open(opened.store_url) as store:
        said = said_by(store, thumbs(store, config.thumbs, good=config.good_quality, bad=config.bad_quality), config.kinds)
        given, digest = snapshot(folder / "thumbs.jsonl", Thumb, in_scenes(opened, said))
    if not given:
        what = "the store has no ratings to make thumbs of" if config.thumbs == "ratings" else "the store has nothing to make thumbs of"
        raise InputError(f"{what} by {config.kinds}", where=opened.store_name, hint=SAMPLE_FIRST)
    inputs = {"sft": digest_of(source), "thumbs": digest, **template_input(opened)}
    run = Run.start(folder, stage="kto", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        split = parts(given, config.held_out_group)
        ups = sum(row.up for row in split.training)
        downs = len(split.training) - ups
        if not (ups and downs):
            hint = "check good_quality, bad_quality and held_out_group, or use --thumbs ranks"
            raise InputError(f"{ups} thumbs up and {downs} down to train on; it takes both", where=opened.store_name, hint=hint)
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype)
        model = load_model(opened, sft, bits=config.lora_bits)
        config = with_rates(config, run, model.lm)
        spoken, window = windowed(model.format, config)
        build = partial(_tokens, spoken, window=window)
        rows = window.fit(split.training, build, "thumbs")
        ups = sum(row.up for row in rows)
        downs = len(rows) - ups
        if not (ups and downs):
            what = f"{ups} thumbs up and {downs} down fit the window of {window.tokens} tokens; it takes both"
            raise InputError(what, where=opened.store_name, hint="raise max_tokens, or set long_rows to cut_prompt")
        policy = trainable(model.lm, config, "kto", "lora")
        within = replace(config, max_tokens=window.tokens)
        if find_lr:
            seen = few(rows, config)
            learn = partial(algorithm.train, policy=policy, thumbs=seen, validation=())
            metrics |= range_test(within, learn, len(seen), run, model.lm, dtype)
            return run
        metrics |= algorithm.train(
            within,
            policy=policy,
            thumbs=rows,
            validation=window.fit(split.validation, build, "thumbs on held-out prompts", needed=False),
            held_out_group=window.fit(split.held_out_group, build, "thumbs of the held-out group", needed=False),
            run=run,
            dtype=dtype,
        )
        metrics |= {"thumbs_up": ups, "thumbs_down": downs, **counted(run, window)}
        parents, data = {sft: inputs["sft"]}, {"thumbs": digest}
        save(opened, name, policy, model.format.tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run


def _tokens(chat_format: ChatFormat, row: Thumb, window: RowWindow) -> algorithm.ThumbRow:
    """A thumb's prompt and response as token ids; the response is the very tokens that were sampled."""
    prompt, response = chat_format.asked(row.prompt), chat_format.tokens_of(row.prompt, row.response)
    return algorithm.thumb_row(prompt, response, row.up, window, f"response {row.response.id}")
