"""Process rewards: marks of tokens, what the model learns of them, and that PPO gives each token its own reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conformance_run import Doomed, Killed
from hypothesis import given
from hypothesis import strategies as st
from tiny import END, FP32, PROMPTS, ByFunction, chat, learn, llama, metrics, rng, same, scalar, sequences, weights

from accord.algorithms import process
from accord.algorithms.ppo import learning_targets
from accord.algorithms.process import MarkedRow, ProcessReward, error_logits, mark_weight, marked_row, marks
from accord.algorithms.rewards import Length, Mixture, Term
from accord.algorithms.rollouts import draw
from accord.commands.train.process import token_texts
from accord.data.token_rows import RowWindow
from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.records import Sampling
from accord.runtime.runs import Run
from accord.settings import PpoConfig, ProcessConfig


def test_a_token_is_marked_when_a_character_of_it_is() -> None:
    assert marks(["The", " sun", " is", " cold", ".", ""], [(11, 15)]) == [False, False, False, True, False, False]
    assert marks(["ab", "cd"], [(1, 3)]) == [True, True]
    assert marks(["ab", "cd"], [(2, 2), (4, 9)]) == [False, False]


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=6), st.integers(0, 8), st.integers(0, 8))
def test_marked_pieces_are_those_that_share_a_character(texts: list[str], start: int, length: int) -> None:
    whole = [i for i, piece in enumerate(texts) for _ in piece]
    expected = set(whole[start : start + length])
    assert {i for i, wrong in enumerate(marks(texts, [(start, start + length)])) if wrong} == expected


def test_the_texts_of_tokens_make_the_text_and_the_stop_token_adds_nothing() -> None:
    spoken = chat()
    tokens = [*spoken.tokenizer("Bread is sold at the market.", add_special_tokens=False)["input_ids"], spoken.stop[0]]
    found = token_texts(spoken, tokens)
    assert "".join(found) == "Bread is sold at the market."
    assert len(found) == len(tokens)
    assert found[-1] == ""


def test_all_marked_tokens_weigh_as_much_as_the_others() -> None:
    rows = [MarkedRow([1, 2, 3, 4], [True, False, False]), MarkedRow([1, 2, 3], [False, False])]
    assert mark_weight(ProcessConfig(), rows) == 4
    assert mark_weight(ProcessConfig(weight=2.5), rows) == 2.5


def test_a_response_that_fills_its_window_is_named() -> None:
    with pytest.raises(InputError, match="response 7"):
        marked_row([1, 2], [3, 4, 5], [False] * 3, RowWindow(3, "cut_prompt"), "response 7")


def bad(token: int) -> bool:
    return token >= 40


def rows(count: int, seed: int = 0) -> list[MarkedRow]:
    """Responses whose tokens from 40 on are wrong."""
    drawn = sequences([9] * count, seed=seed)
    return [MarkedRow(row, [bad(token) for token in row[3:]]) for row in drawn]


def trained(folder: Path, run: Run | None = None, count: int = 40, **asked: Any) -> tuple[Any, dict[str, float], Run]:
    config = ProcessConfig(**{"batch_size": 8, "lr": 1e-2, "warmup_steps": 1, "warmup_share": 0.0, "save_every": 10, **asked})
    run = run or Run.start(folder, stage="process", config=config, inputs={}, resume=False)
    model = scalar(llama(2), 3)
    figures = process.train(config, model=model, rows=rows(count), validation=rows(20, seed=77), run=run, dtype=FP32)
    return model, figures, run


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_which_tokens_people_mark(seed: int, tmp_path: Path) -> None:
    _, figures, run = trained(tmp_path, seed=seed, epochs=5, count=240)
    assert figures["validation_auc"] > 0.85
    assert metrics(run)[-1]["loss"] < metrics(run)[0]["loss"]


def test_a_tokens_reward_is_minus_its_probability_whoever_stands_beside_it(tmp_path: Path) -> None:
    model, asked = scalar(llama(2), 3), rows(3)
    pairs = [(row.tokens[:3], row.tokens[3 : 5 + i]) for i, row in enumerate(asked)]
    found = ProcessReward(model, dtype=FP32).score_tokens([p for p, _ in pairs], [r for _, r in pairs])
    assert found.shape == (3, 4)
    for i, (prompt, response) in enumerate(pairs):
        with torch.no_grad():
            expected = -torch.sigmoid(error_logits(model, [MarkedRow([*prompt, *response], [False] * len(response))], FP32))
        assert found[i, : len(response)].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
        assert not found[i, len(response) :].any()


class ByToken:
    """A part that gives each token its number's share of 60."""

    def score(self, prompts: Any, responses: Any) -> torch.Tensor:
        return self.score_tokens(prompts, responses).sum(1)

    def score_tokens(self, prompts: Any, responses: Any) -> torch.Tensor:
        out = torch.zeros(len(responses), max(map(len, responses)))
        for i, row in enumerate(responses):
            out[i, : len(row)] = torch.tensor(row) / 60
        return out


