"""The stages that learn from the policy's own responses without a value model: grpo, rloo, reinforce, raft."""

from __future__ import annotations

from typing import Any

from accord.algorithms import grpo, raft
from accord.engine.local import LocalSampler
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import GrpoConfig, RaftConfig
from accord.stages.opening import compute_dtype, digest_of, finishing, learner, load_model, locate, save
from accord.stages.rewarding import ask, mixture


def grpo_stage(project: Project, config: GrpoConfig, *, sft_model: str, reward_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Improves the SFT model by what ``config`` is of (GrpoConfig, RlooConfig, ReinforceConfig) and saves models/NAME."""
    return _stage(project, config, config.stage, grpo.train, sft_model, reward_model, name, resume, dtype)


def raft_stage(project: Project, config: RaftConfig, *, sft_model: str, reward_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Improves the SFT model by rejection sampling and saves models/NAME."""
    return _stage(project, config, "raft", raft.train, sft_model, reward_model, name, resume, dtype)


def _stage(
    project: Project, config: Any, stage: str, train: Any, sft_model: str, reward_model: str, name: str, resume: bool, dtype: str
) -> Run:
    source = locate(project, sft_model)
    asked = ask(project, config, reward_model, name)
    inputs = {"sft": digest_of(source), **asked.inputs}
    run = Run.start(project.run(name), stage=stage, config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        compute = compute_dtype(dtype)
        model = load_model(project, sft_model)
        spoken = model.format
        reference = model.lm if config.lora_rank else load_model(project, sft_model).lm
        policy = learner(model.lm, config, stage, "lora", apart=True)
        ids = [spoken.prompt(prompt.messages) for prompt in asked.prompts]
        rewards = mixture(asked, model, config, ids, compute)
        train(
            config,
            policy=policy,
            reference=reference,
            sampler=LocalSampler(policy, stop=spoken.stop, dtype=compute),
            rewards=rewards,
            prompts=ids,
            decode=spoken.tokenizer.decode,
            run=run,
            dtype=compute,
        )
        parents, data = {sft_model: inputs["sft"], **asked.parents}, asked.data
        save(project, name, policy, spoken.tokenizer, run, parents=parents, data=data, config=config, figures=figures)
    return run
