"""The stages around people: sample K responses a prompt, let the world's labelers rank them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.feedback.guidelines import reference
from accord.feedback.store import Store
from accord.records import Generation, Prompt, Ranking, Response, Sampling
from accord.runtime import lineage
from accord.runtime.progress import track
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import derive, generator
from accord.settings import LabelConfig, SampleConfig
from accord.stages.opening import Model, compute_dtype, finishing, load_model
from accord.stages.queueing import unranked, who_ranks_what, world_of
from accord.world import SimulatedLabeler, labelers


def sample_stage(project: Project, config: SampleConfig, *, model: str, name: str, dtype: str) -> Run:
    """Samples K responses to training and validation prompts into the store."""
    with Store.open(project.store_url) as store:
        prompts = chosen_prompts(config, list(store.prompts(split="train")), list(store.prompts(split="validation")))
        if not prompts:
            raise InputError("the store has no prompts", where=project.store_url, hint="`accord import` some")
        inputs = {"model": model, "prompts": lineage.digest_rows(prompt.id for prompt in prompts)}
        run = Run.start(project.run(name), stage="sample", config=config, inputs=inputs, resume=True, seed=config.seed)
        if run.done:
            return run
        with finishing(run) as figures:
            speaker = load_model(project, model)
            sampler = LocalSampler(speaker.lm, stop=speaker.format.stop, dtype=compute_dtype(dtype))
            sampling = Sampling(config.temperature, config.top_k, config.top_p, config.repetition_penalty, config.max_tokens)
            responses, speed = respond(
                speaker, sampler, prompts, n=config.k, sampling=sampling, seed=config.seed, batch_size=config.batch_size
            )
            run.samples(
                0,
                [
                    {"prompt": p.messages[-1].content, "responses": [r.text for r in rs]}
                    for p, rs in zip(prompts[:20], responses, strict=False)
                ],
            )
            different = [distinct(group) for group in responses]
            store.add_responses(response for group in different for response in group)
            figures |= {
                "responses": sum(map(len, different)),
                "drawn": len(prompts) * config.k,
                "prompts": len(prompts),
                "tokens_per_second": round(speed),
            }
    return run


def distinct(responses: Sequence[Response]) -> list[Response]:
    """The responses without repeats of a text: two that read alike cannot be ranked, only labeled with noise."""
    return list({response.text: response for response in reversed(responses)}.values())[::-1]


def chosen_prompts(config: SampleConfig, training: list[Prompt], validation: list[Prompt]) -> list[Prompt]:
    """A seeded choice of training prompts, and of validation prompts to measure the reward model on."""
    rng = random.Random(derive(config.seed, "sample", "prompts"))
    rng.shuffle(training)
    rng.shuffle(validation)
    return training[: config.prompts or None] + validation[: config.held_out]


def respond(
    speaker: Model, sampler: LocalSampler, prompts: Sequence[Prompt], *, n: int, sampling: Sampling, seed: int, batch_size: int
) -> tuple[list[list[Response]], float]:
    """n responses to each prompt, in the prompts' order, and the tokens sampled a second.

    Prompts of similar length are sampled together; each batch has random numbers of its own. Ids name everything that a draw
    depends on, so the same command gives the same records and another one never clashes with them.
    """
    ids = [speaker.format.prompt(prompt.messages) for prompt in prompts]
    drawn_so = [speaker.digest, dataclasses.asdict(sampling), seed, n, batch_size, str(sampler.dtype), [prompt.id for prompt in prompts]]
    key = lineage.digest_rows(drawn_so)[:12]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    responses: list[list[Response]] = [[] for _ in ids]
    tokens, seconds = 0, 0.0
    with track(len(ids) * n, f"sample {speaker.name}") as bar:
        for number, start in enumerate(range(0, len(order), batch_size)):
            rows = order[start : start + batch_size]
            drawn = sampler.sample(
                [ids[i] for i in rows], n=n, sampling=sampling, generator=generator(seed, "sample", speaker.name, number)
            )
            tokens, seconds = tokens + int(drawn.keep.sum()), seconds + sum(drawn.seconds.values())
            for i, group in zip(rows, _responses(speaker, drawn, [prompts[i] for i in rows], n, key), strict=True):
                responses[i] = group
            bar.advance(len(rows) * n, tokens_per_second=tokens / seconds)
    return responses, tokens / max(seconds, 1e-9)


def _responses(speaker: Model, drawn: Generation, prompts: Sequence[Prompt], n: int, key: str) -> Iterator[list[Response]]:
    rows = drawn.rows()
    finished: list[bool] = drawn.finished.tolist()
    for i, prompt in enumerate(prompts):
        group: list[Response] = []
        for k in range(n):
            ids, done = rows[i * n + k], finished[i * n + k]
            group.append(Response(f"{prompt.id}-{key}-{k}", prompt.id, speaker.format.text(ids), speaker.name, tuple(ids), done))
        yield group
