"""The stage that runs methods against each other: the same SFT model, labels, reward model and held-out prompts, one judge, one table.

Each training run is the method's own command in a process of its own, so that its time and memory are its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accord.engine.local import LocalSampler
from accord.errors import InputError, RunError
from accord.evaluation.best_of_n import best_of_n
from accord.evaluation.statistics import best_of_n_kl, interval, outcomes
from accord.evaluation.tax import alignment_tax
from accord.feedback.store import Store
from accord.models.folders import load_scalar_model
from accord.models.packing import pack
from accord.models.policy import logprobs, mean_loss
from accord.models.qvalues import QScorer, load_q
from accord.models.scalar import RewardModel
from accord.protocols import Judge, Scorer
from accord.records import Prompt, Sampling
from accord.runtime.device import pick_device
from accord.runtime.files import write_atomic
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import AlgorithmsConfig
from accord.settings.contesting import CHOSEN
from accord.stages.opening import Model, compute_dtype, load_model, locate, tokenised
from accord.stages.queueing import world_of
from accord.world import GoldJudge

PAGE_START, PAGE_END = "<!-- table: written by accord algorithms -->", "<!-- end of the table -->"
PROBE_STEPS = 3
"""Steps of the run that finds out how many steps a budget pays for."""
BATCH = 64
MAIN = "import accord.cli; accord.cli.main()"


@dataclass(frozen=True)
class Ground:
    """What every method is measured on."""

    prompts: list[Prompt]
    judge: Judge
    sft: Model
    utilities: list[float]
    """The judge's word on the SFT model's responses."""
    raw_text: list[list[int]]
    base_loss: float
    dtype: torch.dtype


@dataclass(frozen=True)
class Outcome:
    """One run of one method: what each of its responses is worth, and what it cost."""

    seed: int
    utilities: list[float]
    kl: float
    tax: float | None
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict[str, float])


def algorithms_stage(
    project: Project, config: AlgorithmsConfig, *, base: str, sft: str, reward: str, out: Path, dtype: str
) -> list[dict[str, Any]]:
    """Trains what is not trained yet, measures all of it, writes the rows to ``out`` after each method, and returns them.

    Raises:
        UsageError: the project has no world whose judge could decide.
        InputError: it has no prompts of held-out users.
        RunError: a method's command failed; names it and says why.
    """
    ground = _ground(project, config, base, sft, dtype)
    rows: list[dict[str, Any]] = []
    for method in config.chosen:
        found = [_outcome(project, config, ground, method, seed, sft, reward) for seed in config.numbers]
        rows.append(_row(config, ground, method, found))
        write_atomic(out, json.dumps(rows, indent=1) + "\n")
    return rows


def _ground(project: Project, config: AlgorithmsConfig, base: str, sft: str, dtype: str) -> Ground:
    judge = GoldJudge(world_of(project), rules="evaluation")
    with Store.open(project.store_url) as store:
        prompts = list(store.prompts(split="test"))[: config.prompts or None]
    if not prompts:
        raise InputError("the store has no prompts of held-out users", where=project.store_url)
    compute = compute_dtype(dtype)
    model, first = load_model(project, sft), load_model(project, base)
    raw_text = tokenised(project, first.format.tokenizer, min(first.format.context, 1024)).held_out()
    bare = Ground(prompts, judge, model, [], raw_text, mean_loss(first.lm, raw_text, dtype=compute), compute)
    utilities, _ = _spoken(bare, model, config, config.seed)
    return Ground(prompts, judge, model, utilities, raw_text, bare.base_loss, compute)


def _outcome(project: Project, config: AlgorithmsConfig, ground: Ground, method: str, seed: int, sft: str, reward: str) -> Outcome:
    if method in CHOSEN:
        scorer = _chooser(project, ground, method, seed, reward)
        utilities = _best(ground, scorer, config, seed)
        return Outcome(seed, utilities, best_of_n_kl(config.best_of), _tax(ground, ground.sft))
    name = f"{method}-s{seed}"
    run = _trained(project, config, method, name, seed, sft, reward)
    model = load_model(project, name)
    utilities, kl = _spoken(ground, model, config, config.seed)
    summary = run.summary
    return Outcome(seed, utilities, kl, _tax(ground, model), summary["seconds"], summary["peak_rss_mb"])


def _chooser(project: Project, ground: Ground, method: str, seed: int, reward: str) -> Scorer:
    if method == "best-of-n":
        return RewardModel(load_scalar_model(locate(project, reward)).to(pick_device()), dtype=ground.dtype)
    found = load_q(project.model(f"ilql-s{seed}"), ground.sft.lm)
    assert found, "ilql runs before q-best-of-n"
    return QScorer(found[0], dtype=ground.dtype)


def _trained(project: Project, config: AlgorithmsConfig, method: str, name: str, seed: int, sft: str, reward: str) -> Run:
    """The method's finished run under this name: as it stands, or its command run to the end."""
    run = Run(project.run(name), method, {})
    if run.done:
        return run
    asked = ["--sft", sft, "--seed", str(seed), *(() if method in ("dpo", "kto", "ilql") else ("--reward", reward))]
    if config.budget and method not in ("dpo", "kto", "ilql"):
        asked += _steps(project, config, method, name, asked)
    _command(project, method, name, asked)
    return run


