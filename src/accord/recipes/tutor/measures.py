"""How a model teaches, over the held-out prompts: questions that the text answers, the right level, hints before solutions.

accord probe my-project sft grpo --measure measures:tutor
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rewards import fits_level, gives_away, grade, quiz_share

Answer = Callable[[Sequence[Any]], list[str]]


def tutor(answer: Answer, prompts: list[str], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return for each row what applies to it.

    ``answerable`` is the share of the wished questions that are there and answered by the text. ``right_level`` says whether the answer
    asks for no more than two grades above the class; ``grade`` is what it asks for. ``asks_back`` says whether a pupil who wants help is
    asked something and not told the solution.
    """
    rows = [row for row in rows if "level" in row["extra"]]
    found: dict[str, list[float]] = {"answerable": [], "right_level": [], "grade": [], "asks_back": []}
    for row, reply in zip(rows, answer([row["messages"] for row in rows]), strict=True):
        extra = row["extra"]
        if extra.get("questions"):
            found["answerable"].append(quiz_share(reply, str(extra["text"]), int(extra["questions"])))
        if extra.get("solution"):
            asks = "?" in reply or "？" in reply
            found["asks_back"].append(float(asks and not gives_away(reply, str(extra["solution"]))))
        found["right_level"].append(float(bool(reply.strip()) and fits_level(reply, float(extra["level"]))))
        found["grade"].append(min(grade(reply), 20.0))
    return {name: values for name, values in found.items() if values} | {"rows": len(rows)}
