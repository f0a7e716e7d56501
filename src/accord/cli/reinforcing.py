"""The stages that learn from the policy's own responses without a value model."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, Resume, app, report_run
from accord.settings import GrpoConfig, RaftConfig, ReinforceConfig, RlooConfig

Sft = Annotated[str, Parameter(help="The SFT model: where the policy starts and what its KL is measured to.")]
Reward = Annotated[str, Parameter(help="The reward model, where the rewards name it.")]


def _grpo(project: ProjectPath, config: GrpoConfig, *, sft: str, reward: str, name: str, resume: bool, json: bool, dtype: str) -> None:
    from accord.runtime.project import Project
    from accord.stages.reinforcing import grpo_stage

    run = grpo_stage(Project.open(project), config, sft_model=sft, reward_model=reward, name=name, resume=resume, dtype=dtype)
    report_run(config.stage, name, run, json)


@app.command
def grpo(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "grpo",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[GrpoConfig, Flat] = GrpoConfig(),
) -> None:
    """Improves the SFT model by comparing the responses to a prompt with each other.

    Example: accord grpo my-town --group-size 8 --scale none --loss constant
    """
    _grpo(project, config, sft=sft, reward=reward, name=name, resume=resume, json=json, dtype=dtype)


@app.command
def rloo(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "rloo",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[RlooConfig, Flat] = RlooConfig(),
) -> None:
    """Improves the SFT model by REINFORCE, each response against the mean of its group's others.

    Example: accord rloo my-town --group-size 4 --kl-coef 0.05
    """
    _grpo(project, config, sft=sft, reward=reward, name=name, resume=resume, json=json, dtype=dtype)


@app.command
def reinforce(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "reinforce",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[ReinforceConfig, Flat] = ReinforceConfig(),
) -> None:
    """Improves the SFT model by REINFORCE++, one response a prompt, advantages whitened over the batch.

    Example: accord reinforce my-town --steps 60
    """
    _grpo(project, config, sft=sft, reward=reward, name=name, resume=resume, json=json, dtype=dtype)


@app.command
def raft(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "raft",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[RaftConfig, Flat] = RaftConfig(),
) -> None:
    """Fine-tunes the SFT model on the best of its own responses, round after round.

    Example: accord raft my-town --rounds 1 --group-size 16
    """
    from accord.runtime.project import Project
    from accord.stages.reinforcing import raft_stage

    run = raft_stage(Project.open(project), config, sft_model=sft, reward_model=reward, name=name, resume=resume, dtype=dtype)
    report_run("raft", name, run, json)
