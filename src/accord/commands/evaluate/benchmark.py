"""`accord benchmark`: public benchmarks by others' code, before and after training, with paired intervals.

Tasks are lm-evaluation-harness's by name, inspect-ai's by file, and files in the formats of RewardBench, RM-Bench and MT-bench. All are
yours: nothing is downloaded. docs/benchmark.md defines each figure.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from cyclopts import Parameter

from accord.commands.app import Again, Compute, ComputeFlags, Flat, ProjectPath, RunName, interval_text, shows
from accord.commands.evaluate.answers import CACHE
from accord.commands.evaluate.benchmark_harness import Subject, inspect, lm_eval
from accord.commands.models import LocalSpeaker, TextScorer, compute_dtype, digest_of, load_model, locate
from accord.errors import InputError, UsageError
from accord.evaluation import mt_bench, reward_benchmarks
from accord.evaluation.reward_benchmarks import Figures
from accord.evaluation.statistics import FEW, Interval, interval, mean_of, rate
from accord.protocols import Speaker
from accord.records import Sampling
from accord.runtime.device import choose_device
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import say, table
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import BenchmarkConfig

MODELS_HELP = "One model, or one before and others after training: MODEL, a folder, or http://host/v1#MODEL."
TASKS_HELP = "Tasks, separated by commas: names of lm-eval, FILE.py[@TASK] of inspect-ai, or a file of RewardBench, RM-Bench or MT-bench."
DATA = (".jsonl", ".json")


def print_benchmark(metrics: Mapping[str, Any]) -> None:
    """Print each task's figures by model, and what changed from the first model on."""
    for task, by_metric in metrics["tasks"].items():
        rows: list[tuple[str, ...]] = []
        for metric, each in by_metric.items():
            if "," in metric and len(by_metric) > 12:  # the parts of a benchmark are in summary.json
                continue
            for model, value in each["by_model"].items():
                change = each["change"].get(model)
                told = "" if change is None else interval_text(change)
                rows.append((metric, model, str(each["items"]), interval_text(value), told))
        few = any(each["items"] < FEW for each in by_metric.values())
        title = f"{task}, too small: exact intervals below {FEW} items" if few else task
        table(title, ["metric", "model", "items", "value", f"change from {metrics['models'][0]}"], rows)
    for task, scores in metrics.get("sections", {}).items():
        names = list(next(iter(scores.values())))
        table(f"{task}: RewardBench by section", ["model", *names], [(m, *(f"{row[n]:.3f}" for n in names)) for m, row in scores.items()])


