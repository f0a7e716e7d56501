"""What the tests of the commands that measure share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Typed = Callable[..., tuple[int, str, str]]
"""Types a command: exit code, what it printed, what it complained of."""
Answered = Callable[..., dict[str, Any]]
"""Types a command with --json, which must succeed."""


def samples(project: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "runs" / name / "samples.jsonl").read_text("utf-8").splitlines()]
