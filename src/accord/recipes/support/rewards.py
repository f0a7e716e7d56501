"""What a reply to a customer is worth: whether it offers what resolves the matter, and its tone for the customer's mood.

    accord grpo my-project --rewards "rewards:worth"
    accord label my-project --by rewards:worth          # a trial of the way, without people

Both read the text by words, in English and Chinese, and can be fooled by words: hold them against people's rankings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

UPSET = ("angry", "annoyed", "worried")
CARING = (
    *("sorry", "apolog", "understand", "frustrat", "that must", "thank you for telling", "i can see why"),
    *("抱歉", "对不起", "不好意思", "理解", "着急", "给您添麻烦", "让您"),
)
"""Words that take an upset customer seriously."""
POLITE = ("please", "thank", "glad", "happy to", "welcome", "of course", "请", "谢谢", "感谢", "您", "高兴", "好的")
RUDE = (
    *("calm down", "your fault", "your own fault", "as i said", "obviously", "you should have", "not my problem", "stop complaining"),
    *(
        "can't help you",
        "whatever",
        "read the instructions",
        "冷静点",
        "你自己",
        "都说了",
        "说过了",
        "不关我",
        "怪你",
        "爱买不买",
        "没办法",
        "别闹",
    ),
)
"""Words that blame, brush off or lecture."""
_REFUSES = re.compile(r"\b(?:cannot|can't|won't|unable to|no) (?:\w+ ){0,3}(?:refund|replace)|不能退|不予|无法退|不退|不换")
LONGEST = 700
"""Characters beyond which a reply to a customer is too long."""


def resolves(reply: str, resolved_by: Sequence[str]) -> bool:
    """Return whether a reply names one of the things that resolve the matter, and does not refuse it in the same sentence."""
    for sentence in re.split(r"(?<=[.!?。！？])\s*|\n", reply.lower()):
        named = [word for word in resolved_by if word.lower() in sentence]
        if named and not re.search(
            r"\b(?:cannot|can't|won't|unable to|no) (?:\w+ ){0,3}(?:refund|replace)|不能退|不予|无法退|不退|不换", sentence
        ):
            return True
    return False


def tone_of(reply: str, mood: str = "calm") -> float:
    """Return the tone of a reply from -1 to 1: rude words count against it, and an upset customer wants to be taken seriously."""
    text = reply.lower()
    if not text.strip():
        return -1.0
    rude = sum(word in text for word in RUDE)
    shouting = len(re.findall(r"\b[A-Z]{4,}\b", reply)) > 1 or reply.count("!") + reply.count("！") > 3
    value = 0.5 * any(word in text for word in POLITE) - 1.0 * rude - 0.5 * shouting
    if mood in UPSET:
        value += 0.5 if any(word in text for word in CARING) else -0.25
    else:
        value += 0.25
    return max(-1.0, min(1.0, value))


def tone(prompts: object, responses: Sequence[str], mood: Sequence[str | None] = ()) -> list[float]:
    """The tone of each reply, for a part of its own: ``--rewards "environment=1, rewards:tone=0.3"``."""
    moods = mood or [None] * len(responses)
    return [tone_of(reply, each or "calm") for reply, each in zip(responses, moods, strict=True)]


def worth(
    prompts: object, responses: Sequence[str], resolved_by: Sequence[Sequence[str] | None], mood: Sequence[str | None] = ()
) -> Mapping[str, list[float]]:
    """Both parts, and a third for the length."""
    wanted = [each or [] for each in resolved_by]
    return {
        "resolved": [float(resolves(reply, words)) for reply, words in zip(responses, wanted, strict=True)],
        "tone": [0.5 * value for value in tone(prompts, responses, mood)],
        "long": [-0.5 * (len(reply) > LONGEST) for reply in responses],
    }
