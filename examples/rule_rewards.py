"""Rules as parts of a reward: well-formed sentences, and the least effort that answers. Prints what each gives some answers.

python examples/rule_rewards.py
accord grpo my-project --rewards "model=1, rule_rewards:grammar=0.3, rule_rewards:least_effort=0.1"   # with this file in the project
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Conversation = list[dict[str, Any]]
SENTENCE = re.compile(r"[A-Z\"'(][^.!?]*[.!?][\"')]*(?=\s|$)")


def grammar(prompts: Sequence[Conversation], responses: Sequence[str], **columns: Any) -> list[dict[str, float]]:
    """Return three named parts per response, each 0 to 1; they are added up and logged one by one.

    ``sentences`` is the share of the text in sentences with a capital and an end mark, ``twice`` 1 unless a word follows itself, ``closed``
    1 unless a bracket or quotation stays open.
    """
    parts: list[dict[str, float]] = []
    for text in responses:
        said = sum(len(sentence) for sentence in SENTENCE.findall(text)) / max(len(text.strip().replace("  ", " ")), 1)
        twice = re.search(r"\b(\w+) \1\b", text, re.IGNORECASE) is not None
        closed = text.count("(") == text.count(")") and text.count('"') % 2 == 0
        parts.append({"sentences": min(said, 1.0), "twice": float(not twice), "closed": float(closed)})
    return parts


def least_effort(prompts: Sequence[Conversation], responses: Sequence[str], words: Sequence[int | None] = ()) -> list[float | None]:
    """Return minus the words beyond what the prompt needs, in tens: the column ``words`` says how many, or 20 for each of its questions.

    An empty response does nothing, and nothing is no effort to be rewarded for: the part does not apply to it.
    """
    effort: list[float | None] = []
    for place, (prompt, text) in enumerate(zip(prompts, responses, strict=True)):
        wanted = (words[place] if words else None) or 20 * max(1, prompt[-1]["content"].count("?"))
        effort.append(-max(0, len(text.split()) - wanted) / 10 if text.strip() else None)
    return effort


def main() -> None:
    prompt = [{"role": "user", "content": "Who keeps the mill?"}]
    answers = ["The miller keeps it.", "the the miller keeps (it", "Well. " * 40, ""]
    scores = zip(answers, grammar([prompt] * 4, answers), least_effort([prompt] * 4, answers), strict=True)
    print("grammar  effort  answer")
    for text, parts, effort in scores:
        print(f"{sum(parts.values()):7.2f}  {'   none' if effort is None else f'{effort:6.2f}'}  {text[:40]!r}")


if __name__ == "__main__":
    main()
