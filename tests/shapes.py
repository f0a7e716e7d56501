"""Checks the shapes in the signatures while the tests run: jaxtyping's hook with beartype, on tensors and nothing else.

Other annotations are the type checker's work; some of them cannot be checked at run time at all (plain Protocols, names imported for
type checking only).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype


def check(function: Any) -> Callable[..., Any]:
    """Leaves a function its tensor annotations alone, then lets beartype hold them."""
    if isinstance(function, type):
        return function
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if "Tensor" in str(hint)}
    return beartype(function)
