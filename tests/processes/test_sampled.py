"""The methods that learn from their own samples, by two processes against one: the same prompts, tokens, rewards and losses.

Every method takes three steps once in this process and once as two that torchrun starts. Sums in another order may flip a token whose
random number lies on the border of two tokens: from there on the runs differ, and the flip must be explained by rounding.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from sampled import RUNS, STEPS, Asked, Outcome
from tiny import llama, same
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
ROUNDING = 1e-5
"""How far from the border of two tokens rounding may carry a random number."""
LEARNED = [name for name in RUNS if name != "sampler"]


@dataclass(frozen=True)
class Ran:
    """A run's outcome in each process, and its metrics."""

    processes: list[Outcome]
    metrics: list[dict[str, float]]


def torchrun(folder: Path, *names: str, die: str = "", seconds: float = 240) -> int:
    """Run methods as two processes and return the exit code. ``die`` names a process, and the request at which it kills itself."""
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(HERE / "sampled.py"), str(folder), *names]
    alone = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "DIE": die}
    with subprocess.Popen([sys.executable, "-m", *words], env=alone, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert die or process.returncode == 0, errors
    return process.returncode


def metrics(folder: Path) -> list[dict[str, float]]:
    """Return a run's metrics but those that depend on the clock."""
    lines = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
    return [{name: value for name, value in json.loads(line).items() if "second" not in name} for line in lines]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    folder = tmp_path_factory.mktemp("two")
    torchrun(folder)
    return {name: Ran(outcomes(folder, name), metrics(folder / name)) for name in RUNS}


def outcomes(folder: Path, name: str) -> list[Outcome]:
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    folder = tmp_path_factory.mktemp("one")
    return {name: Ran([run(folder / name)], metrics(folder / name)) for name, run in RUNS.items()}


@pytest.mark.parametrize("name", RUNS)
def test_both_processes_hold_the_same_bits(name: str, two: dict[str, Ran]) -> None:
    first, second = two[name].processes
    assert same(first.weights, second.weights)
    assert same(first.more, second.more)
    if name == "server":
        assert not second.asked, "a server is asked once"
        return
    for mine, theirs in zip(first.asked, second.asked, strict=True):
        assert torch.equal(mine.generation.tokens, theirs.generation.tokens)
        assert torch.equal(mine.generation.logprobs, theirs.generation.logprobs)


@pytest.mark.parametrize("name", RUNS)
def test_prompts_are_the_same_and_tokens_until_a_flip_by_rounding(name: str, one: dict[str, Ran], two: dict[str, Ran]) -> None:
    alone, together = one[name].processes[0].asked, two[name].processes[0].asked
    assert len(alone) == len(together) > 0
    flips = first_flips(alone, together)
    for mine, theirs in zip(alone[: until(flips, len(alone))], together, strict=False):
        assert mine.prompts == theirs.prompts
        assert torch.equal(mine.generation.finished, theirs.generation.finished)
        assert torch.allclose(mine.generation.logprobs, theirs.generation.logprobs, atol=1e-5)
    for number, row, step, other in flips:
        assert on_the_border(alone[number], row, step, other), f"request {number}, row {row}, token {step} is no matter of rounding"


@pytest.mark.parametrize("name", LEARNED)
def test_losses_and_rewards_are_those_of_one_process(name: str, one: dict[str, Ran], two: dict[str, Ran]) -> None:
    flips = first_flips(one[name].processes[0].asked, two[name].processes[0].asked)
    asked = len(one[name].processes[0].asked)
    steps = STEPS if not flips else until(flips, asked) * STEPS // asked  # a step asks once, or as often as the others
    assert len(two[name].metrics) == STEPS
    for row, expected in list(zip(two[name].metrics, one[name].metrics, strict=True))[:steps]:
        near = 1e-6 if row["step"] == 1 else 1e-5
        assert list(row) == list(expected)
        for figure, value in expected.items():
            assert row[figure] == pytest.approx(value, rel=near, abs=near), (row["step"], figure)
    if not flips:
        first, alone = two[name].processes[0], one[name].processes[0]
        for found, wanted in ((first.weights, alone.weights), (first.more, alone.more)):
            assert all(torch.allclose(found[key], tensor, atol=1e-5) for key, tensor in wanted.items())


@pytest.mark.parametrize("name", LEARNED)
def test_a_reward_function_is_asked_for_each_row_once_and_by_one_process(name: str, one: dict[str, Ran], two: dict[str, Ran]) -> None:
    first, second = two[name].processes
    assert (first.counted, second.counted) == (one[name].processes[0].counted, 0)


def test_a_flip_is_told_from_a_fault() -> None:
    asked = RUNS["sampler"](Path()).asked[0]
    row, step = 2, 1
    token = asked.generation.rows()[row][step]
    assert not on_the_border(asked, row, step, (token + 20) % 60)
    borders = cdf(asked, row, step)
    assert on_the_border(asked, row, step, token + 1, random=float(borders[token]) - 1e-7)
    assert not on_the_border(asked, row, step, token + 1, random=float(borders[token]) - 1e-3)


def test_a_process_that_is_killed_is_missed_and_the_resumed_run_has_the_same_bits(two: dict[str, Ran], tmp_path: Path) -> None:
    assert torchrun(tmp_path, "grpo", die="1 3") != 0
    assert torchrun(tmp_path, "ppo", die="0 3") != 0
    for name in ("grpo", "ppo"):
        assert 0 < len(metrics(tmp_path / name)) < STEPS, "it was over before it was killed, or had not begun"
    torchrun(tmp_path, "grpo", "ppo")
    for name in ("grpo", "ppo"):
        for found, wanted in zip(outcomes(tmp_path, name), two[name].processes, strict=True):
            assert same(found.weights, wanted.weights)
            assert same(found.more, wanted.more)
        assert metrics(tmp_path / name) == two[name].metrics


# --- flips ---


def first_flips(alone: list[Asked], together: list[Asked]) -> list[tuple[int, int, int, int]]:
    """Return the first difference in each row of the first request that differs: request, row, step and the other token."""
    for number, (mine, theirs) in enumerate(zip(alone, together, strict=False)):
        flips: list[tuple[int, int, int, int]] = []
        for row, (one, other) in enumerate(zip(mine.generation.rows(), theirs.generation.rows(), strict=True)):
            differing = [step for step, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
            if differing or len(one) != len(other):
                step = differing[0] if differing else min(len(one), len(other)) - 1
                flips.append((number, row, step, other[step]))
        if flips:
            return flips
    return []


def until(flips: list[tuple[int, int, int, int]], requests: int) -> int:
    """Return how many requests were answered alike."""
    return flips[0][0] if flips else requests


def cdf(asked: Asked, row: int, step: int) -> Tensor:
    """Return the cumulative probabilities of a row's next token by transformers' own forward pass."""
    model = LlamaForCausalLM(LlamaConfig.from_dict(llama().config.to_dict()))
    model.load_state_dict(asked.weights)
    ids = [*asked.prompts[row // asked.n], *asked.generation.rows()[row][:step]]
    with torch.no_grad():
        return (model(input_ids=torch.tensor([ids])).logits[0, -1] / asked.sampling.temperature).double().softmax(-1).cumsum(-1)


def on_the_border(asked: Asked, row: int, step: int, other: int, random: float | None = None) -> bool:
    """Return whether the random number of a row's step lies within rounding of every border between its token and another."""
    steps = asked.sampling.max_tokens
    table = torch.rand(steps, len(asked.prompts) * asked.n, generator=generator_at(asked.random))
    point = float(table[step, row]) if random is None else random
    low, high = sorted((asked.generation.rows()[row][step], other))
    borders = cdf(asked, row, step)
    return all(abs(point - float(borders[token])) < ROUNDING for token in range(low, high))


def generator_at(state: Tensor) -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(state)
    return generator
