"""The stage that draws reward against KL: `accord frontier`. The policies that a run kept, best-of-n from its SFT model, and Gao's fits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from accord.engine.local import LocalSampler
from accord.errors import InputError, RunError
from accord.evaluation.frontier import Fit, Kind, best_of_n_values, fit, resampled, stop_at
from accord.evaluation.statistics import Floats, Interval, best_of_n_kl, interval
from accord.models.adapters import add_lora
from accord.models.packing import by_tokens, pack
from accord.models.policy import logprobs
from accord.models.quantised import quantised
from accord.records import Prompt, Response, Sampling
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import FrontierConfig
from accord.stages.answering import held_out
from accord.stages.asking import respond
from accord.stages.comparing import forget, plain
from accord.stages.judging import Rewarder
from accord.stages.opening import Model, compute_dtype, digest_of, finishing, load_model, locate
from accord.stages.queueing import world_of
from accord.world import GoldJudge

LOGGED = 400
"""Logged steps that are written down; a longer run is thinned."""
SHOWN = 40
"""Prompts whose responses are written down for each policy."""


@dataclass(frozen=True)
class Point:
    """A policy on the held-out prompts; every array is [prompts]."""

    step: int
    kl: Floats
    proxy: Floats
    gold: Floats | None
    words: Floats
    texts: list[str]


@dataclass(frozen=True)
class Judges:
    """Who gives the rewards: the proxy that was optimised, and what stands for the truth."""

    proxy: Rewarder
    gold: GoldJudge | Rewarder | None
    gold_name: str

    def of_proxy(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> Floats:
        return np.array(self.proxy.scores(prompts, texts))

    def of_gold(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> Floats | None:
        if isinstance(self.gold, GoldJudge):
            return np.array([self.gold.judge(prompt, text).utility for prompt, text in zip(prompts, texts, strict=True)])
        return None if self.gold is None else np.array(self.gold.scores(prompts, texts))


def frontier_stage(
    project: Project, config: FrontierConfig, *, run: str, name: str, gold: str = "", again: bool = False, dtype: str = "auto"
) -> Run:
    """Measures every kept policy of a run, and best-of-n, on held-out prompts.

    Args:
        run: an RL run of the project that learned from a reward model.
        gold: a second reward model that stands for the truth; empty takes the built-in world's judge, where there is one.

    Raises:
        InputError: there is no such run, it had no reward model, or it kept no policy and saved no model.
    """
    asked = _asked(project, run)
    sft, proxy, prompts = *_parents(project, asked, run), held_out(project, split="test", limit=config.prompts)
    judge = gold or ("gold" if "world" in project.settings else "")
    inputs = {"sft": digest_of(locate(project, sft)), "reward": digest_of(locate(project, proxy)), "gold": judge}
    steps = Run(project.run(run), "", {}).kept()
    if not steps and run not in project.models():
        raise InputError("the run kept no policy and saved no model", where=str(project.run(run)), hint="accord ppo --keep-every 5")
    if again:
        forget(project, name, "frontier")
    made = Run.start(project.run(name), stage="frontier", config=config, inputs=inputs, resume=False, seed=config.seed)
    with finishing(made) as figures:
        compute = compute_dtype(dtype)
        truth = None if not judge else GoldJudge(world_of(project)) if judge == "gold" else Rewarder.open(project, judge, compute)
        judges = Judges(Rewarder.open(project, proxy, compute), truth, judge)
        reference = load_model(project, sft)
        first, many = _best_of(reference, judges, prompts, config, compute)
        points = [first, *(_measured(m, s, reference, judges, prompts, config, compute) for s, m in _policies(project, asked, run, sft))]
        best = [_best_row(many, n) for n in _powers(config.best_of)]
        figures |= plain(_figures(points, many, best, judges, config) | {"run": run, "sft": sft, "proxy": proxy, "prompts": len(prompts)})
        figures["logged"] = _logged(project, run)
        for point in points:
            made.log(point.step, **_means(point))
            made.samples(point.step, _rows(point, prompts))
    return made


def _asked(project: Project, run: str) -> dict[str, Any]:
    """The run's config.json. Raises InputError when there is none."""
    file = project.run(run) / "config.json"
    if not file.is_file():
        raise InputError("there is no such run", where=str(file.parent), hint=f"it has: {', '.join(project.runs()) or 'none yet'}")
    return json.loads(file.read_text("utf-8"))


def _parents(project: Project, asked: dict[str, Any], run: str) -> tuple[str, str]:
    """The models that the run started from and was rewarded by, found by their digests."""
    digests = {digest_of(str(project.model(name))): name for name in project.models()}
    inputs = asked.get("inputs", {})
    found = [digests.get(inputs.get(key, "")) for key in ("sft", "reward")]
    if found[0] is None or found[1] is None:
        missing = "SFT model" if found[0] is None else "reward model"
        hint = "its models must be as they were when it ran; a run without a reward model has no frontier"
        raise InputError(f"the run's {missing} is not among the project's models", where=str(project.run(run)), hint=hint)
    return found[0], found[1]


