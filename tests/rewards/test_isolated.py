"""Rewards in a process of their own: what crashes, hangs, or eats memory there ends in an error that names the row."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from accord.errors import RunError, UsageError
from accord.records import Message
from accord.rewards import isolated
from accord.rewards.isolated import IsolatedFunction, Verified
from accord.rewards.rows import ONE, Said

SOURCE = """
import os, signal, sys, time

def reward(prompts, responses, answer=None, **columns):
    print("a word that is no answer")
    for response in responses:
        if response == "crash": os.kill(os.getpid(), signal.SIGSEGV)
        if response == "leave": os._exit(3)
        if response == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(60)
        if response == "eat": bytearray(3 << 30)
        if response == "raise": raise KeyError("politeness")
    return {"length": [len(response) for response in responses], "turns": [float(len(prompt)) for prompt in prompts]}

def pid(prompts, responses): return [os.getpid()] * len(responses)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "apart_rewards.py").write_text(SOURCE)
    return tmp_path


def said(*responses: str) -> list[Said]:
    asked = (Message("user", "Hi"),)
    return [Said(asked, response, {"answer": "x"}, f"p{place}") for place, response in enumerate(responses)]


def test_a_function_apart_answers_as_one_here_and_its_prints_disturb_nothing(folder: Path) -> None:
    part = IsolatedFunction("apart_rewards:reward", "function", str(folder))
    assert part.asks.wanted == ("answer",)
    assert part.score(said("a", "bcd")) == {"length": [1.0, 3.0], "turns": [1.0, 1.0]}
    apart = IsolatedFunction("apart_rewards:pid", "function", str(folder)).score(said("a"))[ONE]
    assert apart != [os.getpid()]


def test_what_breaks_its_process_names_the_row_and_the_next_call_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "GRACE", 1.0)
    part = IsolatedFunction("apart_rewards:reward", "function", str(folder), seconds=20, memory_mb=1024)
    for response, what in {
        "crash": r"killed by SIGSEGV, for response 2 of the batch \(to prompt p2\)",
        "leave": r"ended with code 3, for response 2",
        "eat": r"raised MemoryError: .*for response 2",
        "raise": r"raised KeyError: 'politeness', for response 2",
    }.items():
        with pytest.raises(RunError, match=what):
            part.score(said("a", "b", response, "d"))
        assert part.score(said("a"))["length"] == [1.0]
    quick = IsolatedFunction("apart_rewards:reward", "function", str(folder), seconds=0.5)
    began = time.monotonic()
    with pytest.raises(RunError, match=r"did not come back within 0\.5 s"):
        quick.score(said("hang"))
    assert time.monotonic() - began < 10


def test_a_function_that_is_not_there_is_told_as_it_is_here(folder: Path) -> None:
    with pytest.raises(UsageError, match="rewards, apart_rewards:nothing: cannot be imported"):
        IsolatedFunction("apart_rewards:nothing", "function", str(folder)).score(said("a"))


def test_a_verifier_gives_up_on_a_text_that_it_cannot_judge_in_time_and_goes_on() -> None:
    part = Verified("r", "regex", "^(a+)+$", seconds=1)
    assert part.score(said("aaa", "a" * 40 + "b", "b", "aa")) == {ONE: [1.0, 0.0, 0.0, 1.0]}
    assert part.counts["timed_out"] == 1
