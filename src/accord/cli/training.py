"""The stages that train or sample a model."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, Resume, app, report_run
from accord.settings import PpoConfig, PretrainConfig, RewardConfig, SampleConfig, SftConfig


@app.command
def pretrain(
    project: ProjectPath,
    *,
    name: Name = "base",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[PretrainConfig, Flat] = PretrainConfig(),
) -> None:
    """Trains a tokenizer and a small decoder on the project's raw text.

    Example: accord pretrain my-town --tokens 1000000
    """
    from accord.runtime.project import Project
    from accord.stages.training import pretrain_stage

    report_run("pretrain", name, pretrain_stage(Project.open(project), config, name=name, resume=resume, dtype=dtype), json)


@app.command
def sft(
    project: ProjectPath,
    *,
    base: Annotated[str, Parameter(help="Base model: a name, a folder or a hub name.")] = "base",
    name: Name = "sft",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[SftConfig, Flat] = SftConfig(),
) -> None:
    """Fine-tunes a model on demonstrations, loss on response tokens only.

    Example: accord sft my-project --base HuggingFaceTB/SmolLM2-135M --lora-rank 16
    """
    from accord.runtime.project import Project
    from accord.stages.training import sft_stage

    report_run("sft", name, sft_stage(Project.open(project), config, base=base, name=name, resume=resume, dtype=dtype), json)


@app.command
def sample(
    project: ProjectPath,
    *,
    model: Annotated[str, Parameter(help="Who answers.")] = "sft",
    name: Name = "sample",
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[SampleConfig, Flat] = SampleConfig(),
) -> None:
    """Samples K responses a prompt for people to rank.

    Example: accord sample my-town --model sft --k 6
    """
    from accord.runtime.project import Project
    from accord.stages.asking import sample_stage

    report_run("sample", name, sample_stage(Project.open(project), config, model=model, name=name, dtype=dtype), json)


@app.command
def reward(
    project: ProjectPath,
    *,
    sft: Annotated[str, Parameter(help="The SFT model it starts from.")] = "sft",
    name: Name = "reward",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[RewardConfig, Flat] = RewardConfig(),
) -> None:
    """Trains a reward model on the rankings.

    Example: accord reward my-town --sft sft --held-out-group caring
    """
    from accord.runtime.project import Project
    from accord.stages.training import reward_stage

    report_run("reward", name, reward_stage(Project.open(project), config, sft_model=sft, name=name, resume=resume, dtype=dtype), json)


@app.command
def ppo(
    project: ProjectPath,
    *,
    sft: Annotated[str, Parameter(help="The SFT model: where the policy starts and what the KL penalty holds it to.")] = "sft",
    reward: Annotated[str, Parameter(help="The reward model.")] = "reward",
    name: Name = "ppo",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[PpoConfig, Flat] = PpoConfig(),
) -> None:
    """Improves the SFT model against the reward model under a KL penalty.

    Example: accord ppo my-town --steps 60 --kl-coef 0.05
    """
    from accord.runtime.project import Project
    from accord.stages.training import ppo_stage

    run = ppo_stage(Project.open(project), config, sft_model=sft, reward_model=reward, name=name, resume=resume, dtype=dtype)
    report_run("ppo", name, run, json)
