"""The stage that learns what each token is worth: ilql."""

from __future__ import annotations

from functools import partial

from accord.algorithms import ilql
from accord.data.templates import ChatFormat
from accord.errors import InputError
from accord.feedback.labeler_kinds import said_by
from accord.feedback.returns import returns
from accord.feedback.store import Store
from accord.models.adapters import merge_lora
from accord.models.qvalues import QNetwork, save_q
from accord.records import Worth
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import IlqlConfig
from accord.stages.opening import compute_dtype, digest_of, finishing, frozen, learner, load_model, locate, save
from accord.stages.preferring import SAMPLE, outside, sampled_tokens


def ilql_stage(project: Project, config: IlqlConfig, *, sft_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Learns Q from the store's rated and ranked responses and saves models/NAME: the SFT model with the network that guides it."""
    source = locate(project, sft_model)
    folder = project.run(name)
    with Store.open(project.store_url) as store:
        said, digest = frozen(folder / "returns.jsonl", Worth, said_by(store, returns(store, config.returns), config.kinds))
    if not said:
        what = "the store has no ratings to learn from" if config.returns == "ratings" else "the store has no rated or ranked responses"
        raise InputError(f"{what} by {config.kinds}", where=project.store_url, hint=SAMPLE)
    inputs = {"sft": digest_of(source), "returns": digest}
    run = Run.start(folder, stage="ilql", config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        inside = [row for row in said if not outside(row.group, config.held_out_group)]
        training = [row for row in inside if row.prompt.split == "train"]
        if len({row.worth for row in training}) < 2:
            what = f"{len(training)} responses to train on, none worth more than another"
            raise InputError(what, where=project.store_url, hint="label more, or mind held_out_group")
        compute = compute_dtype(dtype)
        model = load_model(project, sft_model)
        network = QNetwork(model.lm, generator(config.seed, "ilql", "heads"))
        network.body = learner(network.body, config, "ilql", "lora")
        made = partial(_episode, model.format, config.max_tokens)
        figures |= ilql.train(
            config,
            network=network,
            episodes=[made(row) for row in training],
            validation=[made(row) for row in inside if row.prompt.split != "train"],
            outsiders=[made(row) for row in said if row.prompt.split != "train" and outside(row.group, config.held_out_group)],
            run=run,
            dtype=compute,
        )
        figures |= {"responses": len(training)}
        network.body = merge_lora(network.body)
        parents, data = {sft_model: inputs["sft"]}, {"returns": digest}
        beside = partial(save_q, network=network, beta=config.beta)
        save(
            project, name, model.lm, model.format.tokenizer, run, parents=parents, data=data, config=config, figures=figures, beside=beside
        )
    return run


def _episode(spoken: ChatFormat, max_tokens: int, row: Worth) -> ilql.Episode:
    prompt, response = spoken.prompt(row.prompt.messages), sampled_tokens(spoken, row.prompt, row.response)
    return ilql.episode(prompt, response, row.worth, max_tokens, f"response {row.response.id}")
