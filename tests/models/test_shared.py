"""What rows have in common at their beginnings is computed once: the same states, losses, gradients and steps as row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from decoders import architectures, plain_copy
from groups import improve
from hypothesis import example, given
from hypothesis import strategies as st
from preferences import learn_dpo, learn_kto
from tiny import FP32, learn, llama, rng, scalar, sequences, weights
from torch import Tensor

from accord.algorithms.reward import RankedRows, _accumulate
from accord.models import packing
from accord.models.adapters import add_lora
from accord.models.attention import PackedAttention
from accord.models.decoder import recomputing
from accord.models.folders import prepared
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.scalar import scores
from accord.runtime.seeds import generator

PROMPT, OTHER = sequences([14, 9], seed=1)
ANSWERS = sequences([6, 3, 8, 5], seed=2)
ROWS = [[*prompt, *answer] for prompt in (PROMPT, OTHER) for answer in ANSWERS]
KEPT = [len(answer) for answer in ANSWERS] * 2


@pytest.fixture(params=["laid out", "in place"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a row finds the keys of its beginning. These rows are too short to be worth reading in place."""
    if request.param == "in place":
        monkeypatch.setattr(packing, "READ_IN_PLACE", 1)
    return request.param


def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SHARED", float("inf"))


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=7))
def test_each_place_finds_its_token_and_no_beginning_stands_twice(rows: list[list[int]]) -> None:
    batch = pack(rows)
    once = batch.shared
    beginnings = {tuple(row[: end + 1]) for row in rows for end in range(len(row))}
    tokens = sum(map(len, rows))
    assert (once is not None) is (tokens >= packing.SHARED * len(beginnings))
    if once is not None:
        assert len(once.tokens) == len(beginnings)
        assert torch.equal(once.tokens[once.index], batch.tokens)
        assert torch.equal(once.positions[once.index], batch.positions)
        found = set[tuple[int, tuple[int, ...]]]()
        for row, start in zip(rows, batch.starts.tolist(), strict=True):
            found |= {(int(once.index[start + end]), tuple(row[: end + 1])) for end in range(len(row))}
        assert len(found) == len(beginnings), "one place for two beginnings, or two places for one"


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=2, max_size=9))
def test_groups_have_their_beginning_in_common_and_no_row_is_in_two(rows: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "READ_IN_PLACE", 1)
        once = pack(rows).shared
    groups = once.groups if once is not None else ()
    seen = [row for group in groups for row in group.rows]
    assert len(seen) == len(set(seen))
    for group in groups:
        assert len(group.rows) > 1
        assert len({tuple(rows[row][: group.common]) for row in group.rows}) == 1


def test_prompts_behind_one_system_prompt_are_groups_of_their_own() -> None:
    system, *asked = sequences([40, 30, 30], seed=3)
    once = pack([[*system, *prompt, *answer] for answer in ANSWERS for prompt in asked]).shared
    assert once is not None
    assert sorted((sorted(group.rows), group.common) for group in once.groups) == [([0, 2, 4, 6], 70), ([1, 3, 5, 7], 70)]
    short = pack(ROWS).shared
    assert short is not None
    assert not short.groups, "not worth a call for itself"


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=2, max_size=9),
    st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1)]),
    st.integers(0, 99),
)
@example([[1, 2, 0], [1, 2, 0], [1, 2, 0]], (2, 1), 0)
@example([[1, 2, 0], [1, 2, 0], [1, 2], [2, 0, 1], [2, 0, 1, 0]], (2, 1), 0)
def test_what_is_read_in_place_is_attended_to_as_row_by_row(rows: list[list[int]], heads: tuple[int, int], seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "READ_IN_PLACE", 1)
        batch = pack(rows)
    once = batch.shared
    if once is None:
        return
    many, few = heads
    q, k, v = (torch.randn(len(once.tokens), n, 8, generator=rng(seed + n), requires_grad=True) for n in (many, few, few))
    weight = torch.randn(len(once.tokens), many, 8, generator=rng(seed))
    ours = PackedAttention(batch.row_lengths, None, once.laid, once.groups)(0, q, k, v)
    told = torch.zeros_like(ours)
    for places in once.laid.split_with_sizes(batch.row_lengths.tolist()):
        keys, values = (x[places].repeat_interleave(many // few, 1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q[places], keys) / 8**0.5
        seen = scores.masked_fill(torch.ones(len(places), len(places)).triu(1).bool(), -torch.inf).softmax(-1)
        told = told.index_copy(0, places, torch.einsum("hqk,khd->qhd", seen, values))
    torch.testing.assert_close(ours, told, atol=1e-5, rtol=1e-5)
    found, expected = (torch.autograd.grad((out * weight).sum(), (q, k, v)) for out in (ours, told))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [*architectures(), "adapters", "recomputed"])
def test_log_probabilities_and_gradients_are_those_of_transformers_row_by_row(name: str, place: str) -> None:
    torch.manual_seed(5)
    model = architectures()[name if name in architectures() else "llama"][0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng(1)))
    plain, model = plain_copy(model), prepared(model)
    if name == "recomputed":
        model = recomputing(model)
    if name == "adapters":
        model = add_lora(model, 2, generator(0, "lora"))
        plain = add_lora(plain, 2, generator(0, "lora"))
        for one, other in zip(model.named_parameters(), plain.named_parameters(), strict=True):
            if "lora_B" in one[0]:
                torch.nn.init.normal_(one[1], std=0.1, generator=generator(1, one[0]))
                other[1].data.copy_(one[1].data)
    batch = pack(ROWS, KEPT)
    assert batch.shared is not None
    assert bool(batch.shared.groups) is (place == "in place")
    weight = torch.randn(sum(KEPT), generator=rng(2))
    ours = logprobs(model, batch, dtype=FP32)[0]
    (ours * weight).sum().backward()
    told = list[Tensor]()
    for row, kept in zip(ROWS, KEPT, strict=True):
        after = plain(torch.tensor([row]), use_cache=False).logits[0, -kept - 1 : -1].log_softmax(-1)
        told.append(after.gather(1, torch.tensor(row[-kept:])[:, None])[:, 0])
    theirs = torch.cat(told)
    (theirs * weight).sum().backward()
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for part, gradient in expected.items():
        scale = float(gradient.abs().max()) + 1e-6
        torch.testing.assert_close(found[part], gradient, atol=2e-5 * scale, rtol=1e-4, msg=lambda text, part=part: f"{part}: {text}")


