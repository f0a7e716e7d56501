"""Traits of a text that people have tastes about, each counted from the text alone, and the words for more and for less of it.

They put a learned taste into words. None is about truth or harm: those are no matter of taste.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

_WORDS = re.compile(r"[一-鿿]|\w+")
_COURTESY = re.compile(
    r"\b(hope (?:that|this) helps|happy to|glad to|gladly|let me know|feel free|thank you|thanks|you are welcome|welcome|please|hello|dear"
    r"|good question|good luck|sorry|have a (?:nice|good)|take care)\b|希望对你有帮助|谢谢|请|您好|你好|很高兴|祝",
    re.I,
)
_CASUAL = re.compile(
    r"\b(?:\w+'(?:s|re|ll|ve|d|m|t)|gonna|wanna|yeah|yep|nope|ok(?:ay)?|hey|cool|stuff|guys|kinda|lol)\b|啦|哦|呀|嘛|哈哈", re.I
)
_LISTS = re.compile(r"(?m)^\s*(?:[-*•]|\d+[.)])\s")


@dataclass(frozen=True, slots=True)
class Trait:
    """A trait of a text: how it is counted, and what an answer with more or with less of it is called."""

    count: Callable[[str], float]
    more: Mapping[str, str]
    less: Mapping[str, str]

    def word(self, towards: float, language: Literal["en", "zh"] = "en") -> str:
        """Return the word for more of it (above 0) or less."""
        return (self.more if towards > 0 else self.less)[language]


def _words(text: str) -> float:
    return float(len(_WORDS.findall(text)))


def _per_word(pattern: re.Pattern[str]) -> Callable[[str], float]:
    """Return what counts a pattern per ten words, so that a longer text does not have more of it by being longer."""
    return lambda text: 10 * len(pattern.findall(text)) / max(_words(text), 10.0)


TRAITS: Mapping[str, Trait] = {
    "length": Trait(_words, {"en": "detailed", "zh": "详细"}, {"en": "brief", "zh": "简短"}),
    "courtesy": Trait(_per_word(_COURTESY), {"en": "warm", "zh": "亲切"}, {"en": "matter-of-fact", "zh": "就事论事"}),
    "casual": Trait(_per_word(_CASUAL), {"en": "casual", "zh": "随意"}, {"en": "formal", "zh": "正式"}),
    "lists": Trait(_per_word(_LISTS), {"en": "in lists", "zh": "分条列出"}, {"en": "in prose", "zh": "成段叙述"}),
    "figures": Trait(_per_word(re.compile(r"\d+")), {"en": "with figures", "zh": "带数字"}, {"en": "without figures", "zh": "不带数字"}),
    "exclaimed": Trait(_per_word(re.compile(r"[!！]")), {"en": "lively", "zh": "活泼"}, {"en": "calm", "zh": "平静"}),
    "asked": Trait(
        _per_word(re.compile(r"[?？]")), {"en": "with questions back", "zh": "会反问"}, {"en": "without questions", "zh": "不反问"}
    ),
}


def counts(text: str) -> list[float]:
    """Return each trait's count in a text, in the order of ``TRAITS``."""
    return [trait.count(text) for trait in TRAITS.values()]


SURE = 1.0
"""A lean is put into words where it is so many standard deviations from 0 ..."""
LARGE = 0.2
"""... and a standard deviation of the trait is worth at least so much, in the unit of the reward."""


def in_words(leans: Mapping[str, tuple[float, float]], language: Literal["en", "zh"] = "en") -> list[str]:
    """Return a taste in words, the strongest first.

    Args:
        leans: what one standard deviation of a trait is worth, and how sure that is, by the trait's name.
    """
    sure = {name: mean for name, (mean, spread) in leans.items() if name in TRAITS and abs(mean) >= max(SURE * spread, LARGE)}
    return [TRAITS[name].word(sure[name], language) for name in sorted(sure, key=lambda name: -abs(sure[name]))]
