"""`accord sample`: sample K responses per prompt for people to rank.

Needs a model and prompts. Leaves the responses in the store, without repeats of a text. InstructGPT ranked 4 to 9 per prompt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath, RunName
from accord.commands.models import compute_dtype, load_model, respond
from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.feedback.store import Store
from accord.records import Prompt, Response, Sampling
from accord.runtime import lineage
from accord.runtime.device import choose_device
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
        InputError: there are no prompts, or one is longer than the model's context.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    with Store.open(opened.store_url) as store:
        prompts = chosen_prompts(config, list(store.prompts(split="train")), list(store.prompts(split="validation")))
        if not prompts:
            raise InputError("the store has no prompts", where=opened.store_url, hint="`accord import` some")
        inputs = {"model": model, "prompts": lineage.digest_rows(prompt.id for prompt in prompts)}
        run = Run.start(opened.run(name), stage="sample", config=config, inputs=inputs, resume=True, seed=config.seed)
        if run.done:
            return run
        with run.finishing() as metrics:
            loaded = load_model(opened, model)
            sampler = LocalSampler(loaded.lm, stop=loaded.format.stop, dtype=compute_dtype(flags.dtype))
            sampling = Sampling(config.temperature, config.top_k, config.top_p, config.repetition_penalty, config.max_tokens)
            responses, speed = respond(
                loaded, sampler, prompts, n=config.k, sampling=sampling, seed=config.seed, batch_size=config.batch_size
            )
            for prompt, group in zip(prompts[:SHOWN], responses, strict=False):
                texts = [response.text for response in group]
                run.samples(0, [{"prompt": prompt.messages[-1].content, "responses": texts}])
            different = [distinct(group) for group in responses]
            store.add_responses(response for group in different for response in group)
            metrics |= {
                "responses": sum(map(len, different)),
                "drawn": len(prompts) * config.k,
                "prompts": len(prompts),
                "tokens_per_second": round(speed),
            }
    return run


def distinct(responses: Sequence[Response]) -> list[Response]:
    """Return the responses without repeats of a text: two that read alike cannot be ranked, only labeled with noise."""
    return list({response.text: response for response in reversed(responses)}.values())[::-1]


def chosen_prompts(config: SampleConfig, training: list[Prompt], validation: list[Prompt]) -> list[Prompt]:
    """Choose training prompts by the seed, and validation prompts to measure the reward model on."""
    rng = random.Random(derive(config.seed, "sample", "prompts"))
    rng.shuffle(training)
    rng.shuffle(validation)
    return training[: config.prompts or None] + validation[: config.held_out]
