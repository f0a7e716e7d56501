"""An environment of verifiers of three turns: what the model is shown and earns, its tools, and that GRPO learns in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import verifiers as vf
from chat_of_verifiers import conversation, double, right
from datasets import Dataset
from played import ROW, laid_by_hand, learned, one, three_turns

from accord.environments.hosted import Environments
from accord.environments.opened import open_environment
from accord.environments.verifiers_env import VerifiersEpisode
from accord.errors import UsageError
from accord.records import Message

pytestmark = pytest.mark.filterwarnings("ignore")  # the package's own dependencies warn


def opened() -> Environments:
    environment = conversation()
    return Environments(lambda: VerifiersEpisode(environment), name="verifiers", seconds=30, deterministic=False)


def test_an_episode_is_played_in_the_packages_own_environment() -> None:
    assert three_turns(opened()) == [0.0, 0.0, 1.375], "a rubric scores at the end"


def test_an_episode_is_recorded_as_a_hand_would_lay_it() -> None:
    laid_by_hand(opened())


def test_grpo_learns_in_it(tmp_path: Path) -> None:
    first, last = learned(tmp_path / "run", opened(), steps=14)
    assert last > first + 0.3, (first, last)


def test_a_tool_of_verifiers_is_called_by_the_turns_text() -> None:
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": "What is twice 4?"}], "answer": "8"}])
    environment = vf.ToolEnv(dataset=rows, rubric=vf.Rubric(funcs=[right]), tools=[double], max_turns=4)
    environments = Environments(lambda: VerifiersEpisode(environment), seconds=30, deterministic=False)
    said = list(one(environments, "reset", ROW).messages)
    call = Message("assistant", '<tool_call>{"name": "double", "arguments": {"number": 4}}</tool_call>')
    reply = one(environments, "step", [*said, call])
    assert [(message.role, message.content) for message in reply.messages] == [("tool", "8")]
    reply = one(environments, "step", [*said, call, *reply.messages, Message("assistant", "It is 8.")])
    assert (reply.reward, reply.done) == (1.0, True)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        open_environment("verifiers:no-such-environment", tmp_path, seconds=1, at_once=1)


def test_the_opening_is_all_that_a_row_says_before_the_models_first_turn() -> None:
    """A system turn and turns of an example, which are not the policy's; behind them only what is new."""
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say one."},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "Speak."},
    ]
    environments = opened()
    said = list(one(environments, "reset", {**ROW, "messages": asked}).messages)
    assert [{"role": message.role, "content": message.content} for message in said] == asked
    reply = one(environments, "step", [*said, Message("assistant", "abc")])
    assert [message.content for message in reply.messages] == ["Turn 1."]
