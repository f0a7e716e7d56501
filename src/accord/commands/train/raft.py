"""`accord raft`: fine-tune the SFT model on the best of its own responses, round after round.

Needs an SFT model, training prompts and a reward (a reward model, unless --rewards names another). Leaves models/NAME.
Follows Dong et al. 2023 (RAFT), except as algorithms/raft.py says.
"""

from __future__ import annotations

from typing import Annotated

from accord.algorithms import raft as algorithm
from accord.commands.app import Flat, Name, ProjectPath, Reward, RunFlags, Sft, TrainFlags
from accord.commands.train.samples import learn_from_samples
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import RaftConfig


def raft(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "raft",
    flags: TrainFlags = RunFlags(),
    config: Annotated[RaftConfig, Flat] = RaftConfig(),
) -> Run:
    """Fine-tune the SFT model on the best of its own responses, round after round.

    Example: accord raft my-town --rounds 1 --group-size 16

    Raises:
        ModelError: a model is missing, or the reward model reads another tokenizer's ids.
        InputError: there are no training prompts, or none that the rewards can be given for.
    """
    opened = Project.open(project)
    return learn_from_samples(opened, algorithm, config, stage="raft", sft=sft, reward=reward, name=name, flags=flags)
