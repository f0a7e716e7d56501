"""Distillation and online DPO against TRL: the same weights, rows and rewards give the same loss and gradients."""

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

from accord.algorithms.distill import Answered
from accord.algorithms.distill import _losses as divergence_losses
from accord.algorithms.groupwise_objectives import extreme_pairs
from accord.algorithms.objectives import generalised_jsd
from accord.algorithms.online_dpo import _losses as pair_losses
from accord.algorithms.rollouts import Drawn, measure
from accord.settings import DistillConfig, OnlineDpoConfig

pytestmark = pytest.mark.filterwarnings("ignore")  # the peer's own
BETAS = [0.0, 0.1, 0.5, 0.9, 1.0]
WIDTH = max(map(len, RESPONSES))


@pytest.mark.parametrize("beta", BETAS)
def test_the_divergence_is_theirs(beta: float) -> None:
    from trl.experimental.gkd import GKDTrainer

    student = torch.randn(5, VOCAB, generator=rng(1)).requires_grad_()
    teacher = torch.randn(5, VOCAB, generator=rng(2))
    ours = generalised_jsd((student / 0.7).log_softmax(-1), (teacher / 0.7).log_softmax(-1), beta).sum()
    (grad,) = torch.autograd.grad(ours, student)
    theirs = GKDTrainer.generalized_jsd_loss(student[None], teacher[None], beta=beta, temperature=0.7, reduction="sum")
    (expected,) = torch.autograd.grad(theirs, student)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert torch.allclose(grad, expected, atol=1e-6)


@pytest.mark.parametrize("beta", BETAS)
def test_a_step_of_distillation_has_their_loss_and_gradients(beta: float) -> None:
    """Their loss over a padded batch, whose labels leave out prompts and pads, divided by the tokens of the batch."""
    from trl.experimental.gkd import GKDTrainer

    student, teacher = plain(1), plain(3)
    widest = max(len(prompt) + len(response) for prompt, response in zip(PROMPTS, RESPONSES, strict=True))
    ids, mask, labels = torch.zeros(6, widest, dtype=torch.long), torch.zeros(6, widest, dtype=torch.long), torch.full((6, widest), -100)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        end = len(prompt) + len(response)
        ids[row, :end], mask[row, :end] = torch.tensor([*prompt, *response]), 1
        labels[row, len(prompt) : end] = torch.tensor(response)
    logits = [model(input_ids=ids, attention_mask=mask).logits[:, :-1] for model in (student, teacher)]
    expected = GKDTrainer.generalized_jsd_loss(logits[0], logits[1].detach(), labels=labels[:, 1:], beta=beta)
    expected.backward()
    policy, rows = llama(1, vocab=VOCAB), [Answered(prompt, response) for prompt, response in zip(PROMPTS, RESPONSES, strict=True)]
    sums = divergence_losses(DistillConfig(beta=beta, max_tokens=8, lr=1.0), policy, llama(3, vocab=VOCAB), rows, FP32)
    agree(sum(float(part["loss"]) for part in sums), grads(policy), expected.item(), grads(student))


def grads(model: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_a_step_of_online_dpo_has_their_loss_and_gradients(loss: Any, tmp_path: Path) -> None:
    """Their own training step, whose responses are ours; their pairs are row i and row i + 3, ours are adjacent."""
    from datasets import Dataset
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    quiet: dict[str, Any] = {"report_to": "none", "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_dropout": True}
    args = OnlineDPOConfig(
        output_dir=str(tmp_path), beta=0.3, loss_type=loss, missing_eos_penalty=None, max_length=64, max_new_tokens=8, **quiet
    )
    with contextlib.redirect_stderr(io.StringIO()):
        trainer = OnlineDPOTrainer(
            model=plain(2),
            ref_model=plain(1),
            reward_funcs=lambda completions, **_: [REWARDS[place].item() for place in THEIRS],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": ["a", "b", "c"]}),
            processing_class=SPOKEN.tokenizer,
        )
    trainer._generate = lambda model, prompts, images: (*padded(), None)
    trainer.model.zero_grad()
    expected = trainer.training_step(trainer.model, {"prompt": ["a", "b", "c"]})
    policy, keep = llama(2, vocab=VOCAB), torch.arange(WIDTH) < torch.tensor([len(row) for row in RESPONSES])[:, None]
    drawn = Drawn(ASKED, RESPONSES, torch.ones(6) > 0, REWARDS, keep, torch.zeros(keep.shape), {})
    rollout = measure(drawn, policy=policy, reference=llama(1, vocab=VOCAB), temperature=1.0, dtype=FP32, micro_tokens=4096)
    config = OnlineDpoConfig(batch_size=6, minibatch_size=3, beta=0.3, loss=loss, max_tokens=8)
    sums = pair_losses(config, policy, rollout, extreme_pairs(REWARDS, 2), FP32)
    size = max(1.0, float(expected))  # IPO's squares are large, and so is what rounding leaves of them
    ours, theirs = ({name: grad / size for name, grad in grads(model).items()} for model in (policy, trainer.model))
    agree(sum(float(part["loss"]) for part in sums), ours, float(expected), theirs)


ASKED = [PROMPTS[0], PROMPTS[0], PROMPTS[3], PROMPTS[3], PROMPTS[0], PROMPTS[0]]
THEIRS = [0, 2, 4, 1, 3, 5]
"""Our rows in their order: the first response to each prompt, then the second to each."""


def padded() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return prompts padded on the left and responses on the right, with their masks."""
    width = max(map(len, ASKED))
    prompts, prompt_mask = torch.zeros(6, width, dtype=torch.long), torch.zeros(6, width, dtype=torch.long)
    responses, mask = torch.zeros(6, WIDTH, dtype=torch.long), torch.zeros(6, WIDTH, dtype=torch.long)
    for row, place in enumerate(THEIRS):
        prompts[row, width - len(ASKED[place]) :], prompt_mask[row, width - len(ASKED[place]) :] = torch.tensor(ASKED[place]), 1
        responses[row, : len(RESPONSES[place])], mask[row, : len(RESPONSES[place])] = torch.tensor(RESPONSES[place]), 1
    return prompts, prompt_mask, responses, mask
