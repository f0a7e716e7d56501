"""How a model recommends, over the held-out prompts: hits and regret against the choices that it never saw.

accord probe my-project sft grpo --measure measures:recommend
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rewards import gives_reason, recommended, regret_of

Answer = Callable[[Sequence[Any]], list[str]]


def recommend(answer: Answer, prompts: list[str], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return for each row: a hit (the best option is recommended), the regret, whether anything is recommended at all, and with a reason.

    ``chance`` and ``chance_regret`` are those of somebody who points at an option blindly.
    """
    rows = [row for row in rows if row["extra"].get("options")]
    replies = answer([row["messages"] for row in rows])
    options: list[dict[str, float]] = [dict(row["extra"]["options"]) for row in rows]
    if not rows:
        return {"rows": 0}
    best = [max(each, key=lambda name: each[name]) for each in options]
    chosen = [recommended(reply, list(each)) for reply, each in zip(replies, options, strict=True)]
    blind = [max(each.values()) - sum(each.values()) / len(each) for each in options]
    return {
        "hit": [float(one == other) for one, other in zip(chosen, best, strict=True)],
        "regret": [regret_of(reply, each) for reply, each in zip(replies, options, strict=True)],
        "recommends": [float(bool(each)) for each in chosen],
        "reason": [float(gives_reason(reply)) for reply in replies],
        "chance": sum(1 / len(each) for each in options) / len(options),
        "chance_regret": sum(blind) / len(blind),
        "rows": len(rows),
    }
