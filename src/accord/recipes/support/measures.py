"""How a model serves customers: resolved, turns needed, and tone, over the held-out prompts.

    accord probe my-project sft grpo --measure measures:support

Each held-out prompt's simulated customer speaks with the model for up to four turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from users import Customer

TURNS = 4
Answer = Callable[[Sequence[Any]], list[str]]


def support(answer: Answer, prompts: list[str], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return for each row whether it was resolved, the turns that it took (``TURNS`` + 1 where it was not), and the mean tone."""
    rows = [row for row in rows if row["extra"].get("resolved_by")]
    customers = [Customer() for _ in rows]
    talks = [customer.reset(row) for customer, row in zip(customers, rows, strict=True)]
    resolved, turns, open_talks = [0.0] * len(rows), [float(TURNS + 1)] * len(rows), list(range(len(rows)))
    for turn in range(1, TURNS + 1):
        replies = answer([talks[place] for place in open_talks])
        still = list[int]()
        for place, reply in zip(open_talks, replies, strict=True):
            talks[place].append({"role": "assistant", "content": reply})
            said, _, done, info = customers[place].step(talks[place])
            talks[place] += said
            if not done:
                still.append(place)
            elif info["resolved"]:
                resolved[place], turns[place] = 1.0, float(turn)
        open_talks = still
    tones = [sum(customer.tones) / len(customer.tones) for customer in customers]
    moods = sorted({customer.mood for customer in customers})
    by_mood = {f"resolved_{mood}": [r for r, c in zip(resolved, customers, strict=True) if c.mood == mood] for mood in moods}
    return {"resolved": resolved, "turns": turns, "tone": tones, "customers": len(rows), **by_mood} if rows else {"customers": 0}