def _policies(project: Project, asked: dict[str, Any], run: str, sft: str) -> Iterator[tuple[int, Model]]:
    """Every policy with its step: those that were kept, and the saved model where it is a later one."""
    kept, settings = Run(project.run(run), "", {}), asked["config"]
    for step in kept.kept():
        model = load_model(project, sft)
        lm = quantised(model.lm) if settings.get("lora_bits") else model.lm
        lm = add_lora(lm, settings["lora_rank"], generator(0, "frontier")) if settings.get("lora_rank") else lm
        lm.load_state_dict(kept.policy(step)["policy"])
        yield step, Model(f"{run}@{step}", lm.eval(), model.format, f"{model.digest} {run} {step}")
    last = int(settings.get("steps") or settings.get("rounds") or 0)
    if run in project.models() and last not in kept.kept():
        yield last, load_model(project, run)


def _measured(
    model: Model, step: int, reference: Model, judges: Judges, prompts: Sequence[Prompt], config: FrontierConfig, dtype: torch.dtype
) -> Point:
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    groups, _ = respond(model, sampler, prompts, n=1, sampling=sampling, seed=config.seed, batch_size=64)
    said = [group[0] for group in groups]
    texts = [response.text for response in said]
    kl = kl_rows(model, reference, prompts, said, temperature=config.temperature, dtype=dtype)
    return Point(step, kl, judges.of_proxy(prompts, texts), judges.of_gold(prompts, texts), _words(texts), texts)


@torch.no_grad()
def kl_rows(
    policy: Model, reference: Model, prompts: Sequence[Prompt], said: Sequence[Response], *, temperature: float, dtype: torch.dtype
) -> Floats:
    """Of each response, the sum over its tokens of log policy - log reference, in nats (k1); its mean estimates the KL without bias."""
    rows = [[*policy.format.prompt(prompt.messages), *response.tokens] for prompt, response in zip(prompts, said, strict=True)]
    kl = np.zeros(len(rows))
    for group in by_tokens([len(row) for row in rows], 16_384):
        counts = [len(said[i].tokens) for i in group]
        batch = pack([rows[i] for i in group], counts).to(policy.lm.device)
        ours, _ = logprobs(policy.lm, batch, dtype=dtype, temperature=temperature)
        theirs, _ = logprobs(reference.lm, batch, dtype=dtype, temperature=temperature)
        parts = torch.split((ours - theirs).double().cpu(), counts)
        kl[group] = [float(part.sum()) for part in parts]
    return kl


