"""How a model programs, over the held-out prompts: tests passed in the sandbox.

accord probe my-project sft grpo --measure measures:code
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rewards import fenced, is_python, passed

Answer = Callable[[Sequence[Any]], list[str]]


def code(answer: Answer, prompts: list[str], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return for each row the share of its tests that the program passes, whether it passes all, and whether it is Python in a fence."""
    rows = [row for row in rows if row["extra"].get("tests")]
    programs = answer([row["messages"] for row in rows])
    if not rows:
        return {"rows": 0}
    shares = passed(None, programs, [row["extra"]["tests"] for row in rows])
    return {
        "passed": shares,
        "solved": [float(share == 1) for share in shares],
        "python": [float(is_python(text)) for text in programs],
        "fenced": [float(fenced(text)) for text in programs],
        "rows": len(rows),
    }
