"""Q-learning over tokens: returns and expectiles by hand, fixed points on an enumerated token MDP, sampling under a guide, learning."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import END, FP32, llama, metrics, rng, sampled, sequences, weights

from accord.algorithms import ilql
from accord.algorithms.ilql import Episode, episode, follow, losses, ordering
from accord.algorithms.objectives import expectile_loss, lambda_returns
from accord.data.token_rows import RowWindow
from accord.engine.guided import QGuide
from accord.errors import InputError, UsageError
from accord.models.attention import PackedAttention
from accord.models.decoder import hidden
from accord.models.heads import head_of
from accord.models.packing import pack
from accord.models.qvalues import QNetwork, QScorer, load_q, save_q
from accord.runtime.runs import Run
from accord.settings import IlqlConfig

KEEP = torch.tensor([[True, True, True], [True, True, False]])
REWARDS = torch.tensor([[0.0, 1.0, 2.0], [0.5, 3.0, 9.0]])
AFTER = torch.tensor([[10.0, 20.0, 0.0], [4.0, 0.0, 7.0]])


def test_lambda_0_looks_one_token_ahead() -> None:
    found = lambda_returns(REWARDS, AFTER, KEEP, 0.5, 0.0)
    assert found.tolist() == [[5.0, 11.0, 2.0], [2.5, 3.0, 0.0]]


def test_lambda_1_is_the_discounted_sum_of_what_follows() -> None:
    found = lambda_returns(REWARDS, AFTER, KEEP, 0.5, 1.0)
    assert found.tolist() == [[0 + 0.5 * (1 + 0.5 * 2), 2.0, 2.0], [0.5 + 0.5 * 3, 3.0, 0.0]]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_constant_worth_that_fits_its_rewards_stays(gamma: float, lam: float) -> None:
    """Where every state is worth 1 and each reward is 1 - gamma, every lambda-return is 1."""
    keep, ones = torch.ones(1, 6, dtype=torch.bool), torch.ones(1, 6)
    assert lambda_returns(ones * (1 - gamma), ones, keep, gamma, lam).flatten().tolist() == pytest.approx([1.0] * 6, abs=1e-5)


def by_bisection(values: torch.Tensor, expectile: float) -> float:
    """The tau-expectile: where tau times what lies above balances 1 - tau times what lies below."""
    low, high = values.min().item(), values.max().item()
    for _ in range(60):
        middle = (low + high) / 2
        above, below = (values - middle).clamp(min=0).sum(), (middle - values).clamp(min=0).sum()
        low, high = (middle, high) if expectile * above > (1 - expectile) * below else (low, middle)
    return low


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8), st.sampled_from([0.1, 0.5, 0.7, 0.95]))
def test_the_loss_is_least_at_the_expectile(values: list[float], expectile: float) -> None:
    drawn = torch.tensor(values)
    at = torch.tensor(by_bisection(drawn, expectile)).requires_grad_()
    expectile_loss(at.expand(len(drawn)), drawn, expectile).sum().backward()
    assert at.grad is not None
    assert at.grad.item() == pytest.approx(0, abs=1e-4)


TOKENS, PROMPT = 5, [2, 3]
WORTH = torch.rand(TOKENS, TOKENS, generator=rng(3)) * 2 - 1
"""What each of the 25 responses of two tokens is worth."""
EVERY = [Episode([*PROMPT, a, b], 2, float(WORTH[a, b])) for a, b in itertools.product(range(TOKENS), repeat=2)]


def exact(config: IlqlConfig) -> torch.Tensor:
    """Q of the first token by dynamic programming; Q of the second is its worth."""
    if config.backup == "max":
        return config.gamma * WORTH.amax(1)
    ahead = torch.tensor([by_bisection(row, config.expectile) for row in WORTH])
    return config.gamma * ((1 - config.lam) * ahead + config.lam * WORTH.mean(1))


@pytest.mark.parametrize(
    "asked",
    [
        {"backup": "max", "lam": 0.0, "gamma": 0.9},
        {"expectile": 0.9, "lam": 0.0, "gamma": 0.9},
        {"expectile": 0.5, "lam": 0.6, "gamma": 1.0},
    ],
    ids=["dqn", "ilql", "lambda"],
)
def test_q_comes_to_the_fixed_point_of_an_enumerated_token_mdp(asked: dict[str, Any], tmp_path: Path) -> None:
    config = IlqlConfig(**asked, adam_beta2=0.95, conservative=0.0, epochs=300, batch_size=25, lr=1e-2, target_rate=0.2, save_every=1000)
    run = Run.start(tmp_path, stage="ilql", config=config, inputs={}, resume=False)
    network = QNetwork(llama(2, vocab=TOKENS, hidden=32, layers=1))
    ilql.train(config, network=network, episodes=EVERY, validation=(), run=run, dtype=FP32)
    with torch.no_grad():
        first = network.least(network.states(pack([PROMPT]), FP32))[-1]
        second = network.least(network.states(pack([[*PROMPT, a] for a in range(TOKENS)]), FP32)[2::3])
    assert (second - WORTH).abs().max().item() < 0.12
    assert (first - exact(config)).abs().max().item() < 0.12
    assert metrics(run)[-1]["q_loss"] < metrics(run)[0]["q_loss"]


def test_q_of_a_dialogues_first_turn_is_what_it_leads_to(tmp_path: Path) -> None:
    """Two turns of one token with two of somebody else's between them: the fixed point is that of two tokens in a row."""
    config = IlqlConfig(expectile=0.9, lam=0.0, gamma=0.9, adam_beta2=0.95, conservative=0.0, epochs=300, batch_size=25, lr=1e-2,
                        target_rate=0.2, save_every=1000)  # fmt: skip
    own = (True, False, False, True)
    whole = [Episode([*PROMPT, a, 1, 4, b], 4, float(WORTH[a, b]), own) for a, b in itertools.product(range(TOKENS), repeat=2)]
    run = Run.start(tmp_path, stage="ilql", config=config, inputs={}, resume=False)
    network = QNetwork(llama(2, vocab=TOKENS, hidden=32, layers=1))
    ilql.train(config, network=network, episodes=whole, validation=(), run=run, dtype=FP32)
    with torch.no_grad():
        first = network.least(network.states(pack([PROMPT]), FP32))[-1]
    assert (first - exact(config)).abs().max().item() < 0.12


