"""The stages that learn from the policy's own responses without a value model: grpo, rloo, reinforce, raft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import torch

from accord.algorithms import grpo, rejection
from accord.algorithms.rewards import (
    Ended,
    ExactAnswer,
    Function,
    Length,
    Mixture,
    PythonReward,
    Repetition,
    Term,
    final_answer,
    load_function,
    parse_rewards,
)
from accord.engine.local import LocalSampler
from accord.errors import InputError, UsageError
from accord.feedback.store import Store
from accord.models.adapters import add_lora
from accord.models.loading import load_scalar_model
from accord.models.scalar import RewardModel
from accord.protocols import Scorer
from accord.records import Demonstration, Prompt
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import GrpoConfig, RaftConfig
from accord.stages.opening import Model, compute_dtype, digest_of, finishing, frozen, load_model, locate, save
from accord.stages.training import same_tokenizer

OWN = {"model": "the reward model", "exact": "final answers", "length": "tokens", "repetition": "repeated n-grams", "eos": "the stop token"}


@dataclass(frozen=True)
class Asked:
    """What is to be learned: the terms of the reward, where each comes from, the prompts, and their answers where they have some."""

    terms: list[Term]
    reward_source: str
    functions: Mapping[str, Function]
    prompts: list[Prompt]
    answers: Mapping[str, Decimal]
    inputs: dict[str, str]


def grpo_stage(project: Project, config: GrpoConfig, *, sft_model: str, reward_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Improves the SFT model by what ``config`` is of (GrpoConfig, RlooConfig, ReinforceConfig) and saves models/NAME."""
    return _stage(project, config, config.stage, grpo.train, sft_model, reward_model, name, resume, dtype)


def raft_stage(project: Project, config: RaftConfig, *, sft_model: str, reward_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Improves the SFT model by rejection sampling and saves models/NAME."""
    return _stage(project, config, "raft", rejection.train, sft_model, reward_model, name, resume, dtype)


def _stage(
    project: Project, config: Any, stage: str, train: Any, sft_model: str, reward_model: str, name: str, resume: bool, dtype: str
) -> Run:
    source = locate(project, sft_model)
    asked = _asked(project, config.rewards, reward_model, name)
    inputs = {"sft": digest_of(source), **asked.inputs}
    run = Run.start(project.run(name), stage=stage, config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        compute = compute_dtype(dtype)
        model = load_model(project, sft_model)
        spoken = model.format
        policy = add_lora(model.lm, config.lora_rank, generator(config.seed, stage, "lora")) if config.lora_rank else model.lm
        ids = [spoken.prompt(prompt.messages) for prompt in asked.prompts]
        rewards = _mixture(asked, model, ids, config.reward_seconds, compute)
        train(
            config,
            policy=policy,
            reference=load_model(project, sft_model).lm,
            sampler=LocalSampler(policy, stop=spoken.stop, dtype=compute),
            rewards=rewards,
            prompts=ids,
            decode=spoken.tokenizer.decode,
            run=run,
            dtype=compute,
        )
        parents = {sft_model: inputs["sft"]} | ({reward_model: inputs["reward"]} if asked.reward_source else {})
        data = {key: digest for key, digest in inputs.items() if key in ("prompts", "answers")}
        save(project, name, policy, spoken.tokenizer, run, parents=parents, data=data, config=config, figures=figures)
    return run


def _asked(project: Project, rewards: str, reward_model: str, name: str) -> Asked:
    """Reads the reward's terms and freezes the prompts that they can be given for.

    Raises:
        UsageError: an unknown reward, or a Python function that cannot be imported.
        ModelError: the reward model is asked for and missing.
        InputError: there are no prompts, or none with a final answer where ``exact`` needs one.
    """
    terms, folder = parse_rewards(rewards), project.run(name)
    names = [term.name for term in terms]
    unknown = [each for each in names if each not in OWN and ":" not in each]
    if unknown:
        hint = f"known are {', '.join(OWN)} and module:function"
        raise UsageError(f"there is no reward {unknown[0]!r}", where="rewards", hint=hint)
    functions = {each: load_function(each, project.path) for each in names if ":" in each}
    source = locate(project, reward_model) if "model" in names else ""
    inputs, answers = {"reward": digest_of(source)} if source else {}, dict[str, Decimal]()
    with Store.open(project.store_url) as store:
        wanted = store.prompts(split="train")
        if "exact" in names:
            written, inputs["answers"] = frozen(folder / "answers.jsonl", Demonstration, _solved(store.demonstrations(split="train")))
            answers = {row.prompt.id: answer for row in written if (answer := final_answer(row.text)) is not None}
            wanted = (prompt for prompt in wanted if prompt.id in answers)
        prompts, inputs["prompts"] = frozen(folder / "prompts.jsonl", Prompt, wanted)
    if not prompts:
        missing = "demonstrations that end in #### and a number" if "exact" in names else "training prompts"
        raise InputError(f"the store has no {missing}", where=project.store_url, hint="`accord import` some")
    return Asked(terms, source, functions, prompts, answers, inputs)


def _solved(demonstrations: Any) -> list[Demonstration]:
    return [row for row in demonstrations if final_answer(row.text) is not None]


def _mixture(asked: Asked, model: Model, ids: Sequence[list[int]], seconds: float, dtype: torch.dtype) -> Mixture:
    """The reward as the terms want it; a Python function is tried once on the first prompt.

    Raises:
        ModelError: the reward model reads another tokenizer's ids.
        RunError: a Python function raises, hangs, or returns no number for each response.
    """
    spoken, parts = model.format, dict[str, Scorer]()
    shown = {tuple(tokens): prompt.messages[-1].content for tokens, prompt in zip(ids, asked.prompts, strict=True)}
    for name in (term.name for term in asked.terms):
        if name == "model":
            same_tokenizer(model, asked.reward_source)
            parts[name] = RewardModel(load_scalar_model(asked.reward_source).to(pick_device()), dtype=dtype)
        elif name == "exact":
            known = {tuple(tokens): asked.answers[prompt.id] for tokens, prompt in zip(ids, asked.prompts, strict=True)}
            parts[name] = ExactAnswer(known, spoken.text)
        elif name in asked.functions:
            parts[name] = PythonReward(name, asked.functions[name], lambda tokens: shown[tuple(tokens)], spoken.text, seconds)
        else:
            parts[name] = {"length": Length(), "repetition": Repetition(), "eos": Ended(spoken.stop)}[name]
    mixture = Mixture(asked.terms, parts)
    mixture.at(1, 1).score([ids[0]] * 2, [[spoken.stop[0]]] * 2)
    return mixture