def _steps(project: Project, config: AlgorithmsConfig, method: str, name: str, asked: Sequence[str]) -> list[str]:
    """As many steps as the budget pays for, by the time of a short run's last steps; decided once for a run."""
    flag = "--rounds" if method == "raft" else "--steps"
    decided = project.run(name) / "config.json"
    if decided.exists():
        return [flag, str(json.loads(decided.read_text("utf-8"))["config"][flag[2:]])]
    probe = Run(project.run(f"{name}-probe"), method, {})
    if not probe.done:
        _command(project, method, f"{name}-probe", [*asked, flag, str(PROBE_STEPS)])
    lines = (probe.folder / "metrics.jsonl").read_text("utf-8").splitlines()[1:]
    spent = [sum(value for key, value in json.loads(line).items() if key.startswith("seconds_")) for line in lines]
    return [flag, str(max(1, int(config.budget / (sum(spent) / len(spent)))))]


def _command(project: Project, method: str, name: str, asked: Sequence[str]) -> None:
    line = [sys.executable, "-c", MAIN, method, str(project.path), "--name", name, "--resume", *asked]
    done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise RunError(
            f"{method} ended with exit code {done.returncode}: {said}", where=name, hint="mend it and run the same command again"
        )


@torch.no_grad()
def _spoken(ground: Ground, model: Model, config: AlgorithmsConfig, seed: int) -> tuple[list[float], float]:
    """What the judge makes of one response to each prompt, and the KL to the SFT model in nats a response (k1).

    The log-probabilities are those of the distribution that was drawn from, a guide included.
    """
    ids = [model.format.prompt(prompt.messages) for prompt in ground.prompts]
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=ground.dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    order, utilities, total = sorted(range(len(ids)), key=lambda i: len(ids[i])), [0.0] * len(ids), 0.0
    for number, start in enumerate(range(0, len(order), BATCH)):
        part = order[start : start + BATCH]
        drawn = sampler.sample([ids[i] for i in part], n=1, sampling=sampling, generator=generator(seed, "algorithms", model.name, number))
        rows = drawn.rows()
        for i, row in zip(part, rows, strict=True):
            utilities[i] = ground.judge.judge(ground.prompts[i], model.format.text(row)).utility
        batch = pack([[*ids[i], *row] for i, row in zip(part, rows, strict=True)], [len(row) for row in rows]).to(ground.sft.lm.device)
        reference, _ = logprobs(ground.sft.lm, batch, dtype=ground.dtype, temperature=config.temperature)
        total += float((drawn.logprobs[drawn.keep] - reference.cpu()).double().sum())
    return utilities, total / len(ids)


