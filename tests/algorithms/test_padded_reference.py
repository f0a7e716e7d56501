"""A step of PPO and of the reward model, and KTO's second, written anew: left-padded batches through plain transformers.

Nothing below ``Reference`` calls our models, objectives or optimisers. What is compared: the losses and metrics that the step logs, the
gradients of the first update (Adam's first moment is a tenth of them), and every weight after two updates.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import END, FP32, PAD, VOCAB, learn, llama, metrics, scalar, sequences
from torch import Tensor, nn

from accord.algorithms import kto, reward
from accord.engine.local import LocalSampler
from accord.models.folders import prepared
from accord.models.scalar import RewardModel
from accord.protocols import Sampler
from accord.records import Generation
from accord.runtime.runs import Run
from accord.settings import KtoConfig, PpoConfig, RewardConfig

STOPS = (END, 2, 3, 4, 5, 6, 7, 8)
PPO: dict[str, Any] = {
    "steps": 1,
    "batch_size": 6,
    "minibatch_size": 6,
    "epochs": 2,
    "max_tokens": 6,
    "ptx_coef": 0.0,
    "lr": 3e-3,
    "value_lr": 2e-3,
    "warmup_steps": 1,
    "warmup_share": 0.0,
    "max_grad_norm": 1e6,
    "save_every": 1,
    "clip": 0.05,
    "value_clip": 0.05,
    "gamma": 0.97,
    "lam": 0.9,
    "kl_coef": 0.1,
    "temperature": 0.8,
}
"""Two updates on the whole rollout: in the second, ratios differ from 1 and both clips are at work."""


def gpt2(seed: int) -> Any:
    """A GPT-2: learned positions, biases, another kind of layer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=128,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    return prepared(GPT2LMHeadModel(config))


def plain(model: Any) -> Any:
    """A copy of a model that computes as transformers does."""
    twin = copy.deepcopy(model)
    twin.set_attn_implementation("eager")
    return twin


class Recorded:
    """Our own sampler, whose draws are written down."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.drawn = sampler, list[tuple[list[list[int]], Generation]]()

    def refresh(self) -> None:
        self.sampler.refresh()

    def sample(self, prompts: Sequence[Sequence[int]], **how: Any) -> Generation:
        generation = self.sampler.sample(prompts, **how)
        self.drawn.append(([list(prompt) for prompt in prompts], generation))
        return generation


@dataclass
class Padded:
    """Rows padded on the left; the last ``steps`` columns hold the responses, padded on the right inside of them."""

    ids: Tensor
    mask: Tensor
    positions: Tensor
    real: Tensor
    """[rows, steps]: True on the tokens of responses."""


def padded(prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> Padded:
    before, steps = max(map(len, prompts)), max(map(len, responses))
    ids = torch.full((len(prompts), before + steps), PAD)
    mask, real = torch.zeros_like(ids), torch.zeros(len(prompts), steps, dtype=torch.bool)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        ids[row, before - len(prompt) : before] = torch.tensor(prompt)
        ids[row, before : before + len(response)] = torch.tensor(response)
        mask[row, before - len(prompt) : before + len(response)] = 1
        real[row, : len(response)] = True
    return Padded(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), real)


def response_logprobs(lm: Any, rows: Padded, temperature: float) -> Tensor:
    """log p of each response token [rows, steps], 0 on pads."""
    logits = lm(input_ids=rows.ids, attention_mask=rows.mask, position_ids=rows.positions).logits
    steps = rows.real.shape[1]
    predicted = torch.log_softmax(logits[:, -steps - 1 : -1] / temperature, -1)
    chosen = predicted.gather(2, rows.ids[:, -steps:, None])[:, :, 0]
    return torch.where(rows.real, chosen, 0.0)


def every_score(model: Any, rows: Padded) -> Tensor:
    """The scalar head at every position [rows, length]."""
    states = model.base_model(input_ids=rows.ids, attention_mask=rows.mask, position_ids=rows.positions).last_hidden_state
    return (states @ model.score.weight.T)[:, :, 0]


def values_before(model: Any, rows: Padded) -> Tensor:
    """The value of the state before each response token: read where that token is predicted."""
    steps = rows.real.shape[1]
    return torch.where(rows.real, every_score(model, rows)[:, -steps - 1 : -1], 0.0)


def token_returns(rewards: Tensor, values: Tensor, lengths: Sequence[int], gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages as the sum over k of (gamma lambda)^k delta_{t+k}, row by row; returns are advantages plus values."""
    advantages = torch.zeros_like(rewards)
    for row, length in enumerate(lengths):
        for t in range(length):
            total = 0.0
            for k in range(length - t):
                at = t + k
                following = float(values[row, at + 1]) if at + 1 < length else 0.0
                total += (gamma * lam) ** k * (float(rewards[row, at]) + gamma * following - float(values[row, at]))
            advantages[row, t] = total
    return advantages, advantages + values


