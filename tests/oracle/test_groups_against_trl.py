"""GRPO, Dr. GRPO, DAPO's token loss and RLOO against TRL: the same weights, batch and rewards give the same loss and gradients."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FP32, llama, rng
from torch import Tensor
from trl_rows import PROMPTS, RESPONSES, REWARDS, SPOKEN, VOCAB, agree, plain

from accord.algorithms.grpo import _losses, learning_targets
from accord.algorithms.rollouts import Drawn, Rollout, measure
from accord.settings import GrpoConfig, RlooConfig

pytestmark = pytest.mark.filterwarnings("ignore")  # the peer's own
LIMIT, BETA = 8, 0.3


def rollout() -> Rollout:
    """What a policy near to the trained one said, so that some ratios are clipped and others not; the reference is another model."""
    keep = torch.arange(max(map(len, RESPONSES))) < torch.tensor([len(row) for row in RESPONSES])[:, None]
    drawn = Drawn(PROMPTS, RESPONSES, torch.ones(6) > 0, REWARDS, keep, torch.zeros(keep.shape), {})
    old, reference = llama(1, vocab=VOCAB), llama(3, vocab=VOCAB)
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=rng(8)))
    return measure(drawn, policy=old, reference=reference, temperature=1.0, dtype=FP32, micro_tokens=4096)


def theirs(kind: str, folder: Path, advantages: Tensor, **asked: Any) -> tuple[float, dict[str, Tensor]]:
    """TRL's loss and gradients for our rollout with these advantages [rows]."""
    import trl
    from datasets import Dataset

    quiet: dict[str, Any] = {"report_to": "none", "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_dropout": True}
    sizes: dict[str, Any] = {"per_device_train_batch_size": 6, "num_generations": 3, "max_completion_length": LIMIT}
    if kind == "GRPO":
        asked["use_bias_correction_kl"] = False  # DeepSeek-V3.2's; ours is the KL term as GRPO has it
    config = getattr(trl, f"{kind}Config")(output_dir=str(folder), beta=0.0, epsilon=0.2, **quiet, **sizes, **asked)
    data = Dataset.from_dict({"prompt": ["a b", "c"]})
    with contextlib.redirect_stderr(io.StringIO()):
        trainer = getattr(trl, f"{kind}Trainer")(
            model=plain(1), args=config, train_dataset=data, processing_class=SPOKEN.tokenizer, reward_funcs=lambda completions, **_: [0.0]
        )
    trainer.beta, trainer.current_gradient_accumulation_steps = BETA, 1  # with a beta it would look for a reference on disk
    model, ours = trainer.model.train(), rollout()
    prompt_width, width = max(map(len, PROMPTS)), ours.keep.shape[1]
    prompt_ids, completion_ids = torch.zeros(6, prompt_width, dtype=torch.long), torch.zeros(6, width, dtype=torch.long)
    prompt_mask = torch.zeros_like(prompt_ids)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        prompt_ids[row, prompt_width - len(prompt) :], prompt_mask[row, prompt_width - len(prompt) :] = torch.tensor(prompt), 1
        completion_ids[row, : len(response)] = torch.tensor(response)
    batch = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": ours.keep.long(),
        "advantages": advantages,
        "old_per_token_logps": ours.logprobs,
        "old_logps": (ours.logprobs * ours.keep).sum(1),
        "ref_per_token_logps": ours.reference,
        "num_items_in_batch": ours.keep.sum(),
    }
    loss = trainer._compute_loss(model, batch)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def ours(config: GrpoConfig) -> tuple[float, dict[str, Tensor], Tensor]:
    policy, batch = llama(1, vocab=VOCAB), rollout()
    targets = learning_targets(config, batch)
    sums, _ = _losses(config, policy, batch, targets, list(range(6)), FP32)
    policy_loss, kl_loss = (sum(float(part[name]) for part in sums) for name in ("policy_loss", "kl_loss"))
    loss = policy_loss + (config.kl_coef * kl_loss if config.kl_in == "loss" else 0.0)
    return loss, {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}, targets.advantages[:, 0]


SHARED: dict[str, Any] = {"batch_size": 6, "minibatch_size": 6, "group_size": 3, "kl_coef": BETA, "max_tokens": LIMIT}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grpo": ({}, {"loss_type": "grpo", "scale_rewards": "group"}),
    "dr-grpo": ({"scale": "none", "loss": "constant"}, {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    "dapo": ({"clip_high": 0.28, "loss": "token"}, {"loss_type": "dapo", "epsilon_high": 0.28}),
}


@pytest.mark.parametrize("case", CASES)
def test_grpo_has_their_loss_and_gradients(case: str, tmp_path: Path) -> None:
    asked, peer = CASES[case]
    loss, grads, advantages = ours(GrpoConfig(**SHARED, **asked))
    other, expected = theirs("GRPO", tmp_path, advantages, **peer)
    agree(loss, grads, other, expected)


def test_rloo_has_their_loss_and_gradients(tmp_path: Path) -> None:
    loss, grads, advantages = ours(RlooConfig(**SHARED))
    other, expected = theirs("RLOO", tmp_path, advantages)
    agree(loss, grads, other, expected)


def test_advantages_are_theirs() -> None:
    """What TRL 1.16 computes inside its generation step, written out: nanstd is the unbiased deviation, the KL is taken per response."""
    groups = REWARDS.view(2, 3)
    scaled = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).flatten()
    batch = rollout()
    assert torch.allclose(learning_targets(GrpoConfig(**SHARED), batch).advantages[:, 0], scaled, atol=1e-6)
    rewards = (REWARDS - BETA * ((batch.logprobs - batch.reference) * batch.keep).sum(1)).view(2, 3)
    left_out = (rewards - (rewards.sum(1, keepdim=True) - rewards) / 2).flatten()
    assert torch.allclose(learning_targets(RlooConfig(**SHARED), batch).advantages[:, 0], left_out, atol=1e-5)
