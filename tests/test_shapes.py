"""The shapes that stand in the signatures are held while these tests run."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from accord.algorithms.objectives import masked_mean


def test_a_mask_of_another_shape_or_type_is_refused() -> None:
    assert masked_mean(torch.ones(3, 4), torch.ones(3, 4, dtype=torch.bool)) == 1
    for keep in (torch.ones(3, 5, dtype=torch.bool), torch.ones(3, 4)):
        with pytest.raises(TypeCheckError, match="keep"):
            masked_mean(torch.ones(3, 4), keep)
