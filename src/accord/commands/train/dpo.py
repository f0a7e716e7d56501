"""`accord dpo`: learn from rankings without a reward model.

Needs an SFT model and rankings. Leaves models/NAME. One loss of several: DPO (Rafailov et al. 2023), robust DPO, IPO, ORPO, SimPO,
Plackett-Luce; see algorithms/dpo.py.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from accord.algorithms import dpo as algorithm
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
from accord.records import RankedPrompt
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import DpoConfig


@shows(print_run)
def dpo(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    name: Name = "dpo",
    flags: TrainFlags = RunFlags(),
    find_lr: FindLr = False,
    config: Annotated[DpoConfig, Flat] = DpoConfig(),
) -> Run:
    """Learn from rankings without a reward model: DPO, robust DPO, IPO, ORPO, SimPO, Plackett-Luce.

    Example: accord dpo my-town --loss plackett-luce --beta 0.05 --name dpo-pl

    Raises:
        ModelError: the SFT model is missing.
        InputError: there are no rankings by these kinds of labelers, or none with a pair to learn from.
    """
    opened = Project.open(project)
    flags.start()
    source, folder = locate(opened, sft), run_folder(opened, name, find_lr=find_lr, resume=flags.resume)
    with Store.open(opened.store_url) as store:
        ranked, digest = snapshot(
            folder / "rankings.jsonl", RankedPrompt, in_scenes(opened, said_by(store, store.ranked_prompts(), config.kinds))
        )
    if not ranked:
        raise InputError(f"the store has no rankings by {config.kinds}", where=opened.store_name, hint=SAMPLE_FIRST)
    inputs = {"sft": digest_of(source), "rankings": digest, **template_input(opened)}
    run = Run.start(folder, stage="dpo", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        usable = [row for row in ranked if len(set(row.ranks)) > 1 or config.ties == "model"]
        split = parts(usable, config.held_out_group)
        if not split.training:
            what = f"none of the {len(ranked)} rankings has a pair to learn from: they are ties, held out, or of prompts not for training"
            hint = SAMPLE_FIRST if usable else "rank responses that differ: `accord sample` with more --prompts, --k or --max-tokens"
            raise InputError(what, where=opened.store_name, hint=hint)
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype)
        model = load_model(opened, sft, bits=config.lora_bits)
        config = run.settle(with_rates(config, run, model.lm), beta=config.strength)
        spoken, window = windowed(model.format, config)
        build = partial(_tokens, spoken, window=window)
        rankings = window.fit(split.training, build, "rankings")
        policy = trainable(model.lm, config, "dpo", "lora")
        if find_lr:
            seen = few(rankings, config)
            learn = partial(algorithm.train, policy=policy, rankings=seen, validation=())
            metrics |= range_test(config, learn, len(seen), run, model.lm, dtype)
            return run
        metrics |= algorithm.train(
            config,
            policy=policy,
            rankings=rankings,
            validation=window.fit(split.validation, build, "rankings of held-out prompts", needed=False),
            held_out_group=window.fit(split.held_out_group, build, "rankings of the held-out group", needed=False),
            run=run,
            dtype=dtype,
        )
        metrics |= {"rankings": len(rankings), **counted(run, window)}
        parents, data = {sft: inputs["sft"]}, {"rankings": digest}
        save(opened, name, policy, model.format.tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run


def _tokens(chat_format: ChatFormat, row: RankedPrompt, window: RowWindow) -> algorithm.RankedResponses:
    """A ranking as token ids; responses are the very tokens that were sampled."""
    responses = [chat_format.tokens_of(row.prompt, response) for response in row.responses]
    return algorithm.ranked_responses(chat_format.asked(row.prompt), responses, row.ranks, window, f"prompt {row.prompt.id}")