def one_adam_step(parameters: list[nn.Parameter], gradients: list[Tensor], state: dict[int, tuple[Tensor, Tensor]], t: int, lr: float,
                  betas: tuple[float, float], epsilon: float) -> None:  # fmt: skip
    """Kingma and Ba 2015, algorithm 1."""
    for number, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        first, second = state.get(number, (torch.zeros_like(gradient), torch.zeros_like(gradient)))
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        state[number] = (first, second)
        step = (first / (1 - betas[0] ** t)) / ((second / (1 - betas[1] ** t)).sqrt() + epsilon)
        with torch.no_grad():
            parameter -= lr * step


def gradients(loss: Tensor, model: Any) -> tuple[list[nn.Parameter], list[Tensor]]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return parameters, [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def first_moments(state: Any) -> list[Tensor]:
    """Adam's first moments in a checkpoint."""
    return [entry["exp_avg"] for optimizer in state for entry in optimizer["state"].values()]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("truncation", ["penalise", "mask"])
def test_a_step_of_ppo(architecture: str, truncation: str, tmp_path: Path) -> None:
    policy = llama(1) if architecture == "llama" else gpt2(1)
    start, judge = plain(policy), scalar(llama(5), 6)
    drawn = list[Recorded]()

    def recorded(model: Any) -> Sampler:
        drawn.append(Recorded(LocalSampler(model, stop=STOPS, dtype=FP32)))
        return drawn[0]

    value_start = plain(scalar(llama(2), 3))
    settings = {**PPO, "truncation": truncation}
    learned = learn(tmp_path, policy=policy, sampler=recorded, scorer=RewardModel(judge, dtype=FP32), reference=start_of(architecture),
                    **settings)  # fmt: skip
    ((prompts, generation),) = drawn[0].drawn
    config = PpoConfig(**settings)

    responses = generation.rows()
    finished: list[bool] = generation.finished.tolist()
    assert any(finished), "the test needs finished and cut responses"
    assert not all(finished)
    rows = padded(prompts, responses)
    lengths = [len(response) for response in responses]

    # what the rollout is worth
    with torch.no_grad():
        old = response_logprobs(start, rows, config.temperature)
        old_values = values_before(value_start, rows)
        scores = list[float]()
        for prompt, response in zip(prompts, responses, strict=True):
            alone = padded([prompt], [response])
            scores.append(float(every_score(plain(judge), alone)[0, -1]))
    kept = rows.real.clone()
    rewards = torch.zeros_like(old)  # policy and reference are the same model before the first update: there is no KL to pay for
    for row, length in enumerate(lengths):
        worth = scores[row]
        if not finished[row] and truncation == "penalise":
            worth = config.no_stop_reward
        if not finished[row] and truncation == "mask":
            kept[row] = False
            continue
        rewards[row, length - 1] += worth
    advantages, returns = token_returns(rewards, old_values, lengths, config.gamma, config.lam)
    counted = advantages[kept]
    spread = ((counted - counted.mean()) ** 2).mean()
    white = (advantages - counted.mean()) / (spread + 1e-8).sqrt()

    # two updates
    policy_state: dict[int, tuple[Tensor, Tensor]] = {}
    value_state: dict[int, tuple[Tensor, Tensor]] = {}
    policy_losses, value_losses, norms, first = list[float](), list[float](), list[float](), list[list[Tensor]]()
    value_model = value_start
    for t in (1, 2):
        new, values = response_logprobs(start, rows, config.temperature), values_before(value_model, rows)
        ratio = (new - old).exp()
        worse = torch.min(ratio * white, ratio.clamp(1 - config.clip, 1 + config.clip) * white)
        policy_loss = -worse[kept].mean()
        near = old_values + (values - old_values).clamp(-config.value_clip, config.value_clip)
        value_loss = torch.max((values - returns) ** 2, (near - returns) ** 2)[kept].mean() / 2
        if t == 2:
            assert bool(((ratio - 1).abs() > config.clip)[kept].any()), "the policy's clip is at work"
            assert bool(((values - old_values).abs() > config.value_clip)[kept].any()), "the value's clip is at work"
        for model, loss, state, lr in (
            (start, policy_loss, policy_state, config.lr),
            (value_model, value_loss, value_state, config.value_lr),
        ):
            parameters, found = gradients(loss, model)
            if t == 1:
                first.append(found)
            if model is start:
                norms.append(math.sqrt(sum(float((g**2).sum()) for g in found)))
            one_adam_step(parameters, found, state, t, lr, (config_betas(config)), 1e-5)
        policy_losses.append(policy_loss.item())
        value_losses.append(value_loss.item())

    (logged,) = learned.metrics
    assert logged["policy_loss"] == pytest.approx(sum(policy_losses) / 2, abs=1e-5)
    assert logged["value_loss"] == pytest.approx(sum(value_losses) / 2, rel=1e-5)
    assert logged["grad_norm"] == pytest.approx(sum(norms) / 2, rel=1e-4)
    moved_alike(learned.policy, start, first[0])
    moved_alike(learned.value, value_model, first[1])
    # weights move by the rate whatever the gradient's size: its size is seen in Adam's moments, here after two updates
    for kept_state, state in (("policy_optimizers", policy_state), ("value_optimizers", value_state)):
        mine = sorted(float(moment.norm()) for moment in first_moments(learned.state[kept_state]))
        theirs = sorted(float(moment.norm()) for moment, _ in state.values())
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6)


