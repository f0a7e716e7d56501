"""Alignment tax: how much a model forgets of its raw text while it is aligned (Ouyang et al. 2022, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from accord.errors import InputError


@dataclass(frozen=True, slots=True)
class AlignmentTax:
    """Validation loss on raw text before and after training, in nats per token."""

    loss_before: float
    loss_after: float

    @property
    def tax(self) -> float:
        """Relative rise of the loss. It is below zero when the model improved on raw text."""
        return (self.loss_after - self.loss_before) / self.loss_before


def alignment_tax(loss_before: float, loss_after: float) -> AlignmentTax:
    """Return the tax between two validation losses on the same raw text under the same tokenizer.

    Raises:
        InputError: a loss is not a finite number above zero.
    """
    for name, loss in (("before", loss_before), ("after", loss_after)):
        if not isfinite(loss) or loss <= 0:
            raise InputError(f"the validation loss {name} is {loss}; it must be a finite number above 0", where="alignment tax")
    return AlignmentTax(loss_before, loss_after)