@shows(print_benchmark)
def benchmark(
    project: ProjectPath,
    *models: Annotated[str, Parameter(help=MODELS_HELP)],
    tasks: Annotated[str, Parameter(help=TASKS_HELP)],
    judge: Annotated[str, Parameter(help="OpenAI-compatible address of the judge, for MT-bench.")] = "",
    judge_model: Annotated[str, Parameter(help="The judge's name at that address.")] = "",
    name: RunName = "benchmark",
    again: Again = False,
    flags: ComputeFlags = Compute(),
    config: Annotated[BenchmarkConfig, Flat] = BenchmarkConfig(),
) -> dict[str, Any]:
    """Run public benchmarks by others' code on one model, or on one before and others after training.

    Returns the run's metrics: by task and metric, each model's mean and its paired change from the first.

    Example: accord benchmark my-town sft dpo --tasks ifeval,gsm8k

    Raises:
        UsageError: no model, no task or an unknown one, or a judge that is not named.
        ModelError: there is no such model.
        InputError: a file is of no known format, or a harness fails.
        RunError: a finished run of this name is there, or a server does not answer.
    """
    named = list(dict.fromkeys(models))
    if not named:
        raise UsageError("no model is named", where="benchmark", hint="accord benchmark PROJECT sft dpo --tasks NAME")
    opened = Project.open(project)
    choose_device(flags.device)
    given = [task.strip() for task in tasks.split(",") if task.strip()]
    files = [task for task in given if task.endswith(DATA)]
    scripts = [task for task in given if task.partition("@")[0].endswith(".py")]
    harness = [task for task in given if task not in files and task not in scripts]
    if not given:
        raise UsageError("no task is named", where="--tasks", hint="for example --tasks gsm8k, or a file")
    if lost := [task for task in (*files, *scripts) if not Path(task.partition("@")[0]).is_file()]:
        raise UsageError("there is no such file", where=lost[0], hint="task files are yours: nothing is downloaded")
    rows = {file: read_rows(Path(file), config.limit) for file in files}
    if any(mt_bench.is_mt_bench(each[0]) for each in rows.values()) and not (judge and judge_model):
        raise UsageError("MT-bench needs a judge", where="benchmark", hint="--judge http://127.0.0.1:8000/v1 --judge-model NAME")
    subjects = [subject_of(opened, each) for each in named]
    dtype = compute_dtype(flags.dtype)
    if again:
        Run.discard(opened.run(name), "benchmark")
    inputs = {each.name: digest_of(each.folder) if each.folder else each.name for each in subjects}
    run = Run.start(opened.run(name), stage="benchmark", config=config, inputs=inputs, resume=False, seed=config.seed)
    with run.finishing() as metrics:
        found: dict[str, dict[str, Figures]] = {}
        for subject in subjects:
            say(f"benchmark: {subject.name}")
            by_task = lm_eval(subject, harness, config, dtype) if harness else {}
            for script in scripts:
                add(by_task, inspect(subject, script, config, opened.run(name) / "inspect"))
            for file, each in rows.items():
                add(by_task, {Path(file).stem: of_file(opened, subject, file, each, config, dtype, judge, judge_model)})
            for task, figures in by_task.items():
                found.setdefault(task, {})[subject.name] = figures
        metrics["models"] = [subject.name for subject in subjects]
        metrics["tasks"] = {task: side_by_side(by_model, metrics["models"], config) for task, by_model in found.items()}
        sections = {
            task: {model: scores for model, each in by_model.items() if (scores := reward_benchmarks.section_scores(each))}
            for task, by_model in found.items()
        }
        metrics["sections"] = jsonable({task: scores for task, scores in sections.items() if scores})
        run.samples(
            0, [{"task": task, "model": model, "items": jsonable(each)} for task, by in found.items() for model, each in by.items()]
        )
    return run.summary


def add(by_task: dict[str, Figures], more: Mapping[str, Figures]) -> None:
    """Add the figures of more tasks.

    Raises:
        UsageError: a task of that name has figures already.
    """
    if both := by_task.keys() & more.keys():
        hint = "rename one of them, or run them one by one under --name"
        raise UsageError(f"two tasks are called {min(both)!r}", where="--tasks", hint=hint)
    by_task |= more


def subject_of(project: Project, name: str) -> Subject:
    """Return what a name stands for: a model of the project, a folder, or a model at an address.

    Raises:
        ModelError: there is no such model.
        UsageError: an address without a model's name.
    """
    if not name.startswith(("http://", "https://")):
        return Subject(name, folder=locate(project, name))
    address, _, model = name.partition("#")
    if not model:
        raise UsageError("the address does not name a model", where=name, hint="write http://host:port/v1#MODEL")
    return Subject(name, address=address, model=model, key=os.environ.get("OPENAI_API_KEY", ""))


def read_rows(file: Path, limit: int) -> list[dict[str, Any]]:
    """Return the rows of a JSON or JSON Lines file.

    Raises:
        InputError: it holds none, or rows of no known benchmark.
    """
    text = file.read_text("utf-8")
    try:
        if file.suffix == ".json":
            whole: Any = json.loads(text)
            rows: Any = whole if isinstance(whole, list) else [whole]
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", where=str(file)) from error
    whole_rows = cast("list[Any]", rows)
    known_rows = [cast("dict[str, Any]", row) for row in whole_rows if isinstance(row, dict)]
    fits = [row for row in known_rows if mt_bench.is_mt_bench(row) or reward_benchmarks.is_reward_benchmark(row)]
    if not fits or len(fits) < len(whole_rows):
        hint = "RewardBench has prompt, chosen, rejected, subset; RM-Bench lists of three; MT-bench question_id, category, turns"
        raise InputError("has rows of no known benchmark" if whole_rows else "is empty", where=str(file), hint=hint)
    return fits[: limit or None]


