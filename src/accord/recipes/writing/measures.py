"""How a model writes, over the held-out prompts: whether it keeps the form, and whether it says something of its own.

accord probe my-project sft grpo --measure measures:writing
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from rewards import checks, kept_share, own_words

NEIGHBOURS = 3
Answer = Callable[[Sequence[Any]], list[str]]


def grams(text: str, n: int = 3) -> set[tuple[str, ...]]:
    """Return the runs of n words of a text; a Chinese character is a word."""
    tokens = re.findall(r"[a-z0-9']+|[\u4e00-\u9fff]", text.lower())
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def overlap(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    """Return the share of the first that is in the second."""
    return len(one & other) / len(one) if one else 0.0


def novelty(place: int, texts: Sequence[str], prompts: Sequence[str]) -> float:
    """Return how much of a text stands neither in its prompt nor in the answers to the prompts that are most like its own.

    A model that has one poem for all occasions scores low, and so does one that repeats what it was asked.
    """
    mine = grams(texts[place])
    if not mine:
        return 0.0
    asked = [grams(prompt, 1) for prompt in prompts]
    others = [other for other in range(len(prompts)) if other != place]
    others.sort(key=lambda other: -overlap(asked[place], asked[other]))
    near = [overlap(mine, grams(texts[other])) for other in others[:NEIGHBOURS]]
    return 1.0 - max([overlap(mine, grams(prompts[place])), *near])


def writing(answer: Answer, prompts: list[str], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return for each row the share of the form that is kept, whether all of it is, novelty, and how little the text repeats itself."""
    rows = [row for row in rows if row["extra"].get("form")]
    texts = answer([row["messages"] for row in rows])
    asked = [str(row["messages"][-1]["content"]) for row in rows]
    forms = [row["extra"]["form"] for row in rows]
    if not rows:
        return {"rows": 0}
    return {
        "kept": [kept_share(text, form) for text, form in zip(texts, forms, strict=True)],
        "kept_all": [float(bool(text.strip()) and all(checks(text, form).values())) for text, form in zip(texts, forms, strict=True)],
        "novelty": [novelty(place, texts, asked) for place in range(len(rows))],
        "own_words": [own_words(text) for text in texts],
        "rows": len(rows),
    }
