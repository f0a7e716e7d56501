"""The stage that asks whether it worked: every model answers held-out users' prompts and the gold judge compares them.

Only here does the gold judge meet a model's words, after all training is over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.evaluation.best_of_n import best_of_n
from accord.evaluation.reward_accuracy import gold_accuracy
from accord.evaluation.statistics import Interval, best_of_n_kl, interval
from accord.evaluation.tax import alignment_tax
from accord.evaluation.truth import made_up_share
from accord.evaluation.winrate import CRITERIA, compare, judge_all
from accord.feedback.agreement import pairwise_agreement, single_label_accuracy
from accord.feedback.store import Store
from accord.models.folders import load_scalar_model
from accord.models.packing import by_tokens, pack
from accord.models.policy import logprobs, mean_loss
from accord.models.scalar import RewardModel
from accord.protocols import Judge
from accord.records import Judgement, Prompt, Response, Sampling
from accord.runtime import lineage
from accord.runtime.device import pick_device
from accord.runtime.files import write_atomic
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import EvaluateConfig
from accord.stages.asking import respond, world_of
from accord.stages.opening import Model, compute_dtype, digest_of, finishing, load_model, locate, tokenised
from accord.world import HELD_OUT_GROUP, GoldJudge

GROUPS_FOR_GOLD = 4
"""Responses a prompt on which the reward model is held against the truth."""


@dataclass(frozen=True)
class System:
    """A model as it was evaluated: what it said to each prompt and what the judge made of it."""

    name: str
    responses: list[Response]
    judgements: list[Judgement]


def evaluate_stage(
    project: Project, config: EvaluateConfig, *, base: str, sft: str, reward: str, policies: Sequence[str], name: str, dtype: str
) -> Run:
    """Compares base, SFT, best-of-n and policies on held-out users' prompts by gold; writes summary.json into the project.

    The first policy is "ppo" in the summary; one whose name ends in "no-ptx" is the run without pretraining mix.
    """
    world = world_of(project)
    judge = GoldJudge(world, rules="evaluation")
    with Store.open(project.store_url) as store:
        prompts = list(store.prompts(split="test"))[: config.prompts or None]
        groups = {person.id: person.group for person in store.labelers()}
        agreement = pairwise_agreement(r for r in store.rankings() if groups[r.labeler] != HELD_OUT_GROUP).dropped
    if not prompts:
        raise InputError("the store has no prompts of held-out users", where=project.store_url)
    names = [base, sft, *policies]
    inputs = {model: digest_of(locate(project, model)) for model in [*names, reward]}
    run = Run.start(project.run(name), stage="evaluate", config=config, inputs=inputs, resume=False, seed=config.seed)
    with finishing(run) as figures:
        compute = compute_dtype(dtype)
        models = {model: load_model(project, model) for model in names}
        scorer = RewardModel(load_scalar_model(locate(project, reward)).to(pick_device()), dtype=compute)
        systems = {model: _asked(models[model], judge, prompts, config, compute) for model in names}
        chosen, accuracy = _best_of_n(models[sft], scorer, judge, prompts, config, compute)
        systems["best-of-n"] = chosen
        figures |= _win_rates(prompts, systems, base, sft, policies, config)
        figures["kl"] = {policy: _kl(models[policy], models[sft], systems[policy], prompts, compute) for policy in policies}
        figures["kl"]["best_of_n"] = round(best_of_n_kl(config.best_of), 3)
        figures["alignment_tax"], figures["raw_text_loss"] = _taxes(project, models, base, compute)
        figures["hallucination"] = _hallucination(world, judge, prompts, models, config, compute)
        figures["criteria"] = {model: _criteria(system) for model, system in systems.items()}
        figures["reward_model"] = {"accuracy_gold": _three(accuracy)} | _trained_accuracy(project, reward)
        figures["agreement"] = _three(agreement)
        figures["reward_model"]["noise_ceiling"] = round(single_label_accuracy(agreement.mean), 4)
        run.samples(0, _side_by_side(prompts, systems))
    write_atomic(
        project.path / "summary.json", json.dumps(_summary(project, run, sft, base, policies), indent=2, ensure_ascii=False) + "\n"
    )
    return run


def _asked(model: Model, judge: Judge, prompts: Sequence[Prompt], config: EvaluateConfig, dtype: torch.dtype) -> System:
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    groups, _ = respond(model, sampler, prompts, n=1, sampling=sampling, seed=config.seed, batch_size=128)
    responses = [group[0] for group in groups]
    return System(model.name, responses, judge_all(judge, prompts, [response.text for response in responses]))


def _best_of_n(
    sft: Model, scorer: RewardModel, judge: Judge, prompts: Sequence[Prompt], config: EvaluateConfig, dtype: torch.dtype
) -> tuple[System, Interval]:
    """The SFT model's best of n by the reward model, and how that model orders the first few of the n against the truth."""
    sampler = LocalSampler(sft.lm, stop=sft.format.stop, dtype=dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    groups, _ = respond(sft, sampler, prompts, n=config.best_of, sampling=sampling, seed=config.seed + 1, batch_size=32)
    flat = [response for group in groups for response in group]
    ids = [sft.format.prompt(prompt.messages) for prompt in prompts for _ in range(config.best_of)]
    scores: list[float] = scorer.score(ids, [list(response.tokens) for response in flat]).tolist()
    best = [flat[i] for i in best_of_n(scores, config.best_of)]
    few = min(GROUPS_FOR_GOLD, config.best_of)
    rows = range(0, len(flat), config.best_of)
    gold = [[judge.judge(prompts[i // config.best_of], flat[i + k].text).utility for k in range(few)] for i in rows]
    accuracy = gold_accuracy([scores[i : i + few] for i in rows], gold, resamples=config.bootstrap, seed=config.seed)
    return System("best-of-n", best, judge_all(judge, prompts, [response.text for response in best])), accuracy


def _win_rates(
    prompts: Sequence[Prompt], systems: dict[str, System], base: str, sft: str, policies: Sequence[str], config: EvaluateConfig
) -> dict[str, Any]:
    duels = [(sft, base), *((policy, sft) for policy in policies), ("best-of-n", sft), *((policy, "best-of-n") for policy in policies)]
    rates, ties, by_case = dict[str, list[float]](), dict[str, float](), dict[str, dict[str, list[float]]]()
    for one, other in duels:
        won = compare(prompts, systems[one].judgements, systems[other].judgements, resamples=config.bootstrap, seed=config.seed)
        rates[f"{one}_vs_{other}"], ties[f"{one}_vs_{other}"] = _three(won.interval), round(won.ties, 4)
        by_case[f"{one}_vs_{other}"] = {case: _three(rate) for case, rate in won.by_use_case.items()}
    return {"win_rate": rates, "ties": ties, "win_rate_by_use_case": by_case, "prompts": len(prompts)}


@torch.no_grad()
def _kl(policy: Model, sft: Model, system: System, prompts: Sequence[Prompt], dtype: torch.dtype) -> float:
    """Mean of log policy - log SFT over the policy's own responses, in nats a response (k1)."""
    rows = [[*policy.format.prompt(prompt.messages), *response.tokens] for prompt, response in zip(prompts, system.responses, strict=True)]
    total = 0.0
    for group in by_tokens([len(row) for row in rows], 16_384):
        batch = pack([rows[i] for i in group], [len(system.responses[i].tokens) for i in group]).to(policy.lm.device)
        ours, _ = logprobs(policy.lm, batch, dtype=dtype)
        theirs, _ = logprobs(sft.lm, batch, dtype=dtype)
        total += float((ours - theirs).double().sum())
    return round(total / len(rows), 3)


def _taxes(project: Project, models: dict[str, Model], base: str, dtype: torch.dtype) -> tuple[dict[str, float], dict[str, float]]:
    """Loss on the raw text that no stage trained on: each model's, and its relative rise over the base model's."""
    validation = tokenised(project, models[base].format.tokenizer, min(models[base].format.context, 1024)).held_out()
    losses = {name: mean_loss(model.lm, validation, dtype=dtype) for name, model in models.items()}
    taxes = {name: round(alignment_tax(losses[base], loss).tax, 4) for name, loss in losses.items() if name != base}
    return taxes, {name: round(loss, 4) for name, loss in losses.items()}


def _hallucination(
    world: Any, judge: Judge, prompts: Sequence[Prompt], models: dict[str, Model], config: EvaluateConfig, dtype: torch.dtype
) -> dict[str, list[float]]:
    """Share of made-up answers where the fact asked for never stood in the raw text, several draws a prompt."""
    asked = [prompt for prompt in prompts if world.fact_class(prompt.id) == "absent"]
    if not asked:
        return {}
    shares = dict[str, Interval]()
    for name, model in models.items():
        drawn = zip(asked, _drawn(model, asked, config, dtype), strict=True)
        judged = [[judge.judge(prompt, text) for text in texts] for prompt, texts in drawn]
        shares[name] = made_up_share(judged, resamples=config.bootstrap, seed=config.seed)
    return {name: _three(share) for name, share in shares.items()}


def _drawn(model: Model, prompts: Sequence[Prompt], config: EvaluateConfig, dtype: torch.dtype) -> list[list[str]]:
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    groups, _ = respond(model, sampler, prompts, n=config.draws, sampling=sampling, seed=config.seed + 2, batch_size=64)
    return [[response.text for response in group] for group in groups]


def _criteria(system: System) -> dict[str, float]:
    means = {name: interval([getattr(word, name) for word in system.judgements], resamples=1).mean for name in CRITERIA}
    return {name: round(mean, 4) for name, mean in means.items()}


def _trained_accuracy(project: Project, reward: str) -> dict[str, float]:
    figures: dict[str, float] = lineage.read(project.model(reward)).get("figures", {}) if reward in project.models() else {}
    return {key: round(figures[key], 4) for key in ("accuracy_labelers", "accuracy_heldout_group") if key in figures}


def _side_by_side(prompts: Sequence[Prompt], systems: dict[str, System]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": "\n".join(message.content for message in prompt.messages),
            "use_case": prompt.use_case,
            "responses": {name: system.responses[i].text for name, system in systems.items()},
            "utilities": {name: round(system.judgements[i].utility, 4) for name, system in systems.items()},
        }
        for i, prompt in enumerate(prompts)
    ]


def _summary(project: Project, run: Run, sft: str, base: str, policies: Sequence[str]) -> dict[str, Any]:
    """What `make demo` leaves as summary.json: the figures under fixed names, and time and memory by stage."""
    runs = {name: Run(project.run(name), name, {}).summary for name in project.runs()}
    seconds = {name: figures["seconds"] for name, figures in runs.items() if "seconds" in figures}
    speeds = {name: _median_speed(project, name) or figures.get("tokens_per_second") for name, figures in runs.items()}
    figures = run.summary
    ppo, plain = policies[0], next((name for name in policies if name.endswith("no-ptx")), "")
    rate, made_up, tax = figures["win_rate"], figures["hallucination"], figures["alignment_tax"]
    duels = {"sft_vs_base": f"{sft}_vs_{base}", "ppo_vs_sft": f"{ppo}_vs_{sft}", "bon_vs_sft": f"best-of-n_vs_{sft}"}
    duels |= ({"ppo_no_ptx_vs_sft": f"{plain}_vs_{sft}"} if plain else {}) | {"ppo_vs_bon": f"{ppo}_vs_best-of-n"}
    return {
        "seconds": seconds | {"total": round(sum(seconds.values()), 1)},
        "tokens_per_second": {name: round(speed) for name, speed in speeds.items() if speed},
        "peak_rss_mb": max(figures.get("peak_rss_mb", 0) for figures in runs.values()),
        "agreement": figures["agreement"],
        "reward_model": figures["reward_model"],
        "win_rate": {name: rate[duel] for name, duel in duels.items()},
        "ties": {name: figures["ties"][duel] for name, duel in duels.items()},
        "kl": figures["kl"],
        "alignment_tax": {"sft": tax[sft], "ppo_ptx": tax[ppo]} | ({"ppo_no_ptx": tax[plain]} if plain else {}),
        "hallucination": {key: made_up[name] for key, name in (("base", base), ("sft", sft), ("ppo", ppo)) if name in made_up},
        "criteria": figures["criteria"],
    }


def _median_speed(project: Project, name: str) -> float | None:
    path = project.run(name) / "metrics.jsonl"
    if not path.exists():
        return None
    speeds = sorted(
        row["tokens_per_second"] for row in map(json.loads, path.read_text("utf-8").splitlines()) if row.get("tokens_per_second")
    )
    return speeds[len(speeds) // 2] if speeds else None


def _three(value: Iterable[float]) -> list[float]:
    return [round(float(number), 4) for number in value]
