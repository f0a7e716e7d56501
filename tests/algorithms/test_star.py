"""Problems of the town's arithmetic, STaR, self-consistency: what is made, kept and learned, and that accuracy rises."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from conformance_run import Doomed, Killed
from hypothesis import given
from hypothesis import strategies as st
from tiny import END, FP32, ByFunction, llama, metrics, same, weights

from accord.algorithms import star
from accord.algorithms.rewards import ExactAnswer, final_answer, is_answer_key
from accord.algorithms.rollouts import Drawn
from accord.algorithms.star import Question, kept
from accord.engine.local import LocalSampler
from accord.errors import UsageError
from accord.evaluation.majority import majority, right
from accord.runtime.runs import Run
from accord.settings import SolveConfig, StarConfig
from accord.world.arithmetic import problems


@given(st.integers(0, 10**6), st.integers(3, 20), st.integers(1, 2))
def test_every_problems_rationale_leads_to_its_answer(seed: int, most: int, steps: int) -> None:
    """Each line of the rationale is true, uses only numbers at hand, and the last one gives the answer."""
    for problem in problems(seed, 12, most=most, steps=steps):
        numbers = {int(word) for word in re.findall(r"\d+", problem.prompt.messages[0].content)}
        lines = re.findall(r"(\d+) ([+-]) (\d+) = (\d+)\.", problem.rationale)
        assert 1 <= len(lines) <= steps
        for one, sign, other, result in lines:
            assert {int(one), int(other)} <= numbers
            assert int(one) + int(other) * (1 if sign == "+" else -1) == int(result)
            numbers.add(int(result))
        assert final_answer(problem.solution) == problem.answer == int(lines[-1][3])
        assert not is_answer_key(problem.solution)
        assert is_answer_key(problem.key)


def test_the_same_seed_gives_the_same_problems_and_no_text_twice() -> None:
    first, again, other = list(problems(1, 300)), list(problems(1, 300)), list(problems(2, 300))
    assert first == again != other
    assert len({problem.prompt.messages for problem in first}) == 300
    splits = {problem.prompt.user: problem.prompt.split for problem in first}
    assert set(splits.values()) == {"train", "validation", "test"}
    assert len({(problem.prompt.user, problem.prompt.split) for problem in first}) == len(splits)


def test_too_many_problems_of_small_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="different problems"):
        list(problems(0, 100_000, most=3, steps=1))


def answers(*texts: str | None) -> list[Decimal | None]:
    return [None if text is None else Decimal(text) for text in texts]


def test_the_majority_counts_and_silence_has_no_vote() -> None:
    assert majority(answers("4", None, "5", "4.0", None, None)) == 4
    assert majority(answers("5", "4", "4", "5")) == 5, "the first of equals"
    assert majority(answers(None, None)) is None
    assert right([answers("4"), answers("1", "2", "2"), answers(None)], [Decimal(4), Decimal(1), Decimal(3)]) == [1, 0, 0]


@given(st.lists(st.sampled_from(["1", "2", "3"]), min_size=1, max_size=9))
def test_more_votes_for_the_majority_change_nothing(said: list[str]) -> None:
    winner = majority(answers(*said))
    assert majority([*answers(*said), winner]) == winner


def drawn(responses: list[list[int]], scores: list[float], finished: list[bool]) -> Drawn:
    keep = torch.ones(len(responses), 3, dtype=torch.bool)
    return Drawn([[0]] * len(responses), responses, torch.tensor(finished), torch.tensor(scores).float(), keep, keep.float(), {})


def test_right_finished_and_different_rationales_are_kept_up_to_the_limit() -> None:
    responses = [[5, 1], [5, 1], [6, 1], [7, 1], [8, 9], [9, 1], [9, 2], [9, 3]]
    tried = drawn(responses, [1, 1, 1, 1, 1, 0, 0, 1], [True] * 4 + [False] + [True] * 3)
    config = StarConfig(attempts=4, kept=2)
    assert kept(config, [[0, 1], [0, 2]], tried) == [[[[0, 1], [5, 1]], [[0, 1], [6, 1]]], [[[0, 2], [9, 3]]]]
    unfinished = drawn(responses, [1.0] * 8, [False] * 8)
    assert kept(config, [[0, 1], [0, 2]], unfinished) == [[], []]


QUESTIONS = [Question([10 + i, 20 + i], [10 + i, 20 + i, 40 + i % 4]) for i in range(8)]
KEYS = {tuple(question.plain): Decimal(i % 4) for i, question in enumerate(QUESTIONS)}


def learned(folder: Path, policy: Any = None, run: Run | None = None, **asked: Any) -> tuple[Any, Run]:
    """Each problem's answer is its number's remainder by 4; a response gives that of its first token."""
    config = StarConfig(
        **{"rounds": 2, "batch_size": 8, "attempts": 4, "max_tokens": 3, "warmup_steps": 1, "warmup_share": 0.0, "lr": 1e-2, **asked}
    )
    policy = llama(1) if policy is None else policy
    run = run or Run.start(folder, stage="star", config=config, inputs={}, resume=False)
    star.train(
        config,
        policy=policy,
        sampler=LocalSampler(policy, stop=(END, *range(2, 30)), dtype=FP32),
        scorer=ExactAnswer(KEYS, lambda ids: f"#### {ids[0] % 4}"),
        questions=QUESTIONS,
        decode=lambda ids: " ".join(map(str, ids)),
        run=run,
        dtype=FP32,
    )
    return policy, run


def test_what_came_of_a_hint_is_learned_without_it(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"rounds": 8, "attempts": 2, "lr": 0.0}
    _, run = learned(tmp_path, **asked)
    rows, restored = metrics(run), run.restore()
    assert restored is not None
    pool = restored[1]["pool"]
    assert 0 < rows[0]["solved"] < 1
    assert sum(row["hinted"] for row in rows) > 0
    assert {tuple(prompt) for prompt, _ in pool} <= set(KEYS), "no hinted prompt is learned from"
    assert all(response[0] % 4 == KEYS[tuple(prompt)] for prompt, response in pool)
    _, without = learned(tmp_path / "without", **asked, hints=False)
    assert metrics(without)[-1]["pool"] < rows[-1]["pool"]


def test_a_round_without_a_right_answer_is_survived(tmp_path: Path) -> None:
    config = StarConfig(rounds=1, attempts=2, max_tokens=3)
    run, policy = Run.start(tmp_path, stage="star", config=config, inputs={}, resume=False), llama(1)
    star.train(
        config, policy=policy, sampler=LocalSampler(policy, stop=(END,), dtype=FP32), scorer=ByFunction(lambda _: 0.0),
        questions=QUESTIONS, decode=str, run=run, dtype=FP32,
    )  # fmt: skip
    assert same(weights(policy), weights(llama(1)))
    assert metrics(run)[0]["kept"] == 0


CHANGES: dict[str, Any] = {
    "seed": 1, "rounds": 3, "batch_size": 5, "attempts": 2, "kept": 1, "hints": False, "epochs": 1, "minibatch_size": 2, "restart": False,
    "lr": 1e-3, "muon_lr": 1e-2, "warmup_steps": 20, "temperature": 0.3, "max_tokens": 2, "max_grad_norm": 1e-3, "micro_tokens": 1,
    "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_epsilon": 1e-2, "weight_decay": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_something(name: str, tmp_path: Path) -> None:
    plain, changed = (learned(tmp_path / str(i), **asked)[0] for i, asked in enumerate(({}, {name: CHANGES[name]})))
    assert not same(weights(plain), weights(changed))


@pytest.mark.parametrize("asked", [{"restart": True}, {"restart": False}], ids=["anew", "onwards"])
def test_t40_twenty_rounds_are_ten_and_ten_resumed(asked: dict[str, Any], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"rounds": 20, "save_every": 10, "epochs": 1, "batch_size": 3, "attempts": 2, **asked}
    config = StarConfig(**{"batch_size": 8, "attempts": 4, "max_tokens": 3, "warmup_steps": 1, "warmup_share": 0.0, "lr": 1e-2, **settings})
    begun: dict[str, Any] = {"stage": "star", "config": config, "inputs": {}}
    whole = Run.start(tmp_path / "whole", **begun, resume=False)
    expected, _ = learned(tmp_path, run=whole, **settings)
    with pytest.raises(Killed):
        learned(tmp_path, run=Doomed.start(tmp_path / "cut", **begun, resume=False), **settings)
    cut = Run.start(tmp_path / "cut", **begun, resume=True)
    assert (cut.restore() or (0,))[0] == 10
    assert same(weights(learned(tmp_path, run=cut, **settings)[0]), weights(expected))
    assert metrics(cut) == metrics(whole)


@pytest.mark.parametrize(
    ("kind", "asked", "part"),
    [
        (StarConfig, {"rounds": 0}, "rounds"),
        (StarConfig, {"temperature": 0.0}, "temperature"),
        (StarConfig, {"attempts": 0}, "attempts"),
        (SolveConfig, {"votes": 5}, "all 5 votes are the same"),
    ],
)
def test_what_cannot_work_is_refused(kind: Any, asked: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        kind(**asked)


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_star_raises_exact_answers_from_a_measured_start(seed: int, tmp_path: Path) -> None:
    _, run = learned(tmp_path, seed=seed, rounds=12, epochs=10, attempts=8, kept=4)
    rows = metrics(run)
    assert rows[0]["accuracy"] < 0.5
    assert rows[-1]["accuracy"] > rows[0]["accuracy"] + 0.3


@pytest.mark.parametrize(("many", "count"), [(7, 3), (5, 4), (5, 5), (3, 8)])
def test_no_problem_is_asked_twice_in_a_round_and_none_is_left_out(many: int, count: int) -> None:
    """Across the ends of passes, where the next pass has another order; a round larger than all problems has each of them once."""
    questions = [Question([number], [number]) for number in range(many)]
    asked = list[int]()
    for step in range(3 * many):
        chosen = [question.plain[0] for question in star._next(questions, step * count, count, seed=0)]  # pyright: ignore[reportPrivateUsage]
        assert len(set(chosen)) == len(chosen) == min(count, many)
        asked += chosen
    assert set(asked[: 3 * many]) == set(range(many))


def test_rounds_of_all_problems_are_one_pass_each() -> None:
    questions = [Question([number], [number]) for number in range(6)]
    as_many = [star._next(questions, step * 6, 6, seed=0) for step in range(3)]  # pyright: ignore[reportPrivateUsage]
    assert [star._next(questions, step * 10, 10, seed=0) for step in range(3)] == as_many  # pyright: ignore[reportPrivateUsage]
