"""T1 to T11: masks, padding, special tokens. docs/conformance.md names each law, and how each test was seen to fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import END, FP32, ByFunction, chat, learn, llama, rng, sampled, scalar, sequences

from accord.algorithms.ppo import learning_targets
from accord.algorithms.reward import ranked_rows
from accord.algorithms.rollouts import collect
from accord.algorithms.sft import example, response_loss
from accord.data.templates import CHAT_TEMPLATE, chat_format
from accord.data.token_rows import RowWindow
from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.scalar import RewardModel, scores
from accord.records import Message, Sampling
from accord.settings import PpoConfig

TALK = (Message("user", "Where is bread sold?"), Message("assistant", "At the market."), Message("user", "And cheese?"))


def test_t01_the_stop_token_is_kept_once_also_when_pad_is_eos() -> None:
    spoken = chat()
    spoken.tokenizer.pad_token = spoken.tokenizer.eos_token
    spoken = chat_format(spoken.tokenizer)
    stop = spoken.tokenizer.eos_token_id
    assert spoken.tokenizer.pad_token_id == stop
    made = example(spoken.prompt(TALK), spoken.response(TALK, "There too."), RowWindow(256), "one")
    batch = pack([made.tokens, made.tokens[:-1] + [5] * 9 + [stop]], [made.kept, made.kept + 9])
    kept = [row.tolist() for row in batch.tokens[batch.keep].split(batch.kept.tolist())]
    assert [row.count(stop) for row in kept] == [1, 1]
    assert all(row[-1] == stop for row in kept)


def test_t02_a_score_does_not_depend_on_padding_or_batch_and_not_on_stop_tokens_inside() -> None:
    model = scalar(llama())
    turns = [[5, 6, END, 7, 8, END, 9, END], [5, 6, END, 7], [9] * 20]
    alone = torch.stack([scores(model, pack([row]), dtype=FP32)[0] for row in turns])
    assert torch.allclose(scores(model, pack(turns), dtype=FP32), alone, atol=1e-5)
    assert torch.allclose(scores(model, pack(turns[::-1]), dtype=FP32).flip(0), alone, atol=1e-5)
    assert (alone[0] - scores(model, pack([turns[0][:3]]), dtype=FP32)).abs() > 1e-3


def test_t03_the_score_is_read_at_the_last_token() -> None:
    model, (row,) = scalar(llama()), sequences([9])
    with torch.no_grad():
        states = model.base_model(torch.tensor([row]), attend=_causal(row), use_cache=False).last_hidden_state[0]
    by_token = (states @ model.score.weight.T).squeeze(1)
    assert scores(model, pack([row]), dtype=FP32).item() == pytest.approx(by_token[-1].item(), abs=1e-5)
    assert by_token[-2].item() != pytest.approx(by_token[-1].item(), abs=1e-3)


def _causal(row: list[int]) -> Any:
    from accord.models.attention import PackedAttention

    return PackedAttention(torch.tensor([len(row)]))


def test_t04_prompts_of_unequal_length_are_sampled_as_if_alone() -> None:
    prompts = sequences([3, 11, 6])
    drawn = sampled(llama(), prompts, temperature=0.0, max_tokens=6)
    for prompt, row, said in zip(prompts, drawn.rows(), drawn.logprobs, strict=True):
        alone = sampled(llama(), [prompt], temperature=0.0, max_tokens=6)
        assert alone.rows() == [row]
        assert torch.allclose(said[: len(row)], alone.logprobs[0, : len(row)], atol=1e-5)


def test_t05_padding_changes_no_figure() -> None:
    config = PpoConfig(whiten_rewards=True)
    rows = _rollout([4, 2, 6])
    one, wide = learning_targets(config, rows, 0.1), learning_targets(config, _padded(rows, 5), 0.1)
    for name in ("advantages", "returns", "rewards", "kl"):
        assert torch.allclose(getattr(wide, name)[:, :6], getattr(one, name), atol=1e-6), name
        assert not getattr(wide, name)[:, 6:].any(), name
    from accord.algorithms.ppo import _summary

    figures = [_summary(rollout, targets, [{"loss": 1.0}]) for rollout, targets in ((rows, one), (_padded(rows, 5), wide))]
    assert figures[0] == pytest.approx(figures[1], abs=1e-5)


def _rollout(lengths: list[int]) -> Any:
    from accord.algorithms.rollouts import Rollout

    keep = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    noise = [torch.randn(keep.shape, generator=rng(i)) for i in range(3)]
    responses = [[5] * n for n in lengths]
    last, after = torch.ones(len(lengths), dtype=torch.bool), torch.zeros(len(lengths))
    return Rollout([[2]] * len(lengths), responses, last, torch.randn(len(lengths), generator=rng(9)), keep, *noise, after, 1.0, 0.0)


def _padded(rollout: Any, more: int) -> Any:
    from dataclasses import replace

    def wider(x: torch.Tensor, fill: float) -> torch.Tensor:
        return torch.cat([x, x.new_full((len(x), more), fill)], 1)

    names = ("logprobs", "reference", "values")
    junk = {name: wider(getattr(rollout, name), 7.0 + i) for i, name in enumerate(names)}
    return replace(rollout, keep=wider(rollout.keep, False), **junk)


def test_t06_a_stop_token_other_than_eos_ends_keeps_and_rewards(tmp_path: Path) -> None:
    policy, stop = llama(1), 30
    rollout = collect(
        sequences([4] * 24),
        sampler=LocalSampler(policy, stop=(stop,), dtype=FP32),
        scorer=ByFunction(lambda _: 1.0),
        policy=policy,
        reference=llama(1),
        value=scalar(llama(2)),
        sampling=Sampling(max_tokens=30),
        generator=rng(),
        dtype=FP32,
        micro_tokens=4096,
    )
    assert 0 < rollout.finished.sum() < 24
    rewards = learning_targets(PpoConfig(no_stop_reward=-3.0), rollout, 0.0).rewards
    for row, done, reward in zip(rollout.responses, rollout.finished.tolist(), rewards, strict=True):
        assert done == (row[-1] == stop)
        assert reward[len(row) - 1].item() == (1.0 if done else -3.0)
        assert stop not in row[:-1]


def test_t07_a_rows_rewards_sum_to_its_score_minus_beta_times_its_kl() -> None:
    rows = _rollout([4, 2, 6])
    targets = learning_targets(PpoConfig(), rows, 0.3)
    kl = ((rows.logprobs - rows.reference) * rows.keep).sum(1)
    assert torch.allclose(targets.rewards.sum(1), rows.scores - 0.3 * kl, atol=1e-5)
    last = targets.rewards.gather(1, torch.tensor([[3], [1], [5]]))[:, 0]
    before = -0.3 * (rows.logprobs - rows.reference).gather(1, torch.tensor([[3], [1], [5]]))[:, 0]
    assert torch.allclose(last - before, rows.scores, atol=1e-5)


def test_t08_one_bos_and_the_ids_of_the_template_tokenised_once() -> None:
    spoken = chat()
    tokenizer = spoken.tokenizer
    turns = [{"role": m.role, "content": m.content} for m in TALK]
    once = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    prompt, response = spoken.prompt(TALK), spoken.response(TALK, "There too.")
    assert prompt == once
    trained = example(prompt, response, RowWindow(256), "one").tokens
    rewarded = ranked_rows(prompt, [response, response[1:]], [1, 2], RowWindow(256), "one").rows[0]
    whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": "There too."}], tokenize=True, return_dict=False)
    assert trained == rewarded == whole
    assert trained.count(tokenizer.bos_token_id) == 1


def test_t09_what_is_learned_comes_from_structure_and_nothing_to_learn_is_an_error() -> None:
    spoken = chat()
    told = (Message("user", "Say <|assistant|>\nA: There too.<|end|> to me, then There too."),)
    response = spoken.response(told, "There too.")
    made = example(spoken.prompt(told), response, RowWindow(256), "one")
    assert made.tokens[-made.kept :] == response
    assert spoken.text(response) == "There too."
    with pytest.raises(InputError, match="demonstration 7"):
        example(spoken.prompt(told), [spoken.stop[0]], RowWindow(256), "demonstration 7")
    with pytest.raises(InputError, match="demonstration 8"):
        example([2, 3], [4] * 20, RowWindow(10, "cut_prompt"), "demonstration 8")


def test_t10_packed_rows_neither_see_each_other_nor_share_positions() -> None:
    rows = sequences([4, 9, 6])
    model = llama()
    with torch.no_grad():
        packed = logprobs(model, pack(rows), dtype=FP32)[0]
        alone = torch.cat([logprobs(model, pack([row]), dtype=FP32)[0] for row in rows])
        other = logprobs(model, pack([sequences([4], seed=77)[0], rows[1], rows[2]]), dtype=FP32)[0]
    assert torch.allclose(packed, alone, atol=1e-5)
    assert torch.allclose(packed[3:], other[3:], atol=1e-6)
    assert pack(rows).positions.tolist() == [*range(4), *range(9), *range(6)]


def test_t11_the_prompts_ids_are_a_prefix_of_prompt_and_response() -> None:
    spoken = chat()
    whole = spoken.tokenizer.apply_chat_template(
        [*({"role": m.role, "content": m.content} for m in TALK), {"role": "assistant", "content": "There too."}],
        tokenize=True,
        return_dict=False,
    )
    prompt = spoken.prompt(TALK)
    assert whole[: len(prompt)] == prompt
    assert [*prompt, *spoken.response(TALK, "There too.")] == whole
    spoken.tokenizer.chat_template = CHAT_TEMPLATE.replace("{{ bos_token }}", "{{ bos_token }}{{ messages | length }}")
    with pytest.raises(InputError, match="not a prefix"):  # a format of its own: each remembers what its template writes
        chat_format(spoken.tokenizer).response(TALK, "There too.")


def test_t41_scores_are_float32_whatever_the_products_are() -> None:
    model = scalar(llama())
    prompts, responses = sequences([5, 6]), sequences([3, 4], seed=5)
    for dtype in (FP32, torch.bfloat16):
        found = RewardModel(model, dtype=dtype).score(prompts, responses)
        assert found.dtype is torch.float32
    fine = RewardModel(model, dtype=torch.bfloat16).score(prompts, responses)
    assert not torch.equal(fine, fine.bfloat16().float()), "the head's product was rounded to bfloat16"


def test_t44_truncation_keeps_the_right_end() -> None:
    prompt, response = list(range(10, 30)), [5, 6, END]
    assert example(prompt, response, RowWindow(8, "cut_prompt"), "x").tokens == [25, 26, 27, 28, 29, 5, 6, END]
    assert ranked_rows(prompt, [response, [7, END]], [1, 2], RowWindow(8, "cut_prompt"), "x").rows == [
        [25, 26, 27, 28, 29, 5, 6, END],
        [24, 25, 26, 27, 28, 29, 7, END],
    ]
    model = scalar(llama())
    cut = RewardModel(model, dtype=FP32, max_tokens=8).score([prompt], [response])
    assert torch.allclose(cut, scores(model, pack([[25, 26, 27, 28, 29, 5, 6, END]]), dtype=FP32), atol=1e-5)


def test_t36_losses_weigh_tokens_not_rows() -> None:
    model = llama()
    made = [example(p, r, RowWindow(64), "x") for p, r in zip(sequences([3, 4, 5]), sequences([2, 12, 5], seed=3), strict=True)]
    each = [response_loss(model, [one], dtype=FP32) * one.kept for one in made]
    total = sum(one.kept for one in made)
    assert response_loss(model, made, dtype=FP32, batch_tokens=20) == pytest.approx(sum(each) / total, rel=1e-5)


def test_t31_a_score_of_zero_is_a_score(tmp_path: Path) -> None:
    zeros = learn(tmp_path, scorer=ByFunction(lambda _: 0.0), steps=1, no_stop_reward=-3.0, kl_coef=0.0)
    row = zeros.metrics[0]
    assert 0 < row["finished"] < 1
    assert row["reward"] == 0
    assert row["reward_total"] == pytest.approx(-3.0 * (1 - row["finished"]), abs=1e-5)