def reward_step(folder: Path) -> Any:
    model = scalar(llama())
    rankings = [RankedRows([[*prompt, *answer] for answer in ANSWERS], [1, 2, 2, 3]) for prompt in (PROMPT, OTHER)]
    losses, _ = _accumulate(model, rankings, None, 10_000, FP32)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return weights(model), float(sum(losses, torch.zeros(())))


def ppo_step(folder: Path) -> Any:
    done = learn(folder, prompts=[PROMPT, OTHER], steps=1, lr=1e-3, value_lr=1e-3, warmup_steps=0)
    return weights(done.policy) | {f"value {name}": tensor for name, tensor in weights(done.value).items()}, done.metrics[-1]["policy_loss"]


def group_step(kind: str) -> Callable[[Path], Any]:
    def step(folder: Path) -> Any:
        prompts = [*sequences([14, 12, 15, 13], seed=4)]
        done = improve(folder, kind, prompts=prompts, lr=1e-3, **({"rounds": 1} if kind == "raft" else {"steps": 1}))
        return weights(done.policy), done.metrics[-1]["loss" if kind == "raft" else "policy_loss"]

    return step


METHODS: dict[str, Callable[[Path], Any]] = {
    "reward": reward_step,
    "dpo": lambda folder: (weights((done := learn_dpo(folder))[0]), done[1][0]["loss"]),
    "ipo": lambda folder: (weights((done := learn_dpo(folder, loss="ipo"))[0]), done[1][0]["loss"]),
    "kto": lambda folder: (weights((done := learn_kto(folder))[0]), done[1][0]["loss"]),
    "ppo": ppo_step,
    **{kind: group_step(kind) for kind in ("grpo", "rloo", "reinforce", "raft")},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_the_same(method: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = list[bool]()
    real = packing.shared

    def counting(*given: Any) -> Any:
        found = real(*given)
        counted.append(found is not None and bool(found.groups) is (place == "in place"))
        return found

    monkeypatch.setattr(packing, "shared", counting)
    one, loss = METHODS[method](tmp_path / "shared")
    assert any(counted), "nothing was shared"
    unshared(monkeypatch)
    other, alone = METHODS[method](tmp_path / "alone")
    assert loss == pytest.approx(alone, rel=1e-5, abs=1e-6)
    for name, tensor in other.items():
        torch.testing.assert_close(one[name], tensor, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.usefixtures("place")
def test_a_score_is_read_at_each_rows_own_end() -> None:
    model = scalar(llama())
    rows = [*ROWS, PROMPT, ROWS[0]]
    together = scores(model, pack(rows), dtype=FP32)
    alone = torch.cat([scores(model, pack([row]), dtype=FP32) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
