"""The stage that learns what each token is worth, and the one that compares methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, Resume, app, report_run
from accord.settings import AlgorithmsConfig, IlqlConfig, ProcessConfig


@app.command
def ilql(
    project: ProjectPath,
    *,
    sft: Annotated[str, Parameter(help="The SFT model, which the learned values guide.")] = "sft",
    name: Name = "ilql",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[IlqlConfig, Flat] = IlqlConfig(),
) -> None:
    """Learns offline what each token is worth, from rated or ranked responses, and guides the SFT model by it.

    Example: accord ilql my-town --beta 8 --expectile 0.8
    """
    from accord.runtime.project import Project
    from accord.stages.valuing import ilql_stage

    report_run("ilql", name, ilql_stage(Project.open(project), config, sft_model=sft, name=name, resume=resume, dtype=dtype), json)


@app.command
def process(
    project: ProjectPath,
    *,
    sft: Annotated[str, Parameter(help="The SFT model it starts from.")] = "sft",
    name: Name = "process",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[ProcessConfig, Flat] = ProcessConfig(),
) -> None:
    """Trains a model of where responses go wrong, from parts that people marked, for token-level rewards.

    Example: accord process my-project --errors "Irrelevant, Unverifiable" --name relevance
    """
    from accord.runtime.project import Project
    from accord.stages.processing import process_stage

    report_run("process", name, process_stage(Project.open(project), config, sft_model=sft, name=name, resume=resume, dtype=dtype), json)


@app.command
def algorithms(
    project: ProjectPath,
    *,
    base: Annotated[str, Parameter(help="The base model, whose loss on raw text the alignment tax is measured against.")] = "base",
    sft: Annotated[str, Parameter(help="The SFT model: where each method starts and what it is compared with.")] = "sft",
    reward: Annotated[str, Parameter(help="The reward model of the methods that need one.")] = "reward",
    out: Annotated[Path | None, Parameter(help="Where the rows go; algorithms.json in the project otherwise.")] = None,
    page: Annotated[Path | None, Parameter(help="A Markdown page whose table is written anew between its marks.")] = None,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[AlgorithmsConfig, Flat] = AlgorithmsConfig(),
) -> None:
    """Runs methods on the same data, seeds and judge, and writes one table: win rate, KL, tax, time, memory.

    Example: accord algorithms my-town --methods "ppo dpo grpo" --seeds "0 1 2" --budget 80
    """
    from json import dumps

    from accord.runtime.progress import table
    from accord.runtime.project import Project
    from accord.stages.contesting import algorithms_stage, read_page, write_page

    opened = Project.open(project)
    if page:
        read_page(page)  # said before hours of training, not after
    rows = algorithms_stage(opened, config, base=base, sft=sft, reward=reward, out=out or opened.path / "algorithms.json", dtype=dtype)
    if page:
        write_page(page, rows)
    if json:
        print(dumps(rows))
        return
    names = ["method", "win_rate", "low", "high", "utility", "kl", "tax", "seconds", "peak_rss_mb"]
    table(f"preferred to {sft}, over {len(config.numbers)} seeds", names, [[row[name] for name in names] for row in rows])
