"""`accord ilql`: learn offline what each token is worth, and guide the SFT model by it.

Needs an SFT model and rated or ranked responses. Leaves models/NAME: the SFT model with the Q network that guides its sampling.
Follows Snell et al. 2023 (ILQL), section 4, except as algorithms/ilql.py says.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from accord.algorithms import ilql as algorithm
from accord.commands.app import Flat, Name, ProjectPath, RunFlags, Sft, TrainFlags
from accord.commands.models import digest_of, load_model, locate, training_dtype
from accord.commands.scenes import in_scenes
from accord.commands.train.run import (
    SAMPLE_FIRST,
    adapted,
    as_held,
    counted,
    parts,
    save,
    snapshot,
    template_input,
    windowed,
    with_rates,
)
from accord.data.templates import ChatFormat
from accord.data.token_rows import RowWindow
from accord.errors import InputError, UsageError
from accord.evaluation.run_facts import note_alarms
from accord.feedback.labeler_kinds import said_by
from accord.feedback.returns import returns
from accord.feedback.store import Store
from accord.models.adapters import merge_lora
from accord.models.pictures import sees
from accord.models.qvalues import QNetwork, save_q
from accord.models.sharding import gathered
from accord.records import Worth
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import IlqlConfig


def ilql(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    name: Name = "ilql",
    flags: TrainFlags = RunFlags(),
    config: Annotated[IlqlConfig, Flat] = IlqlConfig(),
) -> Run:
    """Learn offline what each token is worth, from rated or ranked responses, and guide the SFT model by it.

    Example: accord ilql my-town --beta 8 --expectile 0.8

    Raises:
        ModelError: the SFT model is missing.
        InputError: there are no rated or ranked responses by these kinds of labelers, or all are worth the same.
    """
    opened = Project.open(project)
    flags.start()
    source, folder = locate(opened, sft), opened.run(name)
    with Store.open(opened.store_url) as store:
        rated, digest = snapshot(
            folder / "returns.jsonl", Worth, in_scenes(opened, said_by(store, returns(store, config.returns), config.kinds))
        )
    if not rated:
        what = "the store has no ratings to learn from" if config.returns == "ratings" else "the store has no rated or ranked responses"
        raise InputError(f"{what} by {config.kinds}", where=opened.store_name, hint=SAMPLE_FIRST)
    inputs = {"sft": digest_of(source), "returns": digest, **template_input(opened)}
    run = Run.start(folder, stage="ilql", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        split = parts(rated, config.held_out_group)
        if len({row.worth for row in split.training}) < 2:
            what = f"{len(split.training)} responses to train on, none worth more than another"
            raise InputError(what, where=opened.store_name, hint="label more, or check held_out_group")
        dtype = training_dtype(flags.dtype)
        model = load_model(opened, sft)
        if sees(model.lm):
            what = "Q-learning guides models of text alone, and this one reads pictures"
            raise UsageError(what, where=sft, hint="learn from the same feedback by `accord dpo` or `accord kto`")
        config = with_rates(config, run, model.lm)
        spoken, window = windowed(model.format, config)
        build = partial(_episode, spoken, window=window)
        learned = partial(_dialogue, spoken, window=window) if config.turns == "all" else build
        episodes = window.fit(split.training, learned, "responses")
        network = QNetwork(model.lm, generator(config.seed, "ilql", "heads"))
        network.body = adapted(network.body, config, "ilql", "lora")
        network = as_held(network, config)
        metrics |= algorithm.train(
            config,
            network=network,
            episodes=episodes,
            validation=window.fit(split.validation, build, "responses to held-out prompts", needed=False),
            held_out_group=window.fit(split.held_out_group, build, "responses that the held-out group rated", needed=False),
            run=run,
            dtype=dtype,
        )
        metrics |= {"responses": len(episodes), **counted(run, window)}
        network = gathered(network, everywhere=False)
        network.body = merge_lora(network.body)
        parents, data = {sft: inputs["sft"]}, {"returns": digest}
        beside = partial(save_q, network=network, beta=config.beta)
        tokenizer = model.format.tokenizer
        save(opened, name, model.lm, tokenizer, run, parents=parents, data=data, config=config, metrics=metrics, beside=beside)
    note_alarms(run)
    return run


def _episode(chat_format: ChatFormat, row: Worth, window: RowWindow) -> algorithm.Episode:
    """A response's worth as an episode of token ids."""
    prompt, response = chat_format.asked(row.prompt), chat_format.tokens_of(row.prompt, row.response)
    return algorithm.episode(prompt, response, row.worth, window, f"response {row.response.id}")


def _dialogue(chat_format: ChatFormat, row: Worth, window: RowWindow) -> algorithm.Episode:
    """A response's worth as an episode of the whole dialogue: the assistant's tokens of every turn are its own.

    Raises:
        InputError: the template writes what was said otherwise once the conversation goes on.
    """
    turns, name = row.prompt.messages, f"response {row.response.id}"
    opening, whole, own = list[int](), list[int](), list[bool]()
    for place in range(1, len(turns) + 1):
        if place < len(turns) and turns[place].role != "assistant":
            continue
        asked = replace(row.prompt, messages=turns[:place])
        ids = chat_format.asked(asked)
        said = chat_format.answered(asked, turns[place].content) if place < len(turns) else chat_format.tokens_of(row.prompt, row.response)
        if own and ids[: len(whole)] != whole:
            what = "the model's chat template writes earlier turns otherwise once a conversation goes on"
            raise InputError(what, where=name, hint="learn the last turn alone: --turns last")
        own += [*([False] * (len(ids) - len(whole)) if own else []), *[True] * len(said)]
        opening, whole = opening or ids, [*ids, *said]
    return algorithm.episode(opening, whole[len(opening) :], row.worth, window, name, own)
