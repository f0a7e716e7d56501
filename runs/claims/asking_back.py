"""An agent that learns over whole conversations asks back when a request is ambiguous, and one that learns from its first reply does not.

The world's errands leave the street out in half of the requests, and the user tells it when asked. Four policies start from one SFT
model, whose demonstrations ask back in a quarter of the open requests: GRPO and PPO, over conversations and on the first reply alone.
All of them learn from the same user's satisfaction. What is compared is the gold over conversations about held-out errands.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import frame as claims
import torch

from accord import (
    GrpoConfig,
    Labeler,
    LocalSampler,
    Message,
    PpoConfig,
    PretrainConfig,
    Project,
    RunFlags,
    Sampling,
    SftConfig,
    Store,
    add,
    create,
    grpo,
    load_model,
    ppo,
    pretrain,
    sft,
)
from accord.algorithms.episodes import EpisodeSampler
from accord.commands.models import training_dtype
from accord.environments.opened import open_environment
from accord.records import PromptTokens
from accord.settings.mixins import Episodes
from accord.world.errands import QUESTION, WRITER, demonstrations, errands, gold, prompt, wished

SEEDS = (0, 1, 2)
TRAINING, HELD_OUT = 1200, 300
SHAPE: dict[str, Any] = {"vocab_size": 420, "hidden_size": 96, "layers": 2, "heads": 3, "intermediate_size": 256, "context": 128}
RL: dict[str, Any] = {"environment": "errands", "max_tokens": 24, "batch_size": 64, "minibatch_size": 64, "lr": 3e-4, "steps": 30}
CRITIC: dict[str, Any] = {"ptx_coef": 0.0, "value_lr": 1e-3}
FLAGS = RunFlags(resume=True, dtype="float32")
"""A policy this sure of itself has distributions that bfloat16 rounds by more than the gate allows."""


def begun(folder: Path, seed: int) -> Project:
    """A project of one seed: a base model that has read such conversations, and the SFT model that all policies start from."""
    if (folder / "accord.toml").exists():
        return Project.open(folder)
    project, given = create(folder), errands(seed, TRAINING + HELD_OUT)
    said = list(demonstrations(given[:TRAINING], seed))
    add(project, [Labeler(WRITER, "simulated"), *(each.prompt for each in said), *said])
    add(project, [prompt(errand, number, seed, "test") for number, errand in enumerate(given[TRAINING:])])
    turns = [[*each.prompt.messages, Message("assistant", each.text)] for each in said]
    texts = ["\n".join(f"{'A' if turn.role == 'assistant' else 'Q'}: {turn.content}" for turn in whole) for whole in turns]
    add(project, [{"text": text} for text in texts])
    pretrain(project, config=PretrainConfig(seed=seed, tokens=400_000, **SHAPE))
    sft(project, config=SftConfig(seed=seed, epochs=2, lr=1e-3, ptx_tokens=0, select="last"))
    return project


@dataclass(frozen=True)
class Measured:
    """What a policy does on held-out errands."""

    gold: float
    gold_open: float
    asks_open: float
    """Share of the open requests that it asks back about, and of the clear ones."""
    asks_clear: float


def measured(project: Project, name: str) -> Measured:
    """Talk with the users of the held-out errands, and hold what was said to the gold."""
    model = load_model(project, name)
    with Store.open(project.store_url) as store:
        held_out = list(store.prompts(split="test"))
    environments = open_environment("errands", project.path, seconds=60, at_once=8)
    drawn_by = LocalSampler(model.lm, stop=model.format.stop, dtype=training_dtype("float32"))
    talks = EpisodeSampler(drawn_by, environments, model.format, Episodes(environment="errands", max_turns=3), window=SHAPE["context"])
    asked = [PromptTokens(model.format.prompt(each.messages), each) for each in held_out]
    drawn = talks.sample(asked, n=1, sampling=Sampling(max_tokens=24), generator=torch.Generator().manual_seed(7))
    scores, asks, wishes = list[float](), list[bool](), [wished(each) for each in held_out]
    for wish, episode in zip(wishes, drawn.episodes or [], strict=True):
        replies = [message.content for message in episode.messages if message.role == "assistant"]
        scores.append(gold(wish, replies))
        asks.append(bool(replies) and replies[0].strip() == QUESTION)
    open_, clear = ([i for i, wish in enumerate(wishes) if wish.open is which] for which in (True, False))
    return Measured(fmean(scores), fmean(scores[i] for i in open_), fmean(asks[i] for i in open_), fmean(asks[i] for i in clear))


def by_seed(folder: Path, seed: int) -> dict[str, Measured]:
    project = begun(folder / f"errands-{seed}", seed)
    grpo(project, name="whole", flags=FLAGS, config=GrpoConfig(seed=seed, **RL))
    grpo(project, name="first", flags=FLAGS, config=GrpoConfig(seed=seed, **RL, max_turns=1))
    ppo(project, name="whole-ppo", flags=FLAGS, config=PpoConfig(seed=seed, **RL, **CRITIC))
    ppo(project, name="first-ppo", flags=FLAGS, config=PpoConfig(seed=seed, **RL, **CRITIC, max_turns=1))
    found = {name: measured(project, name) for name in ("sft", "first", "first-ppo", "whole", "whole-ppo")}
    for name, each in found.items():
        print(f"seed {seed}  {name:10} {each}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("folder", type=Path, help="a new folder for the projects, one a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    asked = parser.parse_args()
    each = [by_seed(asked.folder, seed) for seed in asked.seeds]
    source = "after the idea of Ouyang et al. 2022, section 5.3"

    def ahead(of: str, policy: str = "whole") -> list[float]:
        return [found[policy].gold - found[of].gold for found in each]

    claims.save(
        [
            claims.row("GRPO over conversations is above SFT in gold", ahead("sft"), claims.above(0.0), source=source),
            claims.row("GRPO over conversations is above PPO on the first reply", ahead("first-ppo"), claims.above(0.0), source=source),
            claims.row("GRPO over conversations is above GRPO on the first reply", ahead("first"), claims.above(0.0), source=source),
            claims.row(
                "PPO over conversations is above PPO on the first reply", ahead("first-ppo", "whole-ppo"), claims.above(0.0), source=source
            ),
            claims.row(
                "It asks back about open requests more often than about clear ones",
                [found["whole"].asks_open - found["whole"].asks_clear for found in each],
                claims.above(0.5),
                source=source,
            ),
        ]
    )


if __name__ == "__main__":
    main()
