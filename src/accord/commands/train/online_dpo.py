"""`accord online-dpo`: learn from pairs of the policy's own responses, which a reward or an AI judge puts in order at every step.

Needs an SFT model, training prompts and a reward (a reward model, unless --rewards names another). Leaves models/NAME.
Follows Guo et al. 2024 (OAIF), except as algorithms/online_dpo.py says.
"""

from __future__ import annotations

from typing import Annotated

from accord.algorithms import online_dpo as algorithm
from accord.commands.app import Flat, Name, ProjectPath, Reward, RunFlags, Sft, TrainFlags
from accord.commands.train.samples import learn_from_samples
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import OnlineDpoConfig


def online_dpo(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "online-dpo",
    flags: TrainFlags = RunFlags(),
    config: Annotated[OnlineDpoConfig, Flat] = OnlineDpoConfig(),
) -> Run:
    """Learn from pairs of the policy's own responses, which a reward or an AI judge puts in order.

    Example: accord online-dpo my-town --rewards model --beta 0.05

    Raises:
        ModelError: a model is missing, or the reward model reads another tokenizer's ids.
        InputError: there are no training prompts, or none that the rewards can be given for.
    """
    opened = Project.open(project)
    return learn_from_samples(opened, algorithm, config, stage="online-dpo", sft=sft, reward=reward, name=name, flags=flags)
