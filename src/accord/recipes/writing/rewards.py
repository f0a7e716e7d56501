"""What a piece of writing is worth by its form: lines, length, words that must and must not occur, initials, syllables.

    accord grpo my-project --rewards "rewards:worth"
    accord label my-project --by rewards:worth          # a trial of the way, without people

Form is the part that a program can judge. Whether a line is any good is for people: rank, and mix their reward model with this one,
``--rewards "model=1, rewards:kept=0.5"``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

_HANZI = re.compile(r"[\u4e00-\u9fff]")
_WORD = re.compile(r"[A-Za-z0-9\u00c0-\u024f]+(?:['’][A-Za-z]+)?")


def lines_of(text: str) -> list[str]:
    """Return the lines that hold something."""
    return [line.strip() for line in text.strip().splitlines() if line.strip()]


def words_in(text: str) -> int:
    """Return how many words a text has; a Chinese character is one."""
    return len(_WORD.findall(text)) + len(_HANZI.findall(text))


def characters_in(text: str) -> int:
    """Return the characters of a text as Chinese counts them: without white space and punctuation."""
    return len(re.findall(r"\w", text))


def sentences_in(text: str) -> int:
    """Return how many sentences a text has."""
    return len([each for each in re.split(r"[.!?。！？…]+[\"'”’」]?(?:\s+|$)|[。！？]", text) if re.search(r"\w", each)])


def language_of(text: str) -> str:
    """Return zh where a text has more Chinese characters than words in Latin letters, else en."""
    return "zh" if len(_HANZI.findall(text)) > len(re.findall("[A-Za-z]+", text)) else "en"


def syllables_in(line: str) -> int:
    """Return the syllables of an English line, by groups of vowels."""
    total = 0
    for word in re.findall(r"[a-z]+", line.lower()):
        groups = len(re.findall(r"[aeiouy]+", word))
        silent = word.endswith("e") and not word.endswith(("le", "ee")) and groups > 1
        total += max(groups - silent, 1)
    return total


def checks(text: str, form: Mapping[str, Any]) -> dict[str, bool]:
    """Return for each constraint of a form whether a text keeps it.

    Raises:
        ValueError: a constraint is unknown, so that a typing mistake in a form does not count as kept.
    """
    lines, low = lines_of(text), text.lower()
    found: dict[str, bool] = {}
    for name, wanted in form.items():
        match name:
            case "language":
                found[name] = language_of(text) == wanted
            case "lines":
                found[name] = len(lines) == wanted
            case "paragraphs":
                found[name] = len([each for each in re.split(r"\n\s*\n", text.strip()) if each.strip()]) == wanted
            case "sentences":
                found[name] = sentences_in(text) == wanted
            case "words":
                found[name] = wanted[0] <= words_in(text) <= wanted[1]
            case "characters":
                found[name] = wanted[0] <= characters_in(text) <= wanted[1]
            case "each_line":
                found[name] = bool(lines) and all(wanted[0] <= characters_in(line) <= wanted[1] for line in lines)
            case "words_a_line":
                found[name] = bool(lines) and all(words_in(line) <= wanted for line in lines)
            case "syllables":
                found[name] = [syllables_in(line) for line in lines] == list(wanted)
            case "first_letters":
                found[name] = [line[0].lower() for line in lines] == list(wanted.lower())
            case "starts":
                found[name] = low.lstrip("\"'“‘ \n").startswith(wanted.lower())
            case "ends":
                found[name] = text.rstrip("\"'”’ \n").endswith(wanted)
            case "must":
                found[name] = all(_holds(low, each) for each in wanted)
            case "avoid":
                found[name] = not any(_holds(low, each) for each in wanted)
            case "dialogue":
                found[name] = bool(lines) and all(re.match(r"[^:：]{1,20}[:：]\s*\S", line) for line in lines)
            case _:
                raise ValueError(f"a form has no {name!r}")
    return found


def _holds(low: str, word: str) -> bool:
    if _HANZI.search(word):
        return word in low
    return re.search(rf"\b{re.escape(word.lower())}\b", low) is not None


def kept_share(text: str, form: Mapping[str, Any]) -> float:
    """Return the share of a form's constraints that a text keeps; one that is empty or in another language than asked keeps none.

    The language is no constraint among others: a word to avoid is always avoided in another language.
    """
    found = checks(text, form)
    if not text.strip() or not found.pop("language", True):
        return 0.0
    return sum(found.values()) / len(found) if found else 1.0


def kept(prompts: object, responses: Sequence[str], form: Sequence[Mapping[str, Any]]) -> list[float]:
    """The share of the constraints that each text keeps."""
    return [kept_share(text, each) for text, each in zip(responses, form, strict=True)]


def own_words(text: str) -> float:
    """Return how little a text repeats itself: its share of different pairs of neighbouring words, 1 for a short one."""
    tokens = re.findall(f"{_WORD.pattern}|{_HANZI.pattern}", text.lower())  # of both languages: one digit is not all of a Chinese text
    neighbours = list(pairwise(tokens))
    return len(set(neighbours)) / len(neighbours) if neighbours else 1.0


def worth(prompts: object, responses: Sequence[str], form: Sequence[Mapping[str, Any]]) -> Mapping[str, list[float]]:
    """Form, and half as much for not repeating oneself."""
    return {"form": kept(prompts, responses, form), "own": [0.5 * own_words(text) if text.strip() else 0.0 for text in responses]}