def moved_alike(mine: Any, theirs: Any, gradients: Sequence[Tensor]) -> None:
    """Assert equal weights, where there is a gradient at all: Adam makes whole steps of the rounding noise of one that is zero, as that
    of a key's bias is."""
    compared = 0
    for (name, one), other, gradient in zip(mine.named_parameters(), theirs.parameters(), gradients, strict=True):
        clear = gradient.abs() > 1e-5
        assert torch.allclose(one[clear], other[clear], atol=2e-5), name
        compared += int(clear.sum())
    assert compared > 1000


def config_betas(config: Any) -> tuple[float, float]:
    """Adam's decay rates of these settings."""
    return (config.adam_beta1, config.adam_beta2)


def start_of(architecture: str) -> Any:
    return llama(1) if architecture == "llama" else gpt2(1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_step_of_the_reward_model(architecture: str, tmp_path: Path) -> None:
    """Rankings with K of 2 to 4 and a tie: the mean over prompts of the mean over untied pairs of -log sigmoid(better - worse)."""
    body = llama(2) if architecture == "llama" else gpt2(2)
    model = scalar(body, 3)
    twin = plain(model)
    prompts = sequences([4, 6, 3], seed=9)
    answers = [sequences([5, 3], seed=11), sequences([2, 6, 4, 3], seed=12), sequences([4, 4, 7], seed=13)]
    ranks = [[2, 1], [1, 3, 2, 4], [1, 2, 2]]
    config = RewardConfig(epochs=1, batch_size=3, lr=2e-3, warmup_steps=1, warmup_share=0.0, save_every=1)
    rankings = [
        reward.RankedRows([[*prompt, *response] for response in responses], ranked)
        for prompt, responses, ranked in zip(prompts, answers, ranks, strict=True)
    ]
    run = Run.start(tmp_path, stage="reward", config=config, inputs={}, resume=False)
    reward.train(config, model=model, rankings=rankings, validation=(), demonstrations=(), run=run, dtype=FP32)

    losses = list[Tensor]()
    for prompt, responses, ranked in zip(prompts, answers, ranks, strict=True):
        rows = padded([prompt] * len(responses), responses)
        ends = [len(response) for response in responses]
        scored = every_score(twin, rows)[:, max(map(len, [prompt])) :]
        last = torch.stack([scored[row, end - 1] for row, end in enumerate(ends)])
        pairs = [(a, b) for a in range(len(ranked)) for b in range(len(ranked)) if ranked[a] < ranked[b]]
        losses.append(torch.stack([-nn.functional.logsigmoid(last[a] - last[b]) for a, b in pairs]).mean())
    loss = torch.stack(losses).mean()
    parameters, found = gradients(loss, twin)
    norm = math.sqrt(sum(float((g**2).sum()) for g in found))
    shrunk = [g / max(1.0, norm + 1e-6) for g in found]
    one_adam_step(parameters, shrunk, {}, 1, config.lr, config_betas(config), 1e-8)

    (logged,) = metrics(run)
    assert logged["loss"] == pytest.approx(loss.item(), abs=1e-6)
    assert logged["grad_norm"] == pytest.approx(norm, rel=1e-4)
    moved_alike(model, twin, found)


class Watched(Run):
    """A run that keeps a copy of the policy as it is when each step is written down."""

    policy: Any
    seen: list[Any]

    def log(self, step: int, **figures: float) -> None:
        super().log(step, **figures)
        self.seen.append(plain(self.policy))


def test_ktos_reference_point_and_loss(tmp_path: Path) -> None:
    """The reference point of the second step is how much likelier the policy has made other prompts' responses, never its own rows'."""
    policy, prompts = llama(1), sequences([3, 5, 4, 6], seed=21)
    responses, up = sequences([4, 2, 5, 3], seed=22), [True, False, True, True]
    thumbs = [kto.ThumbRow([*p, *r], len(r), liked) for p, r, liked in zip(prompts, responses, up, strict=True)]
    config = KtoConfig(epochs=2, batch_size=4, lr=1e-2, beta=0.4, warmup_steps=0, max_tokens=64, up_weight=1.5, down_weight=0.5)
    start, others = plain(policy), kto.estranged(thumbs, max_tokens=64, seed=config.seed)
    run = Watched.start(tmp_path, stage="kto", config=config, inputs={}, resume=False)
    run.policy, run.seen = policy, []
    kto.train(config, policy=policy, thumbs=thumbs, validation=(), run=run, dtype=FP32)

    def ahead(rows: Sequence[kto.ThumbRow]) -> Tensor:
        laid = padded([row.tokens[: -row.kept] for row in rows], [row.tokens[-row.kept :] for row in rows])
        with torch.no_grad():
            now, then = (response_logprobs(model, laid, 1.0).sum(1) for model in (run.seen[0], start))
        return now - then

    kl = ahead(others).mean()
    assert kl > 0.1, "the reference point is at work"
    assert abs(kl - ahead(thumbs).mean()) > 0.1, "and is not that of the rows themselves"
    log_ratios, liked = ahead(thumbs), torch.tensor(up)
    gains = torch.where(liked, config.beta * (log_ratios - kl), config.beta * (kl - log_ratios))
    weight = torch.where(liked, config.up_weight, config.down_weight)
    logged = metrics(run)[1]
    assert logged["kl"] == pytest.approx(float(kl), rel=1e-4)
    assert logged["loss"] == pytest.approx(float((weight * (1 - torch.sigmoid(gains))).mean()), rel=1e-4)
