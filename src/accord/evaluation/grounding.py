"""Grounding: does a passage support an answer? Sentences are checked one by one, and quotations word for word.

A sentence is supported when one sentence of the passage (with the one before it, where it begins with a
pronoun) holds all its names and numbers and at least half of its other content words, comparing the first five
letters of each and ignoring verbs of little content (has, keeps, enjoys); or when each of its clauses is
supported. This is a check of words, not of meaning, except that "not" and "never" must agree. docs/probe.md
says how often it agrees with the built-in world's judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH = 0.5
STEM = 5
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]?")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[\u4e00-\u9fff]")
_QUOTE = re.compile(r"[\"“”«»「『]([^\"“”«»「」『』]{6,})[\"“”«»」』]")
_SMALL_WORDS = """
a an the and or but if of to in on at by for from with as is are was were be been being it its this that these those
there here he she they them his her their him i you we my your our me us do does did has have had not no never nobody
who what where when why how which will would can could should may might must so then than too very also just about into
over after before up down out according says said text passage answer keep keeps kept live lives lived work works worked
enjoy enjoys like likes liked love loves go goes went spend spends find look looks best called named known own owns well
now okay hello good day
"""
_SMALL = frozenset(_SMALL_WORDS.split())
_PRONOUN = re.compile(r"^(?:he|she|it|they|his|her|its|their|this|these)\b|^[他她它]", re.IGNORECASE)
_SPEAKING = re.compile(r"\b(?:I|me|my|you|your|please|sure|of course)\b|我|您|你|请")
_AND = re.compile(r",? and |; |，|；|以及")
_NOT = frozenset(("not", "no", "never", "nobody", "none", "neither", "nor", "n't", "不", "没"))


@dataclass(frozen=True, slots=True)
class Checked:
    """One sentence of an answer and its source in the passage."""

    sentence: str
    source: str
    """The passage's sentence nearest to it."""
    supported: bool


def sentences(text: str) -> list[str]:
    """Return the sentences of a text."""
    return [found.group().strip() for found in _SENTENCE.finditer(text) if _WORD.search(found.group())]


def check(answer: str, passage: str) -> list[Checked]:
    """Return every sentence of an answer that states something about the passage, with its nearest source.

    A sentence about the speaker or the reader ("I hope that helps") and one with neither name nor two content
    words state nothing.
    """
    lines = sentences(passage)
    near = [[line] if not at or not _PRONOUN.search(line) else lines[at - 1 : at + 1] for at, line in enumerate(lines)]
    known = {name for line in lines for name in _content(line)[0]}
    found: list[Checked] = []
    for sentence in sentences(answer):
        names, words = _content(sentence, known)
        if _SPEAKING.search(sentence) or (not names and len(words) < 2):
            continue
        best = max(range(len(lines)), key=lambda at: _overlap(names | words, near[at]), default=None)
        source = lines[best] if best is not None else ""
        found.append(Checked(sentence, source, _supported(sentence, names, near, known)))
    return found


def supported(answer: str, passage: str) -> bool:
    """Return whether every sentence of an answer that states something is supported. An answer that states
    nothing is supported."""
    return all(each.supported for each in check(answer, passage))


def quotes(answer: str) -> list[str]:
    """Return an answer's quotations: its parts in quotation marks, of six characters or more."""
    return [found.strip(" .,;:。，") for found in _QUOTE.findall(answer)]


def quoted_from(quotation: str, passage: str) -> bool:
    """Return whether a quotation occurs in the passage word for word, apart from case and white space."""
    return " ".join(quotation.lower().split()) in " ".join(passage.lower().split())


def _supported(sentence: str, subject: set[str], near: Sequence[Sequence[str]], known: set[str]) -> bool:
    """Return whether the sentence as a whole, or each of its clauses, is supported. A list of names may come
    from anywhere in the passage."""
    names, words = _content(sentence, known)
    if any(_supports(sentence, names, words, lines) for lines in near) or (names <= known and _lists(sentence, names)):
        return True
    clauses = [clause for clause in _AND.split(sentence) if clause.strip()]
    if len(clauses) < 2:
        return False
    first = _subject(sentence, names)
    for clause in clauses:
        own, rest = _content(clause, known)
        if (own or rest) and not any(_supports(clause, own or first, rest, lines) for lines in near):
            return False
    return True


def _lists(sentence: str, names: set[str]) -> bool:
    """Return whether a sentence is a list of names and nothing else."""
    return all(word.lower()[:STEM] in names or word.lower() in ("and", "or", "the", "a", "an") for word in _WORD.findall(sentence))


def _subject(sentence: str, names: set[str]) -> set[str]:
    """Return the first name of a sentence, taken as the subject of its clauses without a name."""
    for word in _WORD.findall(sentence):
        stem = word.lower()[:STEM]
        if stem in names:
            return {stem}
    return set()


def _supports(sentence: str, names: set[str], words: set[str], lines: Sequence[str]) -> bool:
    held_names, held_words = _content(" ".join(lines))
    held = held_names | held_words
    share = len(words & held) / len(words) if words else 1.0
    return names <= held and share >= ENOUGH and _negated(sentence) == _negated(lines[-1])


def _overlap(wanted: set[str], lines: Sequence[str]) -> float:
    """Return the share of the content that these sentences hold, with few-word ones first."""
    held = set[str]()
    for line in lines:
        held.update(*_content(line))
    return len(wanted & held) / max(1, len(wanted)) - 0.01 * len(held)


def _content(text: str, known: frozenset[str] | set[str] = frozenset()) -> tuple[set[str], set[str]]:
    """Return names and numbers, and the other content words, all stemmed. A name known from the passage counts
    in lower case too."""
    names, words = set[str](), set[str]()
    for token in _WORD.findall(text):
        low = token.lower()
        if low in _SMALL:
            continue
        named = any(char.isdigit() for char in token) or token[:1].isupper()
        (names if named or low[:STEM] in known else words).add(low[:STEM])
    return names, words


def _negated(text: str) -> bool:
    return any(token.lower() in _NOT or token.lower().endswith("n't") for token in _WORD.findall(text))
