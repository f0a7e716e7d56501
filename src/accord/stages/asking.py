"""The stages around people: sample K responses a prompt, let the world's labelers rank them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from accord.engine.local import LocalSampler
from accord.errors import InputError, UsageError
from accord.feedback.guidelines import reference
from accord.feedback.store import Store
from accord.records import Generation, Prompt, Ranking, Response, Sampling
from accord.runtime import lineage
from accord.runtime.progress import track
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import derive, generator
from accord.settings import LabelConfig, SampleConfig, WorldConfig
from accord.stages.opening import Model, compute_dtype, finishing, load_model
from accord.world import HELD_OUT_GROUP, SimulatedLabeler, World, labelers


def world_of(project: Project) -> World:
    """The built-in world that the project was made with.

    Raises:
        UsageError: it was made without one.
    """
    settings = project.settings.get("world")
    if settings is None:
        hint = "`accord init PROJECT --world` makes one; people's rankings come in with `accord import`"
        raise UsageError("the project has no built-in world, so nobody simulated can label it", where=str(project.path), hint=hint)
    config = WorldConfig(**settings)
    return World.generate(config.seed, config)


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


def label_stage(project: Project, config: LabelConfig, *, name: str) -> Run:
    """Lets the world's labelers rank the responses that nobody has ranked yet, through the store as people would."""
    world = world_of(project)
    people = labelers(world)
    with Store.open(project.store_url) as store:
        asked = {prompt.id: prompt for prompt in store.prompts()}
        ranked = {response for ranking in store.rankings() for response in ranking.response_ids}
        groups = _by_prompt(response for response in store.responses() if response.id not in ranked)
        if not groups:
            raise InputError("the store has no responses that wait to be ranked", where=project.store_url, hint="`accord sample` first")
        inputs = {"responses": lineage.digest_rows(sorted(response.id for group in groups.values() for response in group))}
        run = Run.start(project.run(name), stage="label", config=config, inputs=inputs, resume=False, seed=config.seed)
        with finishing(run) as figures:
            store.add_labelers(person.record for person in people)
            rankings = list(_rankings(config, [(asked[key], group) for key, group in groups.items()], people))
            store.add_rankings(rankings)
            figures |= {"rankings": len(rankings), "prompts": len(groups), "labelers": len(people)}
    return run


def _by_prompt(responses: Iterable[Response]) -> dict[str, list[Response]]:
    groups: dict[str, list[Response]] = {}
    for response in responses:
        groups.setdefault(response.prompt_id, []).append(response)
    return {key: group for key, group in groups.items() if len(group) >= 2}


def _rankings(config: LabelConfig, tasks: Sequence[tuple[Prompt, list[Response]]], people: Sequence[SimulatedLabeler]) -> Iterator[Ranking]:
    """One labeler a prompt, a second for some; prompts of held-out users are also shown to the held-out group."""
    rng = random.Random(derive(config.seed, "label"))
    insiders = [person for person in people if person.record.group != HELD_OUT_GROUP]
    outsiders = [person for person in people if person.record.group == HELD_OUT_GROUP]
    guideline, clock = reference("training"), datetime.now(UTC).replace(microsecond=0)
    with track(len(tasks), "label") as bar:
        for number, (prompt, responses) in enumerate(tasks):
            chosen = rng.sample(insiders, 2 if rng.random() < config.overlap else 1)
            if prompt.split != "train":
                chosen.append(rng.choice(outsiders))
            for person in chosen:
                at = (clock + timedelta(seconds=number)).isoformat()
                key = f"{prompt.id}-{responses[0].id}-{person.record.id}"
                yield person.rank(prompt, responses, guideline=guideline, at=at, id=key)
            bar.advance()
