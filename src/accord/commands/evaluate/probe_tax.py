"""Alignment tax: the loss that models gained on the project's raw text while they learned to please."""

from __future__ import annotations

from typing import Any

import torch

from accord.commands.evaluate.held_out import held_out_raw_text
from accord.commands.evaluate.kl import BATCH_TOKENS
from accord.commands.evaluate.probe_measure import Probing
from accord.commands.models import Model, load_model
from accord.evaluation.tax import alignment_tax
from accord.models.packing import by_tokens, pack
from accord.models.policy import logprobs
from accord.runtime.project import Project


def raw_text_losses(probing: Probing, base: str) -> dict[str, Any]:
    """Return every model's loss on raw text that nothing trained on, and its rise over the base model's.

    Raises:
        InputError: the project has no raw text.
    """
    project = probing.project
    names = [base] if base in project.models() and base not in probing.models else []
    names += probing.models
    losses = {name: raw_text_loss(project, load_model(project, name), probing.dtype) for name in names}
    first = losses.get(base)
    taxes = {name: alignment_tax(first, loss).tax for name, loss in losses.items() if name != base} if first else {}
    return {"raw_text_loss": losses, "alignment_tax": taxes}


@torch.no_grad()
def raw_text_loss(project: Project, model: Model, dtype: torch.dtype) -> float:
    """Return the mean cross-entropy in nats per UTF-8 byte, so that models with other tokenizers compare."""
    rows = held_out_raw_text(project, model)
    total, size = 0.0, 0
    for group in by_tokens([len(row) for row in rows], BATCH_TOKENS):
        batch = pack([rows[i] for i in group]).to(model.lm.device)
        total -= float(logprobs(model.lm, batch, dtype=dtype)[0].cpu().double().sum())
        size += sum(len(model.format.tokenizer.decode(rows[i], skip_special_tokens=True).encode()) for i in group)
    return total / size
