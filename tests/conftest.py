"""What holds for every test: shapes are checked, and one thread, for models so small that a second one costs more than it gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook(["accord.models", "accord.algorithms", "accord.engine"], "shapes.check")  # before any of them is imported
settings.register_profile("accord", deadline=None)  # a busy disk is no failure
settings.load_profile("accord")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "learning: trains a model and states what it must have learned")
    config.addinivalue_line("markers", "slow: takes minutes; `make slow` runs it, and nothing else does")
    torch.set_num_threads(1)
