"""What a model folder computes when plain transformers, torch and peft open it, one row at a time: the bench of models' reference.

No row is padded or packed, nothing is cached, attention is transformers' eager one unless the architecture says otherwise, and nothing of
Accord is imported. Losses are written as their papers state them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Row = list[int]


def opened(folder: Path, attention: str = "eager") -> Any:
    """Open a causal language model in float32, dropout off."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention, dtype=torch.float32).eval()


def opened_scalar(folder: Path, attention: str = "eager") -> Any:
    """Open a sequence classification model in the same way."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation=attention, dtype=torch.float32).eval()


def logits(model: Any, row: Row) -> Tensor:
    """Return the logits [tokens, vocabulary] of one row."""
    return model(input_ids=torch.tensor([row]), use_cache=False).logits[0].float()


def logprobs(model: Any, row: Row, kept: int) -> Tensor:
    """Return the log-probabilities of the row's last ``kept`` tokens, each given the tokens before it."""
    every = logits(model, row)[:-1].log_softmax(-1).gather(1, torch.tensor(row)[1:, None])[:, 0]
    return every[len(every) - kept :]


def sft_loss(model: Any, rows: Sequence[Row], kept: Sequence[int]) -> Tensor:
    """Return the mean cross-entropy over the kept tokens of all rows."""
    return -torch.cat([logprobs(model, row, count) for row, count in zip(rows, kept, strict=True)]).mean()


def dpo_loss(model: Any, pairs: Sequence[tuple[Row, Row]], kept: int, reference: Sequence[tuple[float, float]], beta: float) -> Tensor:
    """Return the mean of -log sigmoid(beta (log-ratio of the better - log-ratio of the worse)) (Rafailov et al. 2023, equation 7)."""
    losses = list[Tensor]()
    for (better, worse), (better_before, worse_before) in zip(pairs, reference, strict=True):
        ahead = logprobs(model, better, kept).sum() - better_before
        behind = logprobs(model, worse, kept).sum() - worse_before
        losses.append(-F.logsigmoid(beta * (ahead - behind)))
    return torch.stack(losses).mean()


def score(model: Any, row: Row) -> Tensor:
    """Return the one logit of a sequence classification model."""
    return model(input_ids=torch.tensor([row]), use_cache=False).logits[0, 0].float()


def reward_loss(model: Any, pairs: Sequence[tuple[Row, Row]]) -> Tensor:
    """Return the mean of -log sigmoid(score of the better - score of the worse) (Ouyang et al. 2022, equation 1)."""
    return torch.stack([-F.logsigmoid(score(model, better) - score(model, worse)) for better, worse in pairs]).mean()


@torch.no_grad()
def greedy(model: Any, prompt: Row, steps: int, stop: Sequence[int]) -> tuple[Row, list[float]]:
    """Return the likeliest next tokens up to a stop token, and their log-probabilities. Every step reads the whole row again."""
    row, said = list(prompt), list[float]()
    for _ in range(steps):
        best = logits(model, row)[-1].log_softmax(-1).max(0)
        row.append(int(best.indices))
        said.append(float(best.values))
        if row[-1] in stop:
            break
    return row[len(prompt) :], said


def adapted(model: Any, rank: int, weights: dict[str, Tensor]) -> Any:
    """Put peft's LoRA adapters on the layers that these weights name, alpha twice the rank, and give them the weights.

    Raises:
        KeyError: the weights name an adapter that peft does not make, or leave one out.
    """
    from peft import LoraConfig, inject_adapter_in_model

    named = {name.split(".lora_")[0] for name in weights}
    others = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name not in named]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", exclude_modules=others or None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = inject_adapter_in_model(config, model)
    made = {name: parameter for name, parameter in model.named_parameters() if "lora_" in name}
    if made.keys() != weights.keys():
        raise KeyError(f"these adapters are in one model alone: {sorted(made.keys() ^ weights.keys())[:3]}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in made)
    with torch.no_grad():
        for name, parameter in made.items():
            parameter.copy_(weights[name])
    return model.eval()
