"""Answers to one question, put together by what they mean, and how far a model's own answers disagree.

Semantic entropy follows Farquhar et al. 2024 (Nature 630): sample several answers, put those of one meaning into one cluster, and take
the entropy over clusters. It is high where a model makes its answer up anew each time. ``ShortAnswers`` is the meaning that needs no
model: two answers are alike when the words that they add to the question are the same. It takes a paraphrase for another answer, so an
entailment model or a judge is better on real text (``commands/knowledge.py`` opens them).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from accord.data.classifiers.project_set import DEFAULT

Admits = Callable[[Sequence[str]], Sequence[bool]]
"""Tells which answers admit ignorance: the classifier ``stance`` of the project."""
Asked = tuple[str, Sequence[str]]
"""A question and some answers to it."""
UNKNOWN = "does not know"
"""The meaning of every answer that admits ignorance."""
_SENTENCE = re.compile(r"(?:[^.!?。！？\n]|(?<=\d)\.(?=\d)|(?<=\b[A-Za-z])\.(?=[A-Za-z]\b))+")
"""No sentence ends within 3.14 or U.S.A."""
_WORD = re.compile(r"[\u3400-\u9fff]|(?:(?<!\w)-(?=\d))?[^\W_\u3400-\u9fff]+(?:['.,][^\W_\u3400-\u9fff]+)*(?:\+\+|#(?!\w))?")
"""Chinese characters one by one; numbers with their sign and their fraction; C++ and C# are no C."""
_SMALL_WORDS = """
a an the and or but of to in on at by for from with as is are was were be been being it its this that these those there
here he she they him his her their i you we my your our me us do does did has have had so then than too very also just
about well okay hello good please sure think believe guess probably perhaps maybe heard say says said people everybody
knows know morning afternoon evening day answer would will can could should may might must who what where when why how
which called named 的 了 是 在 有 和 与 吗 呢 吧 啊 我 你 您 他 她 它 们 这 那 就 也 都 很 会 想
"""
_SMALL = frozenset(_SMALL_WORDS.split())
_DENIALS = frozenset(("not", "no", "never", "不", "没"))
_ENDINGS = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|e)$")


class Meaning(Protocol):
    """What tells whether two answers to a question mean the same."""

    @property
    def name(self) -> str:
        """What a table calls it."""
        ...

    def groups(self, rows: Sequence[Asked]) -> list[list[str]]:
        """Return for each question the name of each answer's cluster; ``UNKNOWN`` for admissions."""
        ...


@dataclass(frozen=True)
class ShortAnswers:
    """Alike when the words that an answer adds to its question are the same. Needs no model."""

    admits: Admits = DEFAULT.admits
    name: str = "normalised short answers"

    def groups(self, rows: Sequence[Asked]) -> list[list[str]]:
        """Return for each question the name of each answer's cluster."""
        found: list[list[str]] = []
        for question, texts in rows:
            admitted = self.admits(texts)
            found.append([UNKNOWN if unsure else short_answer(question, text) for text, unsure in zip(texts, admitted, strict=True)])
        return found


def short_answer(question: str, text: str) -> str:
    """Return the words that an answer adds to its question, in order, from the sentence that is most about it.

    A sentence that only denies gives way to one that says something. Case, punctuation, courtesy and small words do
    not count. An answer that adds nothing is all its own words.
    """
    asked = set(map(_stem, _words(question)))
    best, most = list[str](), (False, False, -1)
    for found in _SENTENCE.finditer(text):
        words = _words(found.group())
        added = [word for word in words if _stem(word) not in asked]
        says_more, about = bool(set(added) - _DENIALS), len(words) - len(added)
        if words and (about > 0, says_more, about) > most:
            best, most = added or words, (about > 0, says_more, about)
    return " ".join(best) or text.strip().lower()


def holds_answer(text: str, reference: str) -> bool:
    """Return whether the words of a reference answer stand in a text, one after another."""
    wanted, said = _all_words(reference), _all_words(text)
    return bool(wanted) and any(said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1))


def _words(text: str) -> list[str]:
    return [word for word in _all_words(text) if word not in _SMALL]


def _all_words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("’", "'").replace("\N{MINUS SIGN}", "-"))


def _stem(word: str) -> str:
    return _ENDINGS.sub("", word)


def clusters(texts: Sequence[str], same: Callable[[str, str], bool]) -> list[int]:
    """Return the number of each text's cluster: the first one whose first text means the same (Farquhar et al. 2024)."""
    firsts: list[str] = []
    numbers: list[int] = []
    for text in texts:
        number = next((at for at, first in enumerate(firsts) if text == first or same(first, text)), len(firsts))
        if number == len(firsts):
            firsts.append(text)
        numbers.append(number)
    return numbers


def shares(groups: Sequence[str]) -> dict[str, float]:
    """Return each cluster's share of the samples, the largest first."""
    return {name: count / len(groups) for name, count in Counter(groups).most_common()}


def entropy(probabilities: Sequence[float]) -> float:
    """Return the entropy in nats of probabilities that sum to 1."""
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def discrete_entropy(groups: Sequence[str]) -> float:
    """Return the discrete semantic entropy: that of the clusters' shares of the samples."""
    return entropy(list(shares(groups).values()))


def semantic_entropy(groups: Sequence[str], logprobs: Sequence[float]) -> float:
    """Return the semantic entropy: that of the clusters' probabilities, each the sum over its samples, all together 1.

    Args:
        logprobs: of each sampled answer; Farquhar et al. take the mean over its tokens, so that long answers are not unlikely ones.
    """
    most = max(logprobs)
    weights = [math.exp(each - most) for each in logprobs]
    total, of_cluster = sum(weights), dict[str, float]()
    for name, weight in zip(groups, weights, strict=True):
        of_cluster[name] = of_cluster.get(name, 0.0) + weight / total
    return entropy(list(of_cluster.values()))