def test_a_dialogue_has_losses_at_the_assistants_tokens_alone() -> None:
    row = Episode([3, 4, 5, 6, 7, 8], 4, 0.5, (True, True, False, True))
    q_loss, v_loss, unlikely, seen = losses(IlqlConfig(lam=0.0, gamma=0.5), taught(), taught(), [row], FP32)
    assert len(q_loss) == len(v_loss) == len(unlikely) == row.actions == 3
    with torch.no_grad():
        v = taught().value(taught().states(pack([[3, 4, 5, 6, 7]]), FP32))
    assert seen["return"].tolist() == pytest.approx([0.5 * v[2].item(), 0.5 * v[4].item(), 0.5], abs=1e-5)


def taught(seed: int = 0) -> QNetwork:
    """A network with values other than 0."""
    network = QNetwork(llama(5))
    with torch.no_grad():
        network.q.copy_(torch.randn(network.q.shape, generator=rng(seed)) * 0.3)
        network.v.copy_(torch.randn(network.v.shape, generator=rng(seed + 1)) * 0.3)
    return network


def test_the_two_q_start_apart_by_the_seed() -> None:
    one, same_, other = (QNetwork(llama(5), rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.q, same_.q)
    assert not torch.equal(one.q, other.q)
    assert not torch.equal(one.q[0], one.q[1])


def test_the_target_network_follows_by_its_rate() -> None:
    network, target = taught(0), taught(7)
    before = weights(target)
    follow(target, network, 0.25)
    for name, held in weights(target).items():
        assert torch.allclose(held, 0.75 * before[name] + 0.25 * weights(network)[name], atol=1e-6)


def test_the_worth_is_the_reward_of_the_last_token_and_nothing_follows_it() -> None:
    rows = [Episode([3, 4, 5, 6], 2, 0.5), Episode([7, 8, 9], 1, -1.0)]
    *_, seen = losses(IlqlConfig(lam=0.0, gamma=0.5), taught(), taught(), rows, FP32)
    assert seen["return"][1].item() == 0.5
    assert seen["return"][2].item() == -1.0
    with torch.no_grad():
        v = taught().value(taught().states(pack([[3, 4, 5]]), FP32))[2]
    assert seen["return"][0].item() == pytest.approx(0.5 * v.item(), abs=1e-5)


def test_a_rows_losses_do_not_depend_on_the_rows_beside_it() -> None:
    rows = [Episode(row, 3, 0.3 * i) for i, row in enumerate(sequences([5, 9, 7]))]
    together = losses(IlqlConfig(), taught(), taught(1), rows, FP32)
    alone = [losses(IlqlConfig(), taught(), taught(1), [row], FP32) for row in rows]
    for i in range(3):
        assert torch.allclose(together[i], torch.cat([one[i] for one in alone]), atol=1e-4)


def test_the_conservative_term_holds_down_what_nobody_said(tmp_path: Path) -> None:
    said = [Episode([2, 10 + i % 4, END], 2, 0.5) for i in range(8)]
    leads: list[float] = []
    for number, conservative in enumerate((0.0, 0.5)):
        config = IlqlConfig(conservative=conservative, epochs=40, batch_size=8, lr=5e-3, save_every=1000)
        run = Run.start(tmp_path / str(number), stage="ilql", config=config, inputs={}, resume=False)
        network = QNetwork(llama(1))
        ilql.train(config, network=network, episodes=said, validation=(), run=run, dtype=FP32)
        with torch.no_grad():
            q = network.least(network.states(pack([[2]]), FP32))[0]
        leads.append((q[10:14].mean() - q[20:].mean()).item())
    assert leads[1] > leads[0] + 0.5


def guided(network: QNetwork, beta: float) -> Any:
    model = llama(1)
    model.guide = QGuide(network, beta=beta)
    return model


@pytest.mark.parametrize("how", [{}, {"temperature": 0.7}])
def test_guided_samples_are_drawn_from_the_moved_distribution(how: dict[str, float]) -> None:
    """Their log-probabilities are those of log softmax((logits + beta min Q) / T), though rows end and leave the batch on the way."""
    network, prompts, beta = taught(), sequences([3, 6, 4, 5]), 1.5
    generation = sampled(guided(network, beta), prompts, n=3, stop=tuple(range(1, 20)), max_tokens=9, **how)
    for row, (tokens, said) in enumerate(zip(generation.rows(), generation.logprobs.tolist(), strict=True)):
        prompt = prompts[row // 3]
        batch = pack([[*prompt, *tokens]])
        with torch.no_grad():
            states = hidden(llama(1).base_model, batch.tokens, batch.positions, PackedAttention(batch.lengths), FP32)
            logits = states @ head_of(llama(1)).weight.T + beta * network.least(network.states(batch, FP32))
        expected = (logits / how.get("temperature", 1.0)).log_softmax(-1)[len(prompt) - 1 : -1]
        for t, token in enumerate(tokens):
            assert said[t] == pytest.approx(expected[t, token].item(), abs=2e-3)


def test_a_guide_of_strength_0_changes_nothing() -> None:
    prompts = sequences([3, 6, 4])
    one, other = (sampled(model, prompts, n=4, max_tokens=6) for model in (llama(1), guided(taught(), 0.0)))
    assert one.rows() == other.rows()


def test_the_best_response_is_the_one_of_the_largest_last_q() -> None:
    network, rows = taught(), sequences([4, 7, 5])
    found = QScorer(network, dtype=FP32).score([row[:2] for row in rows], [row[2:] for row in rows])
    for i, row in enumerate(rows):
        with torch.no_grad():
            q = network.least(network.states(pack([row[:-1]]), FP32))[-1]
        assert found[i].item() == pytest.approx(q[row[-1]].item(), abs=1e-5)


def test_ordering_counts_pairs_of_one_prompt_alone() -> None:
    rows = [Episode([2, 3, 5, END], 2, 1.0), Episode([2, 3, 6, END], 2, -1.0), Episode([4, 4, 7, END], 2, 0.0)]
    assert ordering(taught(), rows, FP32) in (0.0, 1.0)
    assert ordering(QNetwork(llama(1)), rows, FP32) == 0.5
    assert ordering(taught(), rows[1:], FP32) == 0.0


def test_a_network_is_saved_beside_its_model(tmp_path: Path) -> None:
    network = taught()
    save_q(tmp_path, network, beta=2.5)
    loaded = load_q(tmp_path, llama(1))
    assert loaded is not None
    assert loaded[1] == 2.5
    assert all(torch.equal(tensor, weights(loaded[0])[name]) for name, tensor in weights(network).items())
    assert load_q(tmp_path / "elsewhere", llama(1)) is None


@pytest.mark.parametrize("asked", [{"expectile": 0.0}, {"expectile": 1.0}, {"target_rate": 0.0}, {"beta": -1.0}, {"gamma": 1.5}])
def test_what_cannot_work_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"ilql: {next(iter(asked))}"):
        IlqlConfig(**asked)


def test_a_response_that_fills_its_window_is_named() -> None:
    with pytest.raises(InputError, match="response 7"):
        episode([1, 2], [3, 4, 5, 6], 0.0, RowWindow(4, "cut_prompt"), "response 7")


def upper(row: list[int]) -> float:
    return sum(token >= 30 for token in row) / len(row)


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_offline_what_people_rate_highly(seed: int, tmp_path: Path) -> None:
    """Responses of an untrained model, rated by their share of tokens from the upper half of the vocabulary; none is sampled later."""
    prompts = sequences([3] * 200, seed=seed)
    said = sampled(llama(1), prompts, n=8, seed=seed, max_tokens=6).rows()
    asked = [prompt for prompt in prompts for _ in range(8)]
    rows = [Episode([*prompt, *row], len(row), 2 * upper(row) - 1) for prompt, row in zip(asked, said, strict=True)]
    config = IlqlConfig(seed=seed, epochs=4, lr=5e-3, beta=4.0, save_every=1000)
    network = QNetwork(llama(1))
    run = Run.start(tmp_path, stage="ilql", config=config, inputs={}, resume=False)
    figures = ilql.train(config, network=network, episodes=rows[:1400], validation=rows[1400:], run=run, dtype=FP32)
    assert figures["validation_ordering"] > 0.6
    before, after = (sampled(m, prompts, n=4, seed=seed + 9, max_tokens=6).rows() for m in (llama(1), guided(network, config.beta)))
    assert sum(map(upper, after)) / len(after) > sum(map(upper, before)) / len(before) + 0.1
