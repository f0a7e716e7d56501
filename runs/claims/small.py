"""A small world for claims that train often: one base model a seed, and projects on it that differ in what they learn from."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import frame

from accord import (
    AccordError,
    Demonstration,
    DpoConfig,
    LocalSampler,
    PretrainConfig,
    Project,
    Prompt,
    Ranking,
    Response,
    RunFlags,
    Sampling,
    SftConfig,
    Store,
    WorldConfig,
    config,
    create,
    dpo,
    load_model,
    pretrain,
    sft,
)
from accord.commands.models import compute_dtype, respond
from accord.commands.train.sample import distinct
from accord.commands.world import world_of
from accord.feedback.guidelines import reference
from accord.world import HELD_OUT_GROUP, GoldJudge, SimulatedLabeler, World, labelers

SEEDS = (0, 1, 2)
WORLD: dict[str, int] = {"documents": 9000, "prompts": 1500, "demonstrations": 1200, "users": 30}
SHAPE: dict[str, Any] = {"hidden_size": 128, "layers": 2, "heads": 2, "intermediate_size": 384, "tokens": 450_000}
MAX_TOKENS = 40
FLAGS = RunFlags(resume=True)
Found = TypeVar("Found")


def begun(folder: Path, seed: int) -> Project:
    """The project of one seed: its world, and the base model that all others start from. What is there is used again."""
    path = folder / f"small-{seed}"
    project = Project.open(path) if (path / "accord.toml").exists() else create(path, world=WorldConfig(seed=seed, **WORLD))
    pretrain(project, config=PretrainConfig(seed=seed, **SHAPE), flags=FLAGS)
    return project


def child(parent: Project, name: str, demonstrations: Iterable[Demonstration], *, models: Sequence[str] = ("base",)) -> Project:
    """A project inside another's folder, with its world, its raw text, some of its models, and demonstrations of its own."""
    path = parent.path / "children" / name
    if path.exists():
        return Project.open(path)
    made = Project.create(path, settings={key: value for key, value in parent.settings.items() if key not in ("project", "store")})
    (path / "models").mkdir(exist_ok=True)
    for part in ("corpus", *(f"models/{model}" for model in models)):
        (path / part).symlink_to((parent.path / part).resolve())
    with Store.open(parent.store_url) as store, Store.open(made.store_url) as new:
        new.add(prompts=store.prompts(), labelers=store.labelers(), demonstrations=demonstrations)
    return made


def demonstrations(project: Project, *, split: str = "train") -> list[Demonstration]:
    """The demonstrations of a split in an order that does not depend on their number."""
    with Store.open(project.store_url) as store:
        return [row for row in store.demonstrations() if row.prompt.split == split]


def prompts_of(project: Project, split: Any) -> list[Prompt]:
    with Store.open(project.store_url) as store:
        return list(store.prompts(split=split))


def fine_tuned(project: Project, seed: int, *, base: str = "base", name: str = "sft", epochs: int = 3) -> None:
    """With the world's own rates, and small batches: few demonstrations make few steps."""
    settings = config(project, SftConfig, seed=seed, epochs=epochs, batch_size=16, select="last", ptx_tokens=512)
    sft(project, base=base, name=name, flags=FLAGS, config=settings)


def responses(project: Project, model: str, prompts: Sequence[Prompt], n: int, seed: int) -> list[list[Response]]:
    """n answers of a model to each prompt, at temperature 1."""
    loaded = load_model(project, model)
    sampler = LocalSampler(loaded.lm, stop=loaded.format.stop, dtype=compute_dtype())
    return respond(loaded, sampler, prompts, n=n, sampling=Sampling(max_tokens=MAX_TOKENS), seed=seed, batch_size=64)[0]


def people(world: World, *groups: str) -> list[SimulatedLabeler]:
    """The world's labelers of some groups; without names of all but the one that is held out."""
    wanted = set(groups) or {labeler.record.group for labeler in labelers(world)} - {HELD_OUT_GROUP}
    return [labeler for labeler in labelers(world) if labeler.record.group in wanted]


def ranked(
    project: Project, groups: Sequence[tuple[Prompt, Sequence[Response]]], by: Sequence[SimulatedLabeler], *, each: int = 1
) -> list[Ranking]:
    """Store different answers, and have some labelers rank each prompt's, in turn."""
    guideline, rankings, place = reference("training"), list[Ranking](), 0
    rows = [(prompt, distinct(list(answers))) for prompt, answers in groups]
    rows = [(prompt, answers) for prompt, answers in rows if len(answers) > 1]
    for prompt, answers in rows:
        for _ in range(each):
            labeler = by[place % len(by)]
            place += 1
            id = f"{prompt.id}-{labeler.record.id}-{answers[0].id[-20:]}"
            at = f"2026-01-01T00:00:{place % 60:02d}+00:00"
            rankings.append(labeler.rank(prompt, answers, guideline=guideline, at=at, id=id))
    with Store.open(project.store_url) as store:
        store.add(labelers=[labeler.record for labeler in by], responses=[one for _, answers in rows for one in answers], rankings=rankings)
    return rankings


def preferences(project: Project, seed: int) -> None:
    dpo(project, flags=FLAGS, config=config(project, DpoConfig, seed=seed))


@dataclass(frozen=True)
class Measured:
    """What a model's answers to held-out users' prompts are."""

    utility: float
    """By the gold judge's evaluation rules."""
    made_up: float
    """Share of the answers about facts that nobody was told, or nobody can know, which state one."""
    admits: float
    """Share of the answers to common facts that claim ignorance."""
    different: float
    """Different answers among four to a prompt, as a share of four."""


def measured(project: Project, model: str, seed: int, *, draws: int = 4) -> Measured:
    world = world_of(project)
    judge, asked = GoldJudge(world, rules="evaluation"), prompts_of(project, "test")
    said = responses(project, model, asked, draws, seed)
    utility, made_up, admits, different = list[float](), list[bool](), list[bool](), list[float]()
    for prompt, answers in zip(asked, said, strict=True):
        spec = world.specs[prompt.id]
        found = [judge.judge(prompt, answer.text) for answer in answers]
        utility.append(fmean(each.utility for each in found))
        different.append(len({answer.text for answer in answers}) / len(answers))
        if spec.fact_class == "absent" or spec.kind == "unknowable":
            made_up += [each.made_up for each in found]
        if spec.fact_class == "common" and spec.kind == "fact":
            admits += ["do not know" in answer.text for answer in answers]
    return Measured(fmean(utility), fmean(made_up or [0.0]), fmean(admits or [0.0]), fmean(different))


def run(measure: Callable[[Path, int], Found], rows: Callable[[Sequence[Found]], Sequence[frame.Row]], about: str | None) -> None:
    """Measure every seed, say what came of each, and save the rows."""
    parser = argparse.ArgumentParser(description=(about or "").strip())
    parser.add_argument("folder", type=Path, help="a folder for the projects, one a seed; scripts share it")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    each = list[Found]()
    try:
        for seed in asked.seeds:
            began = time.process_time()
            each.append(measure(asked.folder, seed))
            print(f"{Path(sys.argv[0]).stem} seed {seed} ({time.process_time() - began:.0f} CPU s)  {each[-1]}", flush=True)
        frame.save(rows(each))
    except AccordError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from error
