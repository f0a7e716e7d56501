"""`accord grpo`: improve the SFT model by comparing the responses to a prompt with each other.

Needs an SFT model, training prompts and a reward (a reward model, unless --rewards names another). Leaves models/NAME.
Follows Shao et al. 2024 (GRPO), except as algorithms/grpo.py says.
"""

from __future__ import annotations

from typing import Annotated

from accord.algorithms import grpo as algorithm
from accord.commands.app import Flat, Name, ProjectPath, Reward, RunFlags, Sft, TrainFlags
from accord.commands.train.samples import learn_from_samples
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import GrpoConfig


def grpo(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "grpo",
    flags: TrainFlags = RunFlags(),
    config: Annotated[GrpoConfig, Flat] = GrpoConfig(),
) -> Run:
    """Improve the SFT model by comparing the responses to a prompt with each other.

    Example: accord grpo my-town --group-size 8 --scale none --loss constant

    Raises:
        ModelError: a model is missing, or the reward model reads another tokenizer's ids.
        InputError: there are no training prompts, or none that the rewards can be given for.
    """
    opened = Project.open(project)
    return learn_from_samples(opened, algorithm, config, stage="grpo", sft=sft, reward=reward, name=name, flags=flags)
