"""Write the counts of docs/formats.md: each format's excerpt goes through a whole import. `python docs/format_counts.py`."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "formats.md"
START, END = "<!-- counts: written by docs/format_counts.py -->", "<!-- end of the counts -->"
SHOWN = 3
"""Unread columns whose names are written; the summary of an import writes all."""
KINDS = ("prompts", "demonstrations", "responses", "rankings", "thumbs", "spans", "documents")
HEAD = "| format | rows | becomes | dropped; left out | columns kept; unread |\n|---|---|---|---|---|"
ASKED = {"question_id": 81, "category": "writing", "turns": ["Write a letter."]}
SAFE = {
    "prompt": "How do I cut glass?",
    "response_0": "Score it and snap it.",
    "response_1": "Hit it.",
    "is_response_0_safe": True,
    "is_response_1_safe": False,
    "better_response_id": 0,
    "safer_response_id": 0,
}
PLAIN: dict[str, list[dict[str, Any]]] = {
    "accord": [
        {"accord": "prompt", "id": "p", "user": "u", "use_case": "chat", "split": "train", "source": "mine"}
        | {"messages": [{"role": "user", "content": "Where is bread sold?"}]}
    ],
    "grounded": [{"question": "When does it open?", "passages": [["Market", "It opens at seven."]], "answer": ["At seven."]}],
    "self-instruct-written": [{"instruction": "Add.", "instances": [{"input": "1, 1", "output": "2"}, {"input": "2, 2", "output": "4"}]}],
    "pku-safer": [SAFE],
    "mt-bench-answers": [{"question_id": 81, "answer_id": "a", "model_id": "m", "choices": [{"index": 0, "turns": ["Dear Ann"]}]}],
    "rankings": [{"prompt": "Where is bread sold?", "responses": ["At the market.", "No idea.", "In shops."], "ranks": [1, 3, 2]}],
    "responses": [{"prompt": "Where is bread sold?", "response": "At the market.", "model": "m"}],
    "demonstrations": [{"prompt": "Where is bread sold?", "response": "At the market."}],
    "prompts": [{"prompt": "What is 2+2?", "answer": "4"}],
    "text": [{"text": "The market opens at seven."}],
}
"""Rows of the formats whose tests have no excerpt by name."""
BESIDE = {"mt-bench-answers": [ASKED]}
"""Rows of a second file in the same folder, which count."""
GIVEN = {"pku-safer", "self-instruct-written", "responses"}
"""Formats that are chosen with ``--format``: their rows are those of another format, too."""


def excerpts() -> dict[str, list[dict[str, Any]]]:
    """The rows of every format, in the order in which the formats are tried."""
    sys.path.insert(0, str(ROOT / "tests"))
    from excerpts import FORMATS

    from accord.data.registry import FORMATS as KNOWN

    rows = {name: rows for name, (rows, _) in FORMATS.items()} | PLAIN
    return {name: rows[name] for name in KNOWN}


def imported(format: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of an import into a project of its own. The same rows again must add nothing."""
    from accord import Project, import_

    with tempfile.TemporaryDirectory() as scratch:
        folder, project = Path(scratch) / "rows", Project.create(Path(scratch) / "project")
        folder.mkdir()
        for name, content in (("a.jsonl", BESIDE.get(format, [])), ("b.jsonl", rows)):
            if content:
                (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
        asked = format if format in GIVEN else "auto"
        counts, again = (import_(project, folder, format=asked, quiet=True) for _ in range(2))
        assert not any(again.get(kind) for kind in KINDS), f"{format}: the same rows again added something"
        return counts


def lines() -> Iterator[str]:
    """One line of the table for each format."""
    for format, rows in excerpts().items():
        counts = imported(format, rows)
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()), format
        made = ", ".join(f"{counts[kind]} {kind if counts[kind] > 1 else kind[:-1]}" for kind in KINDS if counts.get(kind))
        aside = "; ".join(f"{number} {reason}" for part in ("dropped", "left_out") for reason, number in counts.get(part, {}).items())
        kept = dict.fromkeys(re.sub(r"-(?:[0-9a-f]{12}|.)$", "", name) for name in counts.get("extra", {}))
        unread = [*counts.get("unread", {})]
        more = [f"{len(unread) - SHOWN} more"] if len(unread) > SHOWN else []
        columns = "; ".join([", ".join(kept), *(["unread: " + ", ".join(unread[:SHOWN] + more)] if unread else [])]).removeprefix("; ")
        yield f"| {format} | {counts['read']} | {made} | {aside} | {columns} |"


def page() -> str:
    """docs/formats.md with the counts of today."""
    before, _, rest = PAGE.read_text("utf-8").partition(START)
    table = "\n".join([HEAD, *lines()])
    return f"{before}{START}\n\n{table}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
