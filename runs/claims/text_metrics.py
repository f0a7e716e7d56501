"""Text metrics follow preference badly: how often each orders two answers to a prompt as the gold judge does, against two labelers.

With finished demos the answers are those of their trained models. With `--written` no model is needed: the world's writers answer each
test prompt in four of their manners but the excellent one, which is the reference, and two labelers rank these four. Both give rows of the
same claims, whose note says which; the last run's stand in the table.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from frame import Row, below, row, save, summary

from accord import AccordError, Project, Prompt, Response, Store, WorldConfig
from accord.commands.evaluate.held_out import shown_prompt
from accord.commands.evaluate.text_figures import references_of
from accord.evaluation.text_metrics import METRICS, Information
from accord.feedback.guidelines import reference
from accord.world import GoldJudge, SimulatedLabeler, World, labelers
from accord.world.demonstrations import MANNERS, excellent, write

SOURCE = "Stiennon et al. 2020, figure 7; Novikova et al. 2017"
LOWER_IS_NEARER = ("ter",)
NAMES = (*METRICS, "information", "length")
Scores = Mapping[str, Mapping[str, float]]
"""A score by metric and by system."""
Judged = tuple[Scores, Mapping[str, float]]
"""The scores of the answers to a prompt, and their utilities by the gold judge."""
MANNERS_BUT_BEST = [manner for manner in MANNERS if manner != "excellent"]


def scored(project: Project) -> list[Judged]:
    """Each prompt's answers of the demo's evaluation: their scores by every metric, and their utility by the gold judge."""
    lines = (project.path / "runs" / "evaluate" / "samples.jsonl").read_text("utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    with Store.open(project.store_url) as store:
        prompts = {shown_prompt(prompt): prompt for prompt in store.prompts(split="test")}
    rows = [each for each in rows if each["prompt"] in prompts]
    references = references_of(project, [prompts[each["prompt"]] for each in rows])
    information = Information(text for each in rows for text in each["responses"].values())
    found: list[Judged] = []
    for each, known in zip(rows, references, strict=True):
        if known:
            found.append((scores_of(each["prompt"], each["responses"], known, information), each["utilities"]))
    return found


def scores_of(prompt: str, said: Mapping[str, str], known: Sequence[str], information: Information) -> Scores:
    """Each answer's score by every metric, higher being better."""
    scores: dict[str, Mapping[str, float]] = {}
    for name, metric in METRICS.items():
        sign = -1 if name in LOWER_IS_NEARER else 1
        scores[name] = {system: sign * metric(text, known) for system, text in said.items()}
    scores["information"] = {system: information.per_word(text, prompt) for system, text in said.items()}
    scores["length"] = {system: float(len(text)) for system, text in said.items()}
    return scores


def written(seed: int) -> tuple[list[Judged], float]:
    """Writers' answers to the prompts of a world in four manners each, judged, and how often two labelers order a pair of them alike."""
    world = World.generate(seed, WorldConfig(seed=seed, documents=1, prompts=3000, demonstrations=0, users=60))
    judge, rng, people = GoldJudge(world), random.Random(f"manners {seed}"), labelers(world)
    asked = [prompt for prompt in world.prompts if prompt.split == "test"]
    answers: list[dict[str, str]] = []
    for prompt in asked:
        texts = {manner: write(world.specs[prompt.id], world.town, rng, manner) for manner in rng.sample(MANNERS_BUT_BEST, 4)}
        answers.append({manner: text for manner, text in texts.items() if list(texts.values()).count(text) == 1})
    information, found, alike = Information(text for said in answers for text in said.values()), list[Judged](), list[float]()
    for place, (prompt, said) in enumerate(zip(asked, answers, strict=True)):
        if len(said) < 2:
            continue
        known = [excellent(world.specs[prompt.id], world.town, random.Random(f"reference {prompt.id}"))]
        utilities = {manner: judge.judge(prompt, text).utility for manner, text in said.items()}
        found.append((scores_of(shown_prompt(prompt), said, known, information), utilities))
        responses = [Response(f"{prompt.id}-{manner}", prompt.id, text, manner) for manner, text in said.items()]
        first, second = (ranks(people[(2 * place + k) % len(people)], prompt, responses) for k in (0, 1))
        pairs = [(first[a] - first[b]) * (second[a] - second[b]) for a, b in combinations(first, 2)]
        alike += [float(product > 0) for product in pairs if product]
    return found, fmean(alike)


