"""`accord rloo`: improve the SFT model by REINFORCE, each response against the mean of its group's others.

Needs an SFT model, training prompts and a reward (a reward model, unless --rewards names another). Leaves models/NAME.
Follows Ahmadian et al. 2024 (RLOO), except as algorithms/grpo.py says.
"""

from __future__ import annotations

from typing import Annotated

from accord.algorithms import grpo as algorithm
from accord.commands.app import Flat, Name, ProjectPath, Reward, RunFlags, Sft, TrainFlags
from accord.commands.train.samples import learn_from_samples
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import RlooConfig


def rloo(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "rloo",
    flags: TrainFlags = RunFlags(),
    config: Annotated[RlooConfig, Flat] = RlooConfig(),
) -> Run:
    """Improve the SFT model by REINFORCE, each response against the mean of its group's others.

    Example: accord rloo my-town --group-size 4 --kl-coef 0.05

    Raises:
        ModelError: a model is missing, or the reward model reads another tokenizer's ids.
        InputError: there are no training prompts, or none that the rewards can be given for.
    """
    opened = Project.open(project)
    return learn_from_samples(opened, algorithm, config, stage="rloo", sft=sft, reward=reward, name=name, flags=flags)