def _best(ground: Ground, scorer: Scorer, config: AlgorithmsConfig, seed: int) -> list[float]:
    """What the judge makes of the candidate that the scorer likes best."""
    model, n = ground.sft, config.best_of
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=ground.dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    utilities: list[float] = []
    for number, start in enumerate(range(0, len(ground.prompts), BATCH)):
        asked = ground.prompts[start : start + BATCH]
        ids = [model.format.prompt(prompt.messages) for prompt in asked]
        rows = sampler.sample(ids, n=n, sampling=sampling, generator=generator(seed, "algorithms", "best-of-n", number)).rows()
        scores: list[float] = scorer.score([prompt for prompt in ids for _ in range(n)], rows).tolist()
        utilities += [ground.judge.judge(asked[i // n], model.format.text(rows[i])).utility for i in best_of_n(scores, n)]
    return utilities


def _tax(ground: Ground, model: Model) -> float:
    return alignment_tax(ground.base_loss, mean_loss(model.lm, ground.raw_text, dtype=ground.dtype)).tax


def _row(config: AlgorithmsConfig, ground: Ground, method: str, found: Sequence[Outcome]) -> dict[str, Any]:
    """A method's line: means over seeds; the interval resamples prompts, each with the mean of what the seeds won on it."""
    won = [outcomes(one.utilities, ground.utilities) for one in found]
    mean, low, high = interval(np.mean(won, axis=0), resamples=config.bootstrap, seed=config.seed)
    seeds = [
        {
            "seed": one.seed,
            "win_rate": round(float(each.mean()), 4),
            "utility": round(float(np.mean(one.utilities)), 4),
            "kl": round(one.kl, 3),
            "tax": _rounded(one.tax),
            "seconds": one.seconds,
            "peak_rss_mb": one.peak_rss_mb,
        }
        for one, each in zip(found, won, strict=True)
    ]
    return {
        "method": method,
        "win_rate": round(mean, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "utility": round(float(np.mean([one.utilities for one in found])), 4),
        "kl": round(float(np.mean([one.kl for one in found])), 3),
        "tax": _rounded(float(np.mean([one.tax for one in found if one.tax is not None]))),
        "seconds": round(float(np.mean([one.seconds for one in found])), 1),
        "peak_rss_mb": max(one.peak_rss_mb for one in found),
        "seeds": seeds,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as docs/algorithms.md shows them."""
    lines = [
        "| method | preferred to SFT | each seed | gold utility | KL, nats | tax | seconds | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = f"{row['win_rate']:.0%} ({row['low']:.0%} to {row['high']:.0%})".replace("%", "", 1).replace("% to", " to")
        each = " ".join(f"{one['win_rate']:.0%}" for one in row["seeds"])
        cost = f"{row['seconds']:.0f} | {row['peak_rss_mb']:,.0f}" if row["seconds"] else "none | none"
        lines.append(f"| {row['method']} | {rate} | {each} | {row['utility']:.2f} | {row['kl']:.2f} | {row['tax']:.1%} | {cost} |")
    return "\n".join(lines)


def read_page(page: Path) -> str:
    """The text of a page that has a place for the table.

    Raises:
        InputError: there is no such page, or it has no such marks.
    """
    text = page.read_text("utf-8") if page.is_file() else ""
    if PAGE_START not in text or PAGE_END not in text:
        raise InputError("the page has no place for the table", where=str(page), hint=f"put {PAGE_START} and {PAGE_END} into it")
    return text


def write_page(page: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts the table between the page's marks; raises as ``read_page`` does."""
    before, rest = read_page(page).split(PAGE_START)
    write_atomic(page, f"{before}{PAGE_START}\n\n{as_markdown(rows)}\n\n{PAGE_END}{rest.split(PAGE_END)[1]}")
