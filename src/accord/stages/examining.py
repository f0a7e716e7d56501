"""The stage that examines a reward model: `accord examine`. Accuracy, calibration, ceiling, biases, mistakes to read or to label again."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from accord.errors import InputError
from accord.evaluation.calibration import calibration
from accord.evaluation.form import form_of_scores
from accord.evaluation.reward_accuracy import gold_accuracy
from accord.evaluation.statistics import Interval
from accord.evaluation.verdicts import Mistake, Verdict, accuracy_by, accuracy_of, by_margin, longer_is_better, mistakes, verdicts
from accord.feedback import tasks
from accord.feedback.agreement import pairwise_agreement, single_label_accuracy
from accord.feedback.label_budget import Point, fit_curve
from accord.feedback.queue import Task, task_id
from accord.feedback.store import Store
from accord.records import RankedPrompt, Ranking
from accord.runtime import lineage
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ExamineConfig, RewardConfig
from accord.stages.comparing import forget, plain
from accord.stages.inspecting import Scores, attribution, invariances, score_all, small_reward
from accord.stages.judging import Rewarder
from accord.stages.opening import compute_dtype, digest_of, finishing, load_model, locate
from accord.stages.queueing import world_of
from accord.world import GoldJudge

LEAST = 8
"""Rankings of the smallest point of a learning curve."""
AGAIN = 0.5
"""Priority of comparisons that go back to the queue."""


@dataclass(frozen=True)
class Judged:
    """The rankings a reward model is held against, in parts, with its scores."""

    scores: Scores
    train: list[RankedPrompt]
    held_out: list[RankedPrompt]
    """Prompts it did not learn from, by labelers it did learn from."""
    strangers: list[RankedPrompt]
    """The same prompts by the group of labelers that was kept out of training."""
    rankings: list[Ranking]

    def verdicts(self, ranked: Sequence[RankedPrompt]) -> list[Verdict]:
        return verdicts(ranked, self.scores.of(ranked))


def examine_stage(project: Project, config: ExamineConfig, *, reward: str, name: str, again: bool = False, dtype: str = "auto") -> Run:
    """Everything that can be asked of a reward model; docs/examine.md defines each figure.

    Raises:
        ModelError: there is no such reward model.
        InputError: the store has no rankings of prompts that it did not learn from.
    """
    source, compute = locate(project, reward), compute_dtype(dtype)
    settings = _record(project, reward).get("settings", dict[str, Any]())
    judged = _judged(project, config, Rewarder.open(project, reward, compute), str(settings.get("held_out_group", "")))
    if again:
        forget(project, name, "examine")
    inputs = {"reward": digest_of(source), "rankings": lineage.digest_rows(row.id for row in judged.rankings)}
    run = Run.start(project.run(name), stage="examine", config=config, inputs=inputs, resume=False, seed=config.seed)
    with finishing(run) as figures:
        found = judged.verdicts(judged.held_out)
        figures |= plain({"reward": reward} | _accuracies(project, judged, found, config) | _ceiling(judged, found, config))
        figures |= plain({"calibration": dataclasses.asdict(calibration([v.margin for v in found], bins=config.bins, seed=config.seed))})
        figures |= plain({"form": _form(judged), "invariance": invariances(judged.scores, judged.held_out, source, config.seed)})
        wrong = mistakes(found)
        figures |= plain({"wrong": len(wrong), "requeued": _requeue(project, wrong[: config.requeue])})
        run.samples(0, _rows(judged.scores.rewarder, wrong, config))
        if config.curve:
            figures |= plain(_curve(project, config, judged, settings, run, figures, compute))
    return run


def _record(project: Project, model: str) -> dict[str, Any]:
    """A model's lineage.json; empty for one that is not the project's."""
    return lineage.read(project.model(model)) if model in project.models() else {}


def _judged(project: Project, config: ExamineConfig, rewarder: Rewarder, outside: str) -> Judged:
    with Store.open(project.store_url) as store:
        ranked = list(store.ranked_prompts())
        rankings = list(store.rankings("training"))
    held = [row for row in ranked if row.prompt.split != "train"]
    if not held:
        hint = "sample and label prompts of validation users: `accord sample --held-out 300`"
        raise InputError("the store has no rankings of held-out prompts", where=project.store_url, hint=hint)
    random.Random(config.seed).shuffle(held)
    held = held[: config.rankings or None]
    train = [row for row in ranked if row.prompt.split == "train" and not (outside and row.group == outside)]
    random.Random(config.seed).shuffle(train)
    seen = train[: len(held)]
    scores = score_all(rewarder, [*held, *seen])
    inside = [row for row in held if not (outside and row.group == outside)]
    strangers = [row for row in held if outside and row.group == outside]
    return Judged(scores, train, inside or held, strangers, rankings)


def _accuracies(project: Project, judged: Judged, found: Sequence[Verdict], config: ExamineConfig) -> dict[str, Any]:
    """Raises InputError when not one held-out pair is untied."""
    draw = {"resamples": config.bootstrap, "seed": config.seed}
    seen = [row for row in judged.train if row.responses[0].id in judged.scores.known]
    figures: dict[str, Any] = {"rankings": len(judged.held_out), "comparisons": len(found), "accuracy": accuracy_of(found, **draw)}
    for key, rows in (("accuracy_train", seen), ("accuracy_heldout_group", judged.strangers)):
        if part := judged.verdicts([row for row in rows if all(r.id in judged.scores.known for r in row.responses)]):
            figures[key] = accuracy_of(part, **draw)
    everybody = [*found, *judged.verdicts(judged.strangers)]
    figures["accuracy_by_group"] = accuracy_by(everybody, lambda verdict: verdict.ranked.group or "(none)", **draw)
    figures["accuracy_by_labeler"] = accuracy_by(everybody, lambda verdict: verdict.ranked.labeler, **draw)
    figures["accuracy_by_use_case"] = accuracy_by(found, lambda verdict: verdict.ranked.prompt.use_case, **draw)
    figures["accuracy_by_steps"] = accuracy_by(found, lambda verdict: str(verdict.steps), **draw)
    figures["accuracy_by_margin"] = by_margin(found, **draw)
    figures["longer_is_better"] = longer_is_better(found, **draw)
    if "world" in project.settings:
        judge, rows = GoldJudge(world_of(project)), list({row.prompt.id: row for row in judged.held_out}.values())
        gold = [[judge.judge(row.prompt, response.text).utility for response in row.responses] for row in rows]
        figures["accuracy_gold"] = gold_accuracy(judged.scores.of(rows), gold, **draw)
    return figures


def _ceiling(judged: Judged, found: Sequence[Verdict], config: ExamineConfig) -> dict[str, Any]:
    """How well labelers agree, what the best model could reach against single labels, and how far below that this one is."""
    try:
        agreement = pairwise_agreement(judged.rankings, resamples=config.bootstrap, seed=config.seed).dropped
    except InputError:
        return {"agreement": None, "noise_ceiling": None, "of_what_can_be_known": None}
    ceiling = Interval(*(single_label_accuracy(value) for value in agreement))
    reached = accuracy_of(found, resamples=1).mean
    known = (reached - 0.5) / (ceiling.mean - 0.5) if ceiling.mean > 0.5 else None
    return {"agreement": agreement, "noise_ceiling": ceiling, "of_what_can_be_known": known}


def _form(judged: Judged) -> dict[str, Any]:
    rows = judged.held_out
    texts = [[response.text for response in row.responses] for row in rows]
    return form_of_scores(texts, judged.scores.of(rows), [row.ranks for row in rows])


def _rows(rewarder: Rewarder, wrong: Sequence[Mistake], config: ExamineConfig) -> list[dict[str, Any]]:
    """The most wrong comparisons, and for the first of them what each token added to both scores."""
    rows = [_mistake(each) for each in wrong[: config.wrong]]
    for each in wrong[: config.attributed]:
        verdict = each.verdict
        for side, response in (("chosen", verdict.better), ("rejected", verdict.worse)):
            spread = dataclasses.asdict(attribution(rewarder, verdict.ranked.prompt, response))
            rows.append({"kind": "attribution", "prompt_id": verdict.ranked.prompt.id, "response_id": response.id, "side": side} | spread)
    return [plain(row) for row in rows]


def _mistake(each: Mistake) -> dict[str, Any]:
    verdict = each.verdict
    return {
        "kind": "wrong",
        "prompt_id": verdict.ranked.prompt.id,
        "prompt": "\n".join(message.content for message in verdict.ranked.prompt.messages),
        "use_case": verdict.ranked.prompt.use_case,
        "chosen": verdict.better.text,
        "rejected": verdict.worse.text,
        "chosen_id": verdict.better.id,
        "rejected_id": verdict.worse.id,
        "margin": verdict.margin,
        "labelers": list(each.labelers),
        "against": each.against,
    }


def _requeue(project: Project, wrong: Sequence[Mistake]) -> int:
    """Sends comparisons back to the labeling queue, to be judged once more by anybody; how many were not there already."""
    made: list[Task] = []
    for each in wrong:
        verdict = each.verdict
        pair = tuple(sorted((verdict.better, verdict.worse), key=lambda response: response.id))
        id = task_id("compare", "training", verdict.ranked.prompt.id, (response.id for response in pair), "examine")
        made.append(Task(id, "compare", verdict.ranked.prompt, pair, priority=AGAIN))
    if not made:
        return 0
    with Store.open(project.store_url) as store:
        return tasks.add(store, made)


def _curve(
    project: Project,
    config: ExamineConfig,
    judged: Judged,
    settings: Mapping[str, Any],
    run: Run,
    figures: Mapping[str, Any],
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Reward models trained on halves of halves of the rankings, and what twice the labels would bring."""
    sft = _sft_of(project, str(figures["reward"]))
    asked = RewardConfig(**{k: v for k, v in settings.items() if k in {f.name for f in dataclasses.fields(RewardConfig)}})
    sizes = sorted({max(LEAST, len(judged.train) // 2**halved) for halved in range(config.curve)})
    draw, points, rows = {"resamples": config.bootstrap, "seed": config.seed}, list[Point](), list[dict[str, Any]]()
    for size in sizes:
        part = judged.train[:size]
        folder = f"runs/{run.folder.name}/curve-{size}"
        try:
            small = small_reward(project, load_model(project, sft), asked, part, folder, config.seed, dtype)
        finally:
            shutil.rmtree(project.path / folder, ignore_errors=True)
        right = accuracy_of(verdicts(judged.held_out, score_all(small, judged.held_out).of(judged.held_out)), **draw)
        comparisons = len(verdicts(part, [[0.0] * len(row.ranks) for row in part]))
        points.append(Point(comparisons, right.mean))
        rows.append({"rankings": size, "comparisons": comparisons, "accuracy": right})
    ceiling = figures["noise_ceiling"][0] if figures.get("noise_ceiling") else 1.0
    curve = fit_curve(points, ceiling)
    return {"curve": rows, "twice_the_labels": curve.at(2 * points[-1].comparisons) - curve.at(points[-1].comparisons)}


def _sft_of(project: Project, reward: str) -> str:
    """The model that the reward model started from. Raises InputError when the project does not have it any more."""
    found = next((name for name in _record(project, reward).get("parents", ()) if name in project.models()), None)
    if found is None:
        raise InputError("what it was trained from is not here, so no learning curve can be drawn", where=reward, hint="--curve 0")
    return found
