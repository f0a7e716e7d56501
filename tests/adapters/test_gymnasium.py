"""A Gymnasium environment of three turns: what the model is shown and earns, and that GRPO learns in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import pytest
from played import ROW, brief, laid_by_hand, learned, one, three_turns

from accord.environments.hosted import Environments
from accord.environments.opened import open_environment
from accord.errors import UsageError
from accord.records import Message


class TextGame(gymnasium.Env[str, str]):
    def __init__(self) -> None:
        letters = "".join(map(chr, range(1024))) + "\ufffd"
        self.observation_space = gymnasium.spaces.Text(100, charset=letters)
        self.action_space = gymnasium.spaces.Text(1000, min_length=0, charset=letters)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.turn = 0
        return "Turn 0.", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        return f"Turn {self.turn}.", brief(action), self.turn == 3, False, {}


class NumberGame(gymnasium.Env[int, int]):
    def __init__(self) -> None:
        self.observation_space = self.action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return int(action), float(action), action == 3, False, {}


gymnasium.register("AccordText-v0", TextGame)
gymnasium.register("AccordNumber-v0", NumberGame)


def opened() -> Environments:
    return open_environment("gymnasium:AccordText-v0", Path(), seconds=30, at_once=16)


def test_an_episode_is_played_in_the_packages_own_environment() -> None:
    assert three_turns(opened()) == [0.25, 1.0, 0.125]


def test_an_episode_is_recorded_as_a_hand_would_lay_it() -> None:
    laid_by_hand(opened())


def test_grpo_learns_in_it(tmp_path: Path) -> None:
    first, last = learned(tmp_path / "run", opened(), steps=14)
    assert last > first + 0.3, (first, last)


def test_an_action_of_numbers_is_the_last_number_of_a_turn() -> None:
    environments = open_environment("gymnasium:AccordNumber-v0", Path(), seconds=30, at_once=1)
    said = list(one(environments, "reset", ROW).messages)
    assert said[-1].content == "Speak.\n\n0"
    reply = one(environments, "step", [*said, Message("assistant", "1 or rather 2")])
    assert (reply.messages[0].content, reply.reward, reply.done) == ("2", 2.0, False)
    reply = one(environments, "step", [*said, Message("assistant", "none")])
    assert (reply.reward, reply.done, dict(reply.info)) == (0.0, True, {"no_action": 1})


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        open_environment("gymnasium:NoSuch-v0", tmp_path, seconds=1, at_once=1)
