"""`accord examine`: how good a reward model is: accuracy, calibration, ceiling, biases, and the comparisons it gets most wrong.

Needs a reward model and rankings of prompts that it did not learn from; SFT model and training rankings for --curve. Leaves a run with
the mistakes as samples, and with --requeue comparisons in the labeling queue. The noise ceiling follows Ouyang et al. 2022, section
4.1 (labelers among themselves); docs/examine.md defines each metric.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Again, Compute, ComputeFlags, Flat, ProjectPath, RunName, interval_text, shows
from accord.commands.evaluate.examine_accuracy import accuracies, form, judged_rankings, noise_ceiling
from accord.commands.evaluate.examine_curve import learning_curve
from accord.commands.evaluate.examine_invariance import invariances
from accord.commands.evaluate.examine_mistakes import mistake_rows, requeue
from accord.commands.models import TextScorer, compute_dtype, digest_of, locate
from accord.evaluation.calibration import calibration
from accord.evaluation.verdicts import mistakes
from accord.runtime import lineage
from accord.runtime.device import choose_device
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ExamineConfig

ACCURACIES = ("accuracy", "accuracy_train", "accuracy_heldout_group", "accuracy_gold", "longer_is_better", "agreement", "noise_ceiling")


def print_examination(run: Run) -> None:
    """Print accuracies, calibration, biases and the learning curve as tables."""
    found = run.summary
    rows = [(key, interval_text(found[key])) for key in ACCURACIES if found.get(key)]
    rows += [(f"calibration: {key}", f"{value:.3f}") for key, value in found["calibration"].items() if not isinstance(value, list)]
    table(f"{found['reward']} on {found['comparisons']} held-out comparisons", ["metric", "value"], rows)
    form = [(name, _signed(each["score"]), _signed(each["labels"]), _signed(each["excess"])) for name, each in found["form"].items()]
    table("correlation with form, within prompts", ["form", "reward", "labels", "beyond labels"], form)
    moved = [(name, f"{each['shift']:.3f}", f"{each['turned']:.1%}") for name, each in found["invariance"].items()]
    table("changes that should not matter", ["change", "shift in sd", "pairs turned"], moved)
    if "curve" in found:
        points = [(point["comparisons"], interval_text(point["accuracy"])) for point in found["curve"]]
        table("learning curve", ["comparisons", "accuracy"], points)
        print(f"Twice the labels would bring about {found['twice_the_labels']:+.3f}.")
    samples = f"runs/{run.folder.name}/samples.jsonl"
    print(f"{found['wrong']} comparisons are ordered otherwise than labelers do; the worst stand in {samples}.")


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


@shows(print_examination)
def examine(
    project: ProjectPath,
    reward: Annotated[str, Parameter(help="A reward model of the project.")] = "reward",
    *,
    name: RunName = "examine",
    again: Again = False,
    flags: ComputeFlags = Compute(),
    config: Annotated[ExamineConfig, Flat] = ExamineConfig(),
) -> Run:
    """Measure how good a reward model is: accuracy, calibration, ceiling, biases, and the comparisons it gets most wrong.

    Example: accord examine my-town reward --curve 4 --requeue 20

    Raises:
        ModelError: there is no such reward model.
        InputError: the store has no rankings of prompts that it did not learn from.
        RunError: a finished run of this name is there.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    source, dtype = locate(opened, reward), compute_dtype(flags.dtype)
    record = lineage.read(opened.model(reward)) if reward in opened.models() else dict[str, Any]()
    held_out_group = str(record.get("settings", {}).get("held_out_group", ""))
    judged = judged_rankings(opened, config, TextScorer.open(opened, reward, dtype), held_out_group)
    if again:
        Run.discard(opened.run(name), "examine")
    inputs = {"reward": digest_of(source), "rankings": lineage.digest_rows(row.id for row in judged.rankings)}
    run = Run.start(opened.run(name), stage="examine", config=config, inputs=inputs, resume=False, seed=config.seed)
    with run.finishing() as metrics:
        found = judged.verdicts(judged.held_out)
        metrics |= jsonable({"reward": reward} | accuracies(opened, judged, found, config) | noise_ceiling(judged, found, config))
        calibrated = calibration([verdict.margin for verdict in found], bins=config.bins, seed=config.seed)
        metrics |= jsonable({"calibration": dataclasses.asdict(calibrated), "form": form(judged)})
        metrics |= jsonable({"invariance": invariances(judged.scores, judged.held_out, source, config.seed)})
        wrong = mistakes(found)
        metrics |= {"wrong": len(wrong), "requeued": requeue(opened, wrong[: config.requeue])}
        run.samples(0, mistake_rows(judged.scores.scorer, wrong, config))
        if config.curve:
            ceiling = metrics["noise_ceiling"][0] if metrics["noise_ceiling"] else 1.0
            curve = learning_curve(opened, run, record, judged.train, judged.held_out, config, reward=reward, ceiling=ceiling, dtype=dtype)
            metrics |= jsonable(curve)
    return run
