"""What a recommendation is worth to the person who asked: the worth of what is recommended, against the best of the choices.

    accord grpo my-project --rewards "rewards:worth"
    accord label my-project --by rewards:worth          # a trial of the way, without people

Beside each prompt stands ``options``, what each choice is worth to the person, from 0 to 1. No model sees it. In a shop of your own it
comes from what people bought, kept or watched to the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

CUES = (
    *(
        "recommend",
        "suggest",
        "go for",
        "go with",
        "choose",
        "pick",
        "best",
        "i'd take",
        "try",
        "perfect",
        "ideal",
        "should read",
        "should watch",
    ),
    *("推荐", "建议", "首选", "选", "适合", "试试", "最好", "可以看", "不如"),
)
AGAINST = (
    *("not ", "n't", "avoid", "instead of", "rather than", "skip", "except"),
    *("不推荐", "不建议", "不适合", "不要", "别选", "别看", "而不是", "不太适合", "避开"),
)


def plain(text: str) -> str:
    """Return a text in small letters without the marks around titles."""
    return re.sub(r"[\"“”‘’《》『』「」*_]", "", text.lower())


def recommended(reply: str, options: Sequence[str]) -> str:
    """Return the option that a reply recommends; empty where it recommends none, or all of them.

    It is the one that stands in a sentence with a word of recommendation, and with none against it; otherwise the only one that is named
    at all. A reply that recommends two or more in this way recommends the first, unless it names every option so.
    """
    text = plain(reply)
    for place, each in sorted(enumerate(options), key=lambda found: -len(found[1])):
        text = text.replace(plain(each), f"\0{place}\0")  # a title may hold a comma or a full stop
    praised, named = list[str](), list[str]()
    for sentence in re.split(r"(?<=[.!?。！？；;])\s*|\n", text):
        divided = any(word in sentence for word in AGAINST)
        for clause in re.split(r"[,，]", sentence) if divided else [sentence]:
            here = [options[int(place)] for place in re.findall(r"\0(\d+)\0", clause)]
            named += [each for each in here if each not in named]
            if any(word in clause for word in CUES) and not any(word in clause for word in AGAINST):
                praised += [each for each in here if each not in praised]
    if praised and len(praised) < max(len(options), 2):
        return praised[0]
    return named[0] if len(named) == 1 and not praised else ""


def worth_of(reply: str, options: Mapping[str, float]) -> float:
    """Return what the recommended option is worth; 0 where none is recommended."""
    return float(options.get(recommended(reply, list(options)), 0.0))


def regret_of(reply: str, options: Mapping[str, float]) -> float:
    """Return how much better the best option would have been."""
    return max(options.values()) - worth_of(reply, options)


def gives_reason(reply: str) -> bool:
    """Return whether a reply says why."""
    return (
        re.search(
            r"\b(?:because|since|as (?:it|you)|you said|you like|fits|which is)\b|因为|由于|既然|您说|您喜欢|正好|符合", reply.lower()
        )
        is not None
    )


def worth(prompts: object, responses: Sequence[str], options: Sequence[Mapping[str, float]]) -> Mapping[str, list[float]]:
    """The worth of each recommendation, and a little for a reason."""
    return {
        "choice": [worth_of(reply, each) for reply, each in zip(responses, options, strict=True)],
        "reason": [0.2 * gives_reason(reply) for reply in responses],
    }
