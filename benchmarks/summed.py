"""The record of a search that goes on from day to day: each run with its seed and code, and the sums over all of them."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def add(path: Path, name: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """Add a run to a record, write it, and return it.

    Args:
        name: of what is counted, such as ``requests``; a run has it, with ``seconds``, ``failures`` and counts of kinds.
    """
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    runs = record.get("runs") or ([{"seed": 0, **record}] if record else [])
    runs.append({"at": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), **run})
    kinds = Counter[str]()
    for one in runs:
        kinds.update(one.get("statuses", {}))
    record = {
        "at": runs[-1]["at"],
        name: sum(one[name] for one in runs),
        "statuses": dict(sorted(kinds.items())),
        "slowest_s": max(one.get("slowest_s", 0.0) for one in runs),
        "failures": [failure for one in runs for failure in one["failures"]],
        "seconds": round(sum(one["seconds"] for one in runs), 1),
        "runs": runs,
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
    return record


def commit() -> str:
    """Return the commit that is checked out."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
