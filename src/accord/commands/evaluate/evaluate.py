"""`accord evaluate`: compare base, SFT, best-of-n and policies on held-out users' prompts by the world's gold judge.

Needs a base model, an SFT model, a reward model, policies, and the built-in world. Leaves a run with the answers side by side, and
summary.json in the project. Win rates follow Ouyang et al. 2022, section 3.6. Only here does the gold judge meet a model's words,
after all training is over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath, RunName, shows
from accord.commands.evaluate import evaluate_metrics as measure
from accord.commands.evaluate.evaluate_metrics import JudgedSystem, rounded
from accord.commands.evaluate.evaluate_summary import print_summary, summary_of
from accord.commands.evaluate.held_out import held_out_prompts_by_id
from accord.commands.models import Model, compute_dtype, digest_of, load_model, load_reward_model, locate, respond
from accord.commands.world import world_of
from accord.engine.local import LocalSampler
from accord.evaluation.best_of_n import best_of_n
from accord.evaluation.reward_accuracy import gold_accuracy
from accord.evaluation.run_facts import note_alarms
from accord.evaluation.statistics import Interval, best_of_n_kl
from accord.evaluation.win_rate import judge_all
from accord.feedback.agreement import single_label_accuracy
from accord.models.scalar import RewardModel
from accord.protocols import Judge
from accord.records import Prompt, Response, Sampling
from accord.runtime.device import choose_device
from accord.runtime.files import write_atomic
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import EvaluateConfig
from accord.world import GoldJudge

BEST_OF_N = "best-of-n"
GROUPS_FOR_GOLD = 4
"""Responses per prompt on which the reward model is checked against gold."""


@shows(print_summary)
def evaluate(
    project: ProjectPath,
    *,
    base: Annotated[str, Parameter(help="Base model.")] = "base",
    sft: Annotated[str, Parameter(help="SFT model.")] = "sft",
    reward: Annotated[str, Parameter(help="Reward model, for best-of-n.")] = "reward",
    policy: Annotated[tuple[str, ...], Parameter(help="Policies to compare, best first.", negative="")] = ("ppo",),
    name: RunName = "evaluate",
    flags: ComputeFlags = Compute(),
    config: Annotated[EvaluateConfig, Flat] = EvaluateConfig(),
) -> dict[str, Any]:
    """Compare the models on held-out users' prompts by the world's gold judge, and write summary.json.

    The first policy is "ppo" in the summary; one whose name ends in "no-ptx" is the run without pretraining mix.

    Example: accord evaluate my-town --policy ppo --policy ppo-no-ptx

    Raises:
        UsageError: the project has no built-in world.
        InputError: it has no prompts of held-out users.
        ModelError: a model is missing.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    world = world_of(opened)
    judge = GoldJudge(world, rules="evaluation")
    prompts = held_out_prompts_by_id(opened, config.prompts, known=world.specs)
    agreement = measure.training_agreement(opened)
    names = [base, sft, *policy]
    inputs = {model: digest_of(locate(opened, model)) for model in [*names, reward]}
    run = Run.start(opened.run(name), stage="evaluate", config=config, inputs=inputs, resume=False, seed=config.seed)
    with run.finishing() as metrics:
        models = {model: load_model(opened, model) for model in names}
        asker = Asker(judge, prompts, config, compute_dtype(flags.dtype))
        systems = {model: asker.answered(models[model]) for model in names}
        scorer = load_reward_model(locate(opened, reward), asker.dtype)
        systems[BEST_OF_N], accuracy = asker.best_of_n(models[sft], scorer)

        duels = [(sft, base), *((each, sft) for each in policy), (BEST_OF_N, sft), *((each, BEST_OF_N) for each in policy)]
        metrics |= measure.win_rates(prompts, systems, duels, config)
        metrics["kl"] = {each: measure.kl(models[each], models[sft], systems[each], prompts, asker.dtype) for each in policy}
        metrics["kl"]["best_of_n"] = round(best_of_n_kl(config.best_of), 3)
        metrics["alignment_tax"], metrics["raw_text_loss"] = measure.taxes(opened, models, base, asker.dtype)
        absent = [prompt for prompt in prompts if world.fact_class(prompt.id) == "absent"]
        metrics["hallucination"] = measure.hallucination(judge, absent, models, config, asker.dtype)
        metrics["criteria"] = {model: measure.criteria(system) for model, system in systems.items()}
        metrics["reward_model"] = {"accuracy_gold": rounded(accuracy)} | measure.trained_accuracy(opened, reward)
        metrics["agreement"] = rounded(agreement)
        metrics["reward_model"]["noise_ceiling"] = round(single_label_accuracy(agreement.mean), 4)
        run.samples(0, side_by_side(prompts, systems))
    note_alarms(run)
    summary = summary_of(opened, run.summary, base=base, sft=sft, policies=policy)
    write_atomic(opened.path / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


@dataclass(frozen=True)
class Asker:
    """Lets models answer the held-out prompts, and the judge judge."""

    judge: Judge
    prompts: Sequence[Prompt]
    config: EvaluateConfig
    dtype: torch.dtype

    def answered(self, model: Model) -> JudgedSystem:
        """Return one response to each prompt, with the judge's word on it."""
        groups = self._responses(model, n=1, seed=self.config.seed, batch_size=128)
        return self._judged([group[0] for group in groups])

    def best_of_n(self, sft: Model, scorer: RewardModel) -> tuple[JudgedSystem, Interval]:
        """Return the SFT model's best of n by the reward model, and how often that orders the first few of the n as gold does."""
        n = self.config.best_of
        groups = self._responses(sft, n=n, seed=self.config.seed + 1, batch_size=32)
        responses = [response for group in groups for response in group]
        ids = [sft.format.prompt(prompt.messages) for prompt in self.prompts for _ in range(n)]
        scores: list[float] = scorer.score(ids, [list(response.tokens) for response in responses]).tolist()
        best = [responses[i] for i in best_of_n(scores, n)]

        few = min(GROUPS_FOR_GOLD, n)
        gold: list[list[float]] = []
        for prompt, group in zip(self.prompts, groups, strict=True):
            gold.append([self.judge.judge(prompt, response.text).utility for response in group[:few]])
        rewards = [scores[start : start + few] for start in range(0, len(scores), n)]
        accuracy = gold_accuracy(rewards, gold, resamples=self.config.bootstrap, seed=self.config.seed)
        return self._judged(best), accuracy

    def _responses(self, model: Model, *, n: int, seed: int, batch_size: int) -> list[list[Response]]:
        sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=self.dtype)
        sampling = Sampling(temperature=self.config.temperature, max_tokens=self.config.max_tokens)
        groups, _ = respond(model, sampler, self.prompts, n=n, sampling=sampling, seed=seed, batch_size=batch_size)
        return groups

    def _judged(self, responses: list[Response]) -> JudgedSystem:
        return JudgedSystem(responses, judge_all(self.judge, self.prompts, [response.text for response in responses]))


def side_by_side(prompts: Sequence[Prompt], systems: dict[str, JudgedSystem]) -> list[dict[str, Any]]:
    """Return a row per prompt: every system's response and its utility."""
    return [
        {
            "prompt": "\n".join(message.content for message in prompt.messages),
            "use_case": prompt.use_case,
            "responses": {name: system.responses[i].text for name, system in systems.items()},
            "utilities": {name: round(system.judgements[i].utility, 4) for name, system in systems.items()},
        }
        for i, prompt in enumerate(prompts)
    ]