MIXED = Mixture([Term("long"), Term("each", 2, 2)], {"long": Length(), "each": ByToken()})


def test_token_rewards_stay_where_they_are_in_ppo_and_are_summed_elsewhere() -> None:
    dense, whole = MIXED.at(1, 1, dense=True), MIXED.at(1, 1)
    asked = ([[1], [1]], [[6, 12], [30]])
    assert dense.score(*asked).tolist() == [2, 1]
    spread = dense.token_rewards()
    assert spread is not None
    assert spread.tolist() == [[pytest.approx(0.2), pytest.approx(0.4)], [1.0, 0.0]]
    assert whole.score(*asked).tolist() == pytest.approx([2.6, 2.0])
    assert whole.token_rewards() is None
    assert dense.metrics() == whole.metrics()


def test_ppos_token_rewards_sum_to_score_and_marks_less_the_penalty() -> None:
    from accord.algorithms.rollouts import measure

    sampler = LocalSampler(llama(1), stop=(END, 2, 3, 4), dtype=FP32)
    drawn = draw(PROMPTS, n=1, sampler=sampler, scorer=MIXED.at(1, 1, dense=True), sampling=Sampling(max_tokens=6), generator=rng(0))
    rollout = measure(drawn, policy=llama(1), reference=llama(3), temperature=1.0, dtype=FP32, micro_tokens=4096)
    config = PpoConfig(truncation="terminate", whiten_advantages=False)
    targets = learning_targets(config, rollout, 0.3)
    assert rollout.dense is not None
    expected = rollout.scores + rollout.dense.sum(1) - 0.3 * targets.kl.sum(1)
    assert torch.allclose(targets.rewards.sum(1), expected, atol=1e-5)
    assert rollout.dense[~rollout.keep].abs().sum() == 0


@pytest.mark.learning
def test_ppo_learns_from_token_rewards_alone(tmp_path: Path) -> None:
    parts = {"none": ByFunction(lambda _: 0.0), "each": ByToken()}
    mixture = Mixture([Term("none"), Term("each")], parts)
    asked: dict[str, Any] = {
        "steps": 25,
        "batch_size": 32,
        "minibatch_size": 16,
        "lr": 3e-3,
        "value_lr": 3e-3,
        "max_tokens": 6,
        "kl_coef": 0.01,
    }
    found = learn(tmp_path, scorer=mixture, stop=(END,), truncation="terminate", save_every=100, **asked).metrics
    assert sum(row["reward.each"] for row in found[-3:]) / 3 > found[0]["reward.each"] + 0.4


def test_t40_twenty_steps_are_ten_and_ten_resumed(tmp_path: Path) -> None:
    config = ProcessConfig(batch_size=8, lr=1e-2, warmup_steps=1, warmup_share=0.0, save_every=10, epochs=4)
    begun: dict[str, Any] = {"stage": "process", "config": config, "inputs": {}}
    whole = Run.start(tmp_path / "whole", **begun, resume=False)
    expected, _, _ = trained(tmp_path, run=whole, epochs=4)
    with pytest.raises(Killed):
        trained(tmp_path, run=Doomed.start(tmp_path / "cut", **begun, resume=False), epochs=4)
    cut = Run.start(tmp_path / "cut", **begun, resume=True)
    assert (cut.restore() or (0,))[0] == 10
    assert same(weights(trained(tmp_path, run=cut, epochs=4)[0]), weights(expected))
    assert metrics(cut) == metrics(whole)


CHANGES: dict[str, Any] = {
    "seed": 1, "weight": 9.0, "epochs": 2, "batch_size": 5, "lr": 1e-3, "muon_lr": 1e-2, "warmup_steps": 9, "micro_tokens": 1,
    "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_epsilon": 1e-2, "weight_decay": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_something(name: str, tmp_path: Path) -> None:
    plain, changed = (trained(tmp_path / str(i), **asked)[0] for i, asked in enumerate(({}, {name: CHANGES[name]})))
    assert not same(weights(plain), weights(changed))
