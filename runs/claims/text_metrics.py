"""Text metrics follow preference badly: how often each orders two answers to a prompt as the gold judge does, beside the reward model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from frame import Row, below, row, run, summary

from accord import Project, Store
from accord.commands.evaluate.held_out import shown_prompt
from accord.commands.evaluate.text_figures import references_of
from accord.evaluation.text_metrics import METRICS, Information

SOURCE = "Stiennon et al. 2020, figure 7; Novikova et al. 2017"
LOWER_IS_NEARER = ("ter",)
Scores = Mapping[str, Mapping[str, float]]
"""A score by metric and by system."""


def scored(project: Project) -> list[tuple[Scores, Mapping[str, float]]]:
    """Each prompt's answers of the demo's evaluation: their scores by every metric, and their utility by the gold judge."""
    lines = (project.path / "runs" / "evaluate" / "samples.jsonl").read_text("utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    with Store.open(project.store_url) as store:
        prompts = {shown_prompt(prompt): prompt for prompt in store.prompts(split="test")}
    rows = [each for each in rows if each["prompt"] in prompts]
    references = references_of(project, [prompts[each["prompt"]] for each in rows])
    information = Information(text for each in rows for text in each["responses"].values())
    found: list[tuple[Scores, Mapping[str, float]]] = []
    for each, known in zip(rows, references, strict=True):
        if not known:
            continue
        said: dict[str, str] = each["responses"]
        scores: dict[str, dict[str, float]] = {}
        for name, metric in METRICS.items():
            sign = -1 if name in LOWER_IS_NEARER else 1
            scores[name] = {system: sign * metric(text, known) for system, text in said.items()}
        scores["information"] = {system: information.per_word(text, each["prompt"]) for system, text in said.items()}
        scores["length"] = {system: float(len(text)) for system, text in said.items()}
        found.append((scores, each["utilities"]))
    return found


def agreement(rows: Sequence[tuple[Scores, Mapping[str, float]]], metric: str, without: str = "") -> float:
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
    names = (*METRICS, "information", "length")
    found: list[dict[str, float]] = []
    for project in given:
        rows = scored(project)
        found.append({name: agreement(rows, name, without="base") for name in names})
        all_of = ", ".join(f"{name} {agreement(rows, name):.2f}" for name in names)
        labelers = summary(project)["agreement"][0]
        shares = ", ".join(f"{name} {share:.2f}" for name, share in found[-1].items())
        print(
            f"{project.path.name}: {len(rows)} prompts, labelers {labelers:.2f}; trained models {shares}; with the base model {all_of}",
            flush=True,
        )
    people = [float(summary(project)["agreement"][0]) for project in given]
    rows_of: list[Row] = []
    for name in names:
        gaps = [each[name] - of for each, of in zip(found, people, strict=True)]
        mean = fmean(each[name] for each in found)
        note = f"pairs of trained models ordered as gold does, minus those that two labelers order alike; by {name} it is {mean:.2f}"
        rows_of.append(row(f"{name} follows preference worse than a labeler follows another", gaps, below(0.0), source=SOURCE, note=note))
    return rows_of


if __name__ == "__main__":
    run(measure)
