"""Does one text follow from another? A sequence classifier of natural language inference (MNLI), from any Hugging Face folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from accord.errors import ModelError
from accord.runtime.device import pick_device

_ENTAILS = re.compile(r"(?<!not_)(?<!non_)(?<!not )\bentail", re.IGNORECASE)


@dataclass(frozen=True)
class Entailment:
    """An opened entailment model."""

    model: Any
    tokenizer: Any
    entails: int
    """The label that says that the second text follows from the first."""

    @classmethod
    def open(cls, folder: str) -> Entailment:
        """Load a model from a folder.

        Raises:
            ModelError: it cannot be read as a sequence classifier, or none of its labels is entailment.
        """
        try:
            model: Any = AutoModelForSequenceClassification.from_pretrained(folder).to(pick_device()).eval()
            tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"cannot be read as an entailment model: {error}", where=folder) from error
        config: Any = model.config
        told: dict[int, str] = cast("dict[int, str]", config.id2label)
        labels = {int(number): str(label) for number, label in told.items()}
        found = [number for number, label in labels.items() if _ENTAILS.search(label)]
        if len(found) != 1:
            hint = "take a model of natural language inference, for example one trained on MNLI"
            raise ModelError(f"labels are {', '.join(labels.values())}: which one is entailment?", where=folder, hint=hint)
        return cls(model, tokenizer, found[0])

    def same(self, question: str, one: str, other: str) -> bool:
        """Return whether two answers entail each other, both ways, after their question (Farquhar et al. 2024)."""
        first, second = f"{question} {one}", f"{question} {other}"
        return self._all_follow([first, second], [second, first])

    @torch.no_grad()
    def _all_follow(self, texts: list[str], others: list[str]) -> bool:
        batch = self.tokenizer(texts, others, padding=True, truncation=True, return_tensors="pt").to(self.model.device)
        return bool((self.model(**batch).logits.argmax(-1) == self.entails).all())
