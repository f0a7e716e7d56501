"""`accord reinforce`: improve the SFT model by REINFORCE++, one response per prompt, advantages whitened over the batch.

Needs an SFT model, training prompts and a reward (a reward model, unless --rewards names another). Leaves models/NAME.
Follows Hu et al. 2025 (REINFORCE++), except as algorithms/grpo.py says.
"""

from __future__ import annotations

from typing import Annotated

from accord.algorithms import grpo as algorithm
from accord.commands.app import Flat, Name, ProjectPath, Reward, RunFlags, Sft, TrainFlags
from accord.commands.train.samples import learn_from_samples
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ReinforceConfig


def reinforce(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "reinforce",
    flags: TrainFlags = RunFlags(),
    config: Annotated[ReinforceConfig, Flat] = ReinforceConfig(),
) -> Run:
    """Improve the SFT model by REINFORCE++, one response per prompt, advantages whitened over the batch.

    Example: accord reinforce my-town --steps 60

    Raises:
        ModelError: a model is missing, or the reward model reads another tokenizer's ids.
        InputError: there are no training prompts, or none that the rewards can be given for.
    """
    opened = Project.open(project)
    return learn_from_samples(opened, algorithm, config, stage="reinforce", sft=sft, reward=reward, name=name, flags=flags)
