"""`accord sample`: sample K responses per prompt for people to rank.

Needs a model and prompts. Leaves the responses in the store, without repeats of a text. InstructGPT ranked 4 to 9 per prompt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath, RunName
from accord.commands.models import SampledBatch, answerable, compute_dtype, load_model, sampled_batches
from accord.commands.recordings import counted_recordings, recordings_of
from accord.commands.scenes import scenes_input, staged_prompts
from accord.commands.train.samplers import opened_sampler
from accord.errors import InputError
from accord.evaluation.run_facts import note_alarms
from accord.feedback.store import Store
from accord.records import Prompt, Response, Sampling
from accord.runtime import lineage, ranks
from accord.runtime.device import choose_device
from accord.runtime.progress import say
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import derive
from accord.settings import SampleConfig

SHOWN = 20
"""Prompts whose responses are written into the run's samples.jsonl."""


def sample(
    project: ProjectPath,
    *,
    model: Annotated[str, Parameter(help="The model that responds.")] = "sft",
    name: RunName = "sample",
    flags: ComputeFlags = Compute(),
    config: Annotated[SampleConfig, Flat] = SampleConfig(),
) -> Run:
    """Sample K responses per prompt for people to rank.

    Example: accord sample my-town --model sft --k 6

    Raises:
        ModelError: the model is missing.
        InputError: there are no prompts, or none leaves room for a response in the model's context.
    """
    opened = Project.open(project)
    ranks.start(choose_device(flags.device))
    with Store.open(opened.store_url) as store:
        prompts = chosen_prompts(config, list(store.prompts(split="train")), list(store.prompts(split="validation")))
        prompts = staged_prompts(opened, prompts)
        if not prompts:
            raise InputError("the store has no prompts", where=opened.store_name, hint="`accord import` some")
        inputs = {"model": model, "prompts": lineage.digest_rows(prompt.id for prompt in prompts)} | scenes_input(opened)
        run = Run.start(opened.run(name), stage="sample", config=config, inputs=inputs, resume=True, seed=config.seed)
        if run.done:
            return run
        with run.finishing() as metrics:
            loaded, dtype = load_model(opened, model), compute_dtype(flags.dtype)
            if not config.max_tokens:
                config = run.settle(config, max_tokens=Sampling(max_tokens=0).limit(loaded.format.context))
            sampling = Sampling(config.temperature, config.top_k, config.top_p, config.repetition_penalty, config.max_tokens)
            fitting = answerable(prompts, loaded.format)
            asked = [loaded.format.asked(prompt) for prompt in fitting]
            opened_by = opened_sampler(
                config, loaded.lm, loaded.lm, loaded.format, run, dtype, prompts=asked, training=False, metrics=metrics
            )
            with opened_by as sampler:
                skip, sums = run.restore() or (0, dict.fromkeys(("responses", "drawn", "finished", "tokens", "seconds"), 0.0))
                for batch in sampled_batches(
                    loaded, sampler, fitting, n=config.k, sampling=sampling, seed=config.seed, batch_size=config.batch_size, skip=skip
                ):
                    # what is stored stays stored: a command that is stopped and given again goes on behind the last batch
                    different = [distinct(group) for group in batch.groups]
                    if ranks.first():
                        store.add_responses(response for group in different for response in group)
                    run.samples(batch.number, _shown(fitting, batch))
                    found = _sums(batch, different)
                    sums = {name: value + found[name] for name, value in sums.items()}
                    run.log(batch.number, **found | {"finished": found["finished"] / found["drawn"]})
                    if run.due(True):
                        run.checkpoint(batch.number, sums)
            metrics |= {
                "responses": int(sums["responses"]),
                "drawn": int(sums["drawn"]),
                "finished": sums["finished"] / sums["drawn"],
                "cut": int(sums["drawn"] - sums["finished"]),
                "prompts": len(fitting),
                "prompts_left_out": len(prompts) - len(fitting),
                **counted_recordings(recordings_of(prompts)),
                "tokens_per_second": round(sums["tokens"] / max(sums["seconds"], 1e-9)),
            }
    if cut := run.summary["cut"]:
        drawn = run.summary["drawn"]
        say(f"sample: {cut:,} of {drawn:,} responses were cut at {config.max_tokens} tokens, before they ended (--max-tokens)")
    note_alarms(run)
    return run


def _shown(prompts: Sequence[Prompt], batch: SampledBatch) -> list[dict[str, Any]]:
    """The responses to the first prompts, for the run's samples.jsonl."""
    rows: list[dict[str, Any]] = []
    for i, group in zip(batch.rows, batch.groups, strict=True):
        if i < SHOWN:
            rows.append({"prompt": prompts[i].messages[-1].content, "responses": [response.text for response in group]})
    return rows


def _sums(batch: SampledBatch, different: Sequence[Sequence[Response]]) -> dict[str, float]:
    """What a batch adds to the run's figures."""
    drawn = [response for group in batch.groups for response in group]
    return {
        "responses": float(sum(map(len, different))),
        "drawn": float(len(drawn)),
        "finished": float(sum(response.finished for response in drawn)),
        "tokens": float(batch.tokens),
        "seconds": batch.seconds,
    }


def distinct(responses: Sequence[Response]) -> list[Response]:
    """Return the responses without repeats of a text: two that read alike cannot be ranked, only labeled with noise."""
    return list({response.text: response for response in reversed(responses)}.values())[::-1]


def chosen_prompts(config: SampleConfig, training: list[Prompt], validation: list[Prompt]) -> list[Prompt]:
    """Choose training prompts by the seed, and validation prompts to measure the reward model on."""
    rng = random.Random(derive(config.seed, "sample", "prompts"))
    rng.shuffle(training)
    rng.shuffle(validation)
    return training[: config.prompts or None] + validation[: config.held_out]