def _best_of(
    sft: Model, judges: Judges, prompts: Sequence[Prompt], config: FrontierConfig, dtype: torch.dtype
) -> tuple[Point, dict[str, Floats]]:
    """The SFT model as step 0, averaged over its N responses a prompt, and their rewards: [prompts, N]."""
    sampler = LocalSampler(sft.lm, stop=sft.format.stop, dtype=dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    groups, _ = respond(sft, sampler, prompts, n=config.best_of, sampling=sampling, seed=config.seed + 1, batch_size=32)
    texts = [response.text for group in groups for response in group]
    asked = [prompt for prompt in prompts for _ in range(config.best_of)]
    shape = (len(prompts), config.best_of)
    proxy, gold = judges.of_proxy(asked, texts).reshape(shape), judges.of_gold(asked, texts)
    many = {"proxy": proxy} | ({} if gold is None else {"gold": gold.reshape(shape)})
    firsts = [group[0].text for group in groups]
    mean = None if gold is None else many["gold"].mean(1)
    return Point(0, np.zeros(len(prompts)), proxy.mean(1), mean, _words(texts).reshape(shape).mean(1), firsts), many


def _powers(most: int) -> list[int]:
    """1, 2, 4 ... and the largest n itself."""
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


def _best_row(many: dict[str, Floats], n: int) -> dict[str, Any]:
    return {"n": n, "kl": best_of_n_kl(n)} | {name: best_of_n_values(many["proxy"], values, n) for name, values in many.items()}


def _figures(
    points: Sequence[Point], many: dict[str, Floats], best: Sequence[dict[str, Any]], judges: Judges, config: FrontierConfig
) -> dict[str, Any]:
    """docs/frontier.md defines each."""
    draw = {"resamples": config.bootstrap, "seed": config.seed}
    names = ["proxy", "gold"] if "gold" in many else ["proxy"]
    found: dict[str, Any] = {
        "gold_by": judges.gold_name,
        "policies": [
            {"step": p.step, "kl": interval(p.kl, **draw), "words": float(p.words.mean())} | {n: interval(_of(p, n), **draw) for n in names}
            for p in points
        ],
        "best_of_n": [{"n": row["n"], "kl": row["kl"]} | {name: interval(row[name], **draw) for name in names} for row in best],
    }
    tables: dict[Kind, Floats] = {
        "rl": np.stack([np.stack([p.kl, p.proxy, *([p.gold] if p.gold is not None else [])], axis=1) for p in points], axis=1),
        "best_of_n": np.stack(
            [np.stack([np.full(len(row["proxy"]), row["kl"]), *(row[name] for name in names)], axis=1) for row in best], axis=1
        ),
    }
    found["fits"] = {kind: _fits(kind, table, names) for kind, table in tables.items()}
    if "gold" in names:
        few = {"resamples": min(config.bootstrap, 500), "seed": config.seed}
        peaks = {kind: resampled(table, partial(_peak, kind), **few) for kind, table in tables.items()}
        found["gold_peak"] = {kind: None if peak is None else list(peak) for kind, peak in peaks.items()}
        found["stop"] = _stop(points, draw)
    return found


def _of(point: Point, name: str) -> Floats:
    return point.proxy if name == "proxy" or point.gold is None else point.gold


def _curve(kind: Kind, means: Floats, column: int) -> Fit:
    """Fits [points, columns] means, rewards counted from the first point's."""
    return fit(kind, means[:, 0].tolist(), (means[:, column] - means[0, column]).tolist())


def _fits(kind: Kind, table: Floats, names: Sequence[str]) -> dict[str, Any]:
    """alpha, beta and r2 by reward; nothing where there are too few points."""
    means: Floats = table.mean(0)
    try:
        curves = {name: _curve(kind, means, column) for column, name in enumerate(names, 1)}
    except InputError:
        return {}
    return {name: {"alpha": c.alpha, "beta": c.beta, "r2": c.r2, "peak_kl": c.peak} for name, c in curves.items()}


def _peak(kind: Kind, means: Floats) -> float | None:
    try:
        return _curve(kind, means, 2).peak
    except InputError:
        return None


def _stop(points: Sequence[Point], draw: dict[str, int]) -> dict[str, Any]:
    """Where the gold reward stops to rise, and how much is certainly lost by going on to the last policy."""
    gold = np.stack([_of(point, "gold") for point in points])
    place = stop_at([float(point.kl.mean()) for point in points], gold, **draw)
    chosen, last = points[place], points[-1]
    lost = interval(_of(chosen, "gold") - _of(last, "gold"), **draw)
    return {
        "step": chosen.step,
        "kl": float(chosen.kl.mean()),
        "gold": interval(gold[place], **draw),
        "lost_by_going_on": lost,
        "overoptimised": lost.low > 0,
        "line": _line(chosen, last, lost),
    }


def _line(chosen: Point, last: Point, lost: Interval) -> str:
    if chosen.step == last.step:
        return f"Go on: at step {last.step} the gold reward was still rising."
    gained = f"{-lost.mean:+.3f} ({-lost.high:+.3f} to {-lost.low:+.3f})"
    cost = f"going on to step {last.step} changes the gold reward by {gained}"
    more = f"{last.kl.mean() - chosen.kl.mean():.2f} nats more KL"
    return f"Stop at step {chosen.step}: {cost}, for {more}." if lost.low > 0 else f"Step {chosen.step} is enough: {cost}, for {more}."


def _means(point: Point) -> dict[str, float]:
    gold = {} if point.gold is None else {"gold": float(point.gold.mean())}
    return {"kl": float(point.kl.mean()), "proxy": float(point.proxy.mean()), "words": float(point.words.mean())} | gold


def _rows(point: Point, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    return [
        plain(
            {"prompt_id": prompt.id, "prompt": prompt.messages[-1].content, "response": text}
            | {"kl": float(point.kl[i]), "proxy": float(point.proxy[i])}
            | ({} if point.gold is None else {"gold": float(point.gold[i])})
        )
        for i, (prompt, text) in enumerate(zip(prompts[:SHOWN], point.texts, strict=False))
    ]


def _words(texts: Sequence[str]) -> Floats:
    return np.array([len(text.split()) for text in texts], dtype=np.float64)


def _logged(project: Project, run: str) -> list[list[float | None]]:
    """[step, kl_k1, reward] as the run logged them on its training prompts, thinned. Raises RunError when a line is broken."""
    file = project.run(run) / "metrics.jsonl"
    if not file.exists():
        return []
    try:
        rows = [json.loads(line) for line in file.read_text("utf-8").split("\n")[:-1]]
    except ValueError as error:
        raise RunError("is no JSON lines file", where=str(file)) from error
    thin = rows[:: max(1, len(rows) // LOGGED)]
    return [[row["step"], row.get("kl_k1"), row.get("reward")] for row in thin]
