"""`accord algorithms`: run methods against each other on the same data, seeds and judge, and write one table.

Needs a base model, an SFT model, a reward model, labels, and the built-in world. Leaves a run and a model per method and seed, and
algorithms.json in the project. Every method starts from the same SFT model and answers the same held-out prompts under one judge.
docs/algorithms.md defines each column.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath, shows
from accord.commands.evaluate.algorithms_ground import Ground, Outcome, best_candidates, chooser, open_ground, responses
from accord.commands.evaluate.algorithms_runs import trained
from accord.commands.evaluate.algorithms_table import read_page, row_of, write_page
from accord.commands.models import load_model
from accord.evaluation.statistics import best_of_n_kl
from accord.runtime.device import choose_device
from accord.runtime.files import write_atomic
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.settings import AlgorithmsConfig
from accord.settings.methods import BEST_OF, METHODS

COLUMNS = ("method", "win_rate", "low", "high", "utility", "kl", "tax", "seconds", "peak_rss_mb")


def print_algorithms(rows: Sequence[dict[str, Any]]) -> None:
    """Print a line per method."""
    seeds = len(rows[0]["seeds"])
    lines: list[list[Any]] = []
    for row in rows:
        lines.append([row[name] for name in COLUMNS])
    table(f"preferred to the SFT model, over {seeds} seeds", COLUMNS, lines)


@shows(print_algorithms)
def algorithms(
    project: ProjectPath,
    *,
    base: Annotated[str, Parameter(help="The base model, whose loss on raw text the alignment tax is measured against.")] = "base",
    sft: Annotated[str, Parameter(help="The SFT model: where each method starts and what it is compared with.")] = "sft",
    reward: Annotated[str, Parameter(help="The reward model of the methods that need one.")] = "reward",
    out: Annotated[Path | None, Parameter(help="Where the rows go; algorithms.json in the project otherwise.")] = None,
    page: Annotated[Path | None, Parameter(help="A Markdown page whose table is written anew between its marks.")] = None,
    flags: ComputeFlags = Compute(),
    config: Annotated[AlgorithmsConfig, Flat] = AlgorithmsConfig(),
) -> list[dict[str, Any]]:
    """Run methods on the same data, seeds and judge, and write one table: win rate, KL, tax, time, memory.

    A method's run that is finished already is measured as it is; one that was stopped goes on.

    Example: accord algorithms my-town --methods "ppo dpo grpo" --seeds "0 1 2" --budget 80

    Raises:
        UsageError: the project has no world whose judge could decide.
        InputError: it has no prompts of held-out users, or the page has no place for the table.
        RunError: a method's command failed; names it and says why.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    if page:
        read_page(page)  # its fault is said before hours of training, not after
    ground = open_ground(opened, config, base, sft, flags.dtype)
    rows: list[dict[str, Any]] = []
    for method in config.chosen:
        outcomes = [outcome(opened, config, ground, method, seed, sft, reward) for seed in config.numbers]
        rows.append(row_of(method, outcomes, ground, config))
        write_atomic(out or opened.path / "algorithms.json", json.dumps(rows, indent=1) + "\n")
    if page:
        write_page(page, rows)
    return rows


def outcome(project: Project, config: AlgorithmsConfig, ground: Ground, method: str, seed: int, sft: str, reward: str) -> Outcome:
    """Return the measures of one run of one method; train it first if it is missing."""
    if method in BEST_OF:
        scorer = chooser(project, ground, method, seed, reward)
        return Outcome(seed, best_candidates(ground, scorer, config, seed), best_of_n_kl(config.best_of), ground.tax(ground.sft))
    name = f"{method}-s{seed}"
    summary = trained(project, METHODS[method], name, seed, sft=sft, reward=reward, budget=config.budget).summary
    model = load_model(project, name)
    utilities, kl = responses(ground, model, config)
    return Outcome(seed, utilities, kl, ground.tax(model), summary["seconds"], summary["peak_rss_mb"])