def ranks(labeler: SimulatedLabeler, prompt: Prompt, responses: Sequence[Response]) -> dict[str, int]:
    ranking = labeler.rank(prompt, responses, guideline=reference("training"), at="2026-01-01T00:00:00+00:00", id="r")
    return dict(zip(ranking.response_ids, ranking.ranks, strict=True))


def agreement(rows: Sequence[Judged], metric: str, without: str = "") -> float:
    """Share of the pairs with different utilities that a metric orders as gold does, equal scores one half; one value per prompt first.

    Args:
        without: a system that is left out, the base model, which any metric tells from the others.
    """
    by_prompt: list[float] = []
    for scores, utilities in rows:
        right: list[float] = []
        for one, other in combinations([name for name in utilities if name != without], 2):
            if abs(utilities[one] - utilities[other]) > 1e-9:
                gap = (scores[metric][one] - scores[metric][other]) * (utilities[one] - utilities[other])
                right.append(1.0 if gap > 0 else 0.5 if gap == 0 else 0.0)
        if right:
            by_prompt.append(fmean(right))
    return fmean(by_prompt)


def measure(given: Sequence[Project]) -> list[Row]:
    found: list[dict[str, float]] = []
    for project in given:
        rows = scored(project)
        found.append({name: agreement(rows, name, without="base") for name in NAMES})
        all_of = ", ".join(f"{name} {agreement(rows, name):.2f}" for name in NAMES)
        labelers = summary(project)["agreement"][0]
        shares = ", ".join(f"{name} {share:.2f}" for name, share in found[-1].items())
        print(
            f"{project.path.name}: {len(rows)} prompts, labelers {labelers:.2f}; trained models {shares}; with the base model {all_of}",
            flush=True,
        )
    return compared(found, [float(summary(project)["agreement"][0]) for project in given], "trained models")


def measure_written(seeds: Sequence[int]) -> list[Row]:
    found, people = list[dict[str, float]](), list[float]()
    for seed in seeds:
        rows, alike = written(seed)
        found.append({name: agreement(rows, name) for name in NAMES})
        people.append(alike)
        print(
            f"seed {seed}: {len(rows)} prompts, labelers {alike:.2f}; {', '.join(f'{k} {v:.2f}' for k, v in found[-1].items())}", flush=True
        )
    return compared(found, people, "writers' answers")


def compared(found: Sequence[Mapping[str, float]], people: Sequence[float], answers: str) -> list[Row]:
    """A row per metric: how often it orders pairs as gold does, less how often two labelers order them alike."""
    made: list[Row] = []
    for name in NAMES:
        gaps = [each[name] - alike for each, alike in zip(found, people, strict=True)]
        mean = fmean(each[name] for each in found)
        note = f"pairs of {answers} ordered as gold does, minus those that two labelers order alike; by {name} it is {mean:.2f}"
        made.append(row(f"{name} follows preference worse than a labeler follows another", gaps, below(0.0), source=SOURCE, note=note))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("projects", nargs="*", type=Path, help="finished demos, one a seed")
    parser.add_argument("--written", type=int, nargs="+", default=[], metavar="SEED", help="worlds whose writers answer, in place of demos")
    asked = parser.parse_args()
    if bool(asked.projects) == bool(asked.written):
        parser.error("give finished demos, or --written with the seeds of worlds")
    try:
        save(measure_written(asked.written) if asked.written else measure([Project.open(path) for path in asked.projects]))
    except AccordError as error:
        raise SystemExit(f"text_metrics: {error}") from error


if __name__ == "__main__":
    main()
