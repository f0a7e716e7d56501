"""Demonstrations with facts that the model cannot know teach it to make things up: SFT with them, and with ignorance admitted instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean

from frame import Row, above, row, run

from accord import Demonstration, LocalSampler, Model, Project, Prompt, RunFlags, Sampling, SftConfig, Store, load_model, sft
from accord.commands.models import compute_dtype, respond
from accord.commands.world import world_of
from accord.world import GoldJudge, World
from accord.world.demonstrations import ignorance

DRAWS = 8
"""Responses to each held-out prompt."""


def admitted(world: World, row: Demonstration) -> Demonstration:
    """The demonstration, or "I do not know" where it answers about a fact that the raw text never told."""
    spec = world.specs[row.prompt.id]
    unknown = spec.kind == "fact" and spec.fact_class == "absent" and spec.fact is not None
    return dataclasses.replace(row, text=ignorance(spec.fact)) if unknown and spec.fact else row


def humble(project: Project) -> Project:
    """A project of the demo's base model and raw text, whose demonstrations admit ignorance; inside the demo's folder."""
    path = project.path / "claims-humble"
    if path.exists():
        return Project.open(path)
    made = Project.create(path, settings={key: value for key, value in project.settings.items() if key not in ("project", "store")})
    for part in ("corpus", "models/base"):
        (path / part).symlink_to((project.path / part).resolve())
    with Store.open(project.store_url) as store, Store.open(made.store_url) as new:
        world = world_of(project)
        rows = [admitted(world, row) for row in store.demonstrations()]
        new.add(prompts=store.prompts(), labelers=store.labelers(), demonstrations=rows)
    return made


def asked(project: Project, fact_class: str) -> list[Prompt]:
    """Held-out users' prompts about facts of a class."""
    world = world_of(project)
    with Store.open(project.store_url) as store:
        return [prompt for prompt in store.prompts(split="test") if world.fact_class(prompt.id) == fact_class]


def judged(project: Project, model: Model) -> tuple[float, float]:
    """Share of answers about absent facts that state something false, and gold utility of those about common ones."""
    judge, sampler = GoldJudge(world_of(project), rules="evaluation"), LocalSampler(model.lm, stop=model.format.stop, dtype=compute_dtype())
    figures: list[float] = []
    for fact_class in ("absent", "common"):
        prompts = asked(project, fact_class)
        said, _ = respond(model, sampler, prompts, n=DRAWS, sampling=Sampling(temperature=1.0, max_tokens=48), seed=0, batch_size=32)
        words = [judge.judge(prompt, response.text) for prompt, group in zip(prompts, said, strict=True) for response in group]
        figures.append(fmean(word.made_up if fact_class == "absent" else word.utility for word in words))
    return figures[0], figures[1]


def measured(project: Project) -> tuple[float, float]:
    """The demo's SFT model minus the one that learned to admit it: made up, and utility on common facts."""
    other = humble(project)
    sft(other, config=SftConfig(**other.settings.get("sft", {})), flags=RunFlags(resume=True))
    told, admits = judged(project, load_model(project, "sft")), judged(project, load_model(other, "sft"))
    print(
        f"{project.path.name}: made up {told[0]:.3f}, {admits[0]:.3f}; utility on common facts {told[1]:.3f}, {admits[1]:.3f}", flush=True
    )
    return told[0] - admits[0], admits[1] - told[1]


def measure(given: Sequence[Project]) -> list[Row]:
    found, source = [measured(project) for project in given], "Schulman 2023 (talk, Berkeley)"
    taught, kept = (
        "Demonstrations with facts nobody was told teach making up",
        "Admitting ignorance instead costs no utility on common facts",
    )
    return [
        row(taught, [each[0] for each in found], above(0.0), source=source, note="share made up, with them minus with ignorance admitted"),
        row(kept, [each[1] for each in found], above(-0.05), source=source, note="gold utility, difference"),
    ]


if __name__ == "__main__":
    run(measure)