def of_file(
    project: Project,
    subject: Subject,
    file: str,
    rows: Sequence[Mapping[str, Any]],
    config: BenchmarkConfig,
    dtype: Any,
    judge: str,
    judge_model: str,
) -> Figures:
    """Return the figures of a benchmark in a file by metric and item."""
    if mt_bench.is_mt_bench(rows[0]):
        questions = [mt_bench.read_question(row, number, file) for number, row in enumerate(rows, 1)]
        return mt_figures(project, subject, questions, config, dtype, judge, judge_model)
    if not subject.folder:
        raise UsageError("a reward benchmark needs a reward model's folder", where=subject.name)
    trials = [reward_benchmarks.read_trial(row, number, file) for number, row in enumerate(rows, 1)]
    scorer = TextScorer.open(project, subject.name, dtype)
    flat = [(trial.messages, text) for trial in trials for text in (*trial.chosen, *trial.rejected)]
    scores = iter(scorer.score_conversations([messages for messages, _ in flat], [text for _, text in flat]))
    pairs: list[tuple[list[float], list[float]]] = []
    for trial in trials:
        pairs.append(([next(scores) for _ in trial.chosen], [next(scores) for _ in trial.rejected]))
    return reward_benchmarks.figures(trials, pairs)


def mt_figures(
    project: Project,
    subject: Subject,
    questions: Sequence[mt_bench.MtQuestion],
    config: BenchmarkConfig,
    dtype: Any,
    judge: str,
    judge_model: str,
) -> Figures:
    """Return a model's ratings in MT-bench: of all turns, of each turn, and by category."""
    from accord.engine.remote import RemoteSpeaker

    speaker: Speaker
    if subject.address:
        speaker = RemoteSpeaker(subject.address, subject.model, keep=project.path / CACHE / "remote")
    else:
        speaker = LocalSpeaker(load_model(project, subject.name), dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    said = mt_bench.answers(speaker, questions, sampling=sampling, seed=config.seed)
    grader = RemoteSpeaker(judge, judge_model, keep=project.path / CACHE / "judge")
    rated = mt_bench.ratings(grader, questions, said, sampling=Sampling(temperature=0.0, max_tokens=config.judge_tokens), seed=config.seed)
    categories = {question.id: question.category for question in questions}
    found: Figures = {"rating": {}}
    for (question, turn), value in rated.items():
        key = f"{question}:{turn}"
        for metric in ("rating", f"rating, turn {turn}", f"rating, {categories[question]}"):
            found.setdefault(metric, {})[key] = value
    unread = sum(math.isnan(value) for value in rated.values())
    if unread * 5 > len(rated):
        hint = "take another judge by --judge-model, or more room by --judge-tokens"
        raise InputError(f"{unread} of {len(rated)} replies of the judge hold no rating", where=judge_model, hint=hint)
    return found


def side_by_side(by_model: Mapping[str, Figures], models: Sequence[str], config: BenchmarkConfig) -> dict[str, Any]:
    """Return each metric's mean by model, and the paired change from the first model, over the items that both have."""
    draw = {"resamples": config.bootstrap, "seed": config.seed}
    first, rows = by_model[models[0]], dict[str, Any]()
    for metric in first:
        values = {model: known(by_model[model].get(metric, {})) for model in models if model in by_model}
        if not values[models[0]]:
            continue
        changes: dict[str, Interval] = {}
        for model in models[1:]:
            both = sorted(values[models[0]].keys() & values[model].keys())
            if both:
                changes[model] = change([values[model][key] - values[models[0]][key] for key in both], draw)
        rows[metric] = jsonable(
            {
                "items": len(values[models[0]]),
                "by_model": {model: mean_of([*each.values()], **draw) for model, each in values.items() if each},
                "change": changes,
            }
        )
    return rows


def known(values: Mapping[str, float]) -> dict[str, float]:
    """Return the items that have a value."""
    return {key: value for key, value in values.items() if not math.isnan(value)}


def change(values: Sequence[float], draw: Mapping[str, int]) -> Interval:
    """Return the mean of paired differences with its interval, exact where they are of shares and few."""
    if not all(-1 <= value <= 1 for value in values):
        return interval(values, **draw)
    return Interval(*(2 * each - 1 for each in rate((np.asarray(values) + 1) / 2, **draw)))
