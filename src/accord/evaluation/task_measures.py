"""What a task asks of an answer, where a plain count can tell: a measure or two for each of InstructGPT's use cases (Ouyang et al. 2022,
Table 1). Chat and other have none: no count tells a good conversation.

The measures are lexical. They tell systems on the same prompts apart; none of them is a judge.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan

from accord.evaluation.text_metrics import exact, token_f1, tokens
from accord.records import Prompt

ALIASES: Mapping[str, str] = {
    "summarization": "summarise", "summarisation": "summarise", "summarize": "summarise", "summary": "summarise",
    "classification": "classify", "extraction": "extract", "rewriting": "rewrite", "brainstorming": "brainstorm",
    "closed qa": "closed_qa", "closed-qa": "closed_qa", "open qa": "open_qa", "open-qa": "open_qa", "generate": "generation",
}  # fmt: skip
"""Other names of the use cases."""
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)、])\s*", re.MULTILINE)
_NUMBER = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_HOW = "at most|at least|exactly|no more than|fewer than|less than|in|with"
_LIMIT = re.compile(rf"\b({_HOW})\s+(\d{{1,4}}|{'|'.join(_NUMBER)})\s+(words?|sentences?|lines?)\b", re.IGNORECASE)
_LIMIT_ZH = re.compile(r"(不超过|最多|至少|不少于)\s*(\d{1,4})\s*个?(字|句)")
_WORD = re.compile(r"(?:the words?|include|mention|contain\w*|use)\s+[\"“']([^\"”']{1,60})[\"”']", re.IGNORECASE)
_COMMON = (
    "a an the and or but of to in on at for with by from as is are was were be been it its this that these those he she they we you i",
    "his her their our your my not no do does did has have had will would can could should may might what which who when where why how",
)
_NOT = re.compile(r"(?:\bnot|n['’]t|\bnever|\bwithout|\bavoid)\b(?:[^\S\n]+\w+){0,2}[^\S\n]*$", re.IGNORECASE)
"""What stands before a word that is to be left out: "do not use the word", "without the word"."""
STOP = frozenset(word for line in _COMMON for word in line.split())
"""English words that carry no content."""


def content(text: str) -> list[str]:
    """Return the words of a text that carry its content: all but the commonest English ones."""
    return [word for word in tokens(text) if word not in STOP]


def source_of(prompt: Prompt) -> str:
    """Return the text that a prompt is about: the longest part of its last message between line breaks or behind a colon."""
    asked = prompt.messages[-1].content
    parts = [part.strip() for line in asked.splitlines() for part in re.split(r"(?<=[:：])\s*", line)]
    return max((part for part in parts if part), key=len, default=asked)


def share(words: Sequence[str], there: Sequence[str]) -> float:
    """Return the share of distinct words that stand in others; NaN for none."""
    own, other = set(words), set(there)
    return len(own & other) / len(own) if own else nan


def summarise(prompt: Prompt, text: str, references: Sequence[str]) -> dict[str, float]:
    """Return how much of the source's words a summary has, how many of its own are the source's, and its length against the source's."""
    source = source_of(prompt)
    ratio = len(tokens(text)) / max(len(tokens(source)), 1)
    said, there = content(text), content(source)
    return {"source_coverage": share(there, said), "from_source": share(said, there), "length_ratio": ratio}


def rewrite(prompt: Prompt, text: str, references: Sequence[str]) -> dict[str, float]:
    """Return the share of the source's content words that are kept, and of its pairs of words that are not: meaning kept, form changed."""
    source = source_of(prompt)
    pairs = list(zip(tokens(source), tokens(source)[1:], strict=False))
    said = set(zip(tokens(text), tokens(text)[1:], strict=False))
    changed = 1 - sum(pair in said for pair in pairs) / len(pairs) if pairs else nan
    return {"kept_words": share(content(source), content(text)), "changed_form": changed}


def answer(prompt: Prompt, text: str, references: Sequence[str]) -> dict[str, float]:
    """Return whether an answer is a reference's, and the F1 of their words; nothing without references."""
    return {"exact": exact(text, references), "token_f1": token_f1(text, references)} if references else {}


def from_source(prompt: Prompt, text: str, references: Sequence[str]) -> dict[str, float]:
    """Return the measures of an answer, and how many of its content words stand in the text that it is to be taken from."""
    return {"from_source": share(content(text), content(source_of(prompt)))} | answer(prompt, text, references)


def generation(prompt: Prompt, text: str, references: Sequence[str]) -> dict[str, float]:
    """Return the share of the prompt's countable constraints that are kept; nothing where it has none."""
    kept = constraints(prompt.messages[-1].content, text)
    return {"kept_constraints": sum(kept) / len(kept)} if kept else {}


def constraints(asked: str, text: str) -> list[bool]:
    """Return for each countable constraint of a prompt whether a text keeps it: numbers of words, sentences and lines, quoted words."""
    counts = {"word": len(tokens(text)), "sentence": _sentences(text), "line": len([line for line in text.splitlines() if line.strip()])}
    kept: list[bool] = []
    for how, number, what in _LIMIT.findall(asked):
        most = _NUMBER.get(number.lower()) or int(number)
        kept.append(_fits(how.lower(), counts[what.lower().rstrip("s")], most))
    for how, number, what in _LIMIT_ZH.findall(asked):
        count = len(tokens(text)) if what == "字" else counts["sentence"]
        kept.append(count >= int(number) if how in ("至少", "不少于") else count <= int(number))
    for found in _WORD.finditer(asked):
        kept.append((found[1].lower() in text.lower()) != bool(_NOT.search(asked[: found.start()])))
    return kept


def _fits(how: str, count: int, number: int) -> bool:
    match how:
        case "at most" | "no more than":
            return count <= number
        case "at least":
            return count >= number
        case "fewer than" | "less than":
            return count < number
        case _:
            return count == number


def _sentences(text: str) -> int:
    return sum(bool(tokens(part)) for part in _SENTENCE.findall(text))


def brainstorm(prompt: Prompt, text: str, references: Sequence[str]) -> dict[str, float]:
    """Return the number of ideas, as items of a list or sentences, and the share of them that differ."""
    listed = [part.strip() for part in _ITEM.split(text) if part.strip()] if _ITEM.search(text) else _SENTENCE.findall(text)
    ideas = [" ".join(tokens(idea)) for idea in listed if tokens(idea)]
    return {"ideas": float(len(ideas)), "distinct_ideas": len(set(ideas)) / len(ideas) if ideas else nan}


MEASURES: Mapping[str, Callable[[Prompt, str, Sequence[str]], dict[str, float]]] = {
    "summarise": summarise,
    "rewrite": rewrite,
    "closed_qa": from_source,
    "extract": from_source,
    "open_qa": answer,
    "generation": generation,
    "brainstorm": brainstorm,
}


def measured(prompts: Sequence[Prompt], texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, dict[str, list[float]]]:
    """Return by use case and measure its values, for the answers where it is defined.

    The labels of classification are those that the references give; an answer is right when it names its own label and no other.
    """
    found: dict[str, dict[str, list[float]]] = {}
    cases = [ALIASES.get(prompt.use_case.lower(), prompt.use_case.lower()) for prompt in prompts]
    labels = {_plain(each) for case, own in zip(cases, references, strict=True) if case == "classify" for each in own}
    for case, prompt, text, own in zip(cases, prompts, texts, references, strict=True):
        values = MEASURES[case](prompt, text, own) if case in MEASURES else {}
        if case == "classify" and own and len(labels) > 1:
            values = {"label_accuracy": float(_label(text, own, labels))}
        for name, value in values.items():
            if not isnan(value):
                found.setdefault(case, {}).setdefault(name, []).append(value)
    return found


def _plain(text: str) -> str:
    return " ".join(tokens(text))


def _label(text: str, own: Sequence[str], labels: set[str]) -> bool:
    """Return whether a text names one of its own labels and none of the others. A label within another counts as the longer one."""
    said, right = f" {_plain(text)} ", {_plain(each) for each in own}
    named = Counter(label for label in labels if f" {label} " in said)
    kept = {one for one in named if not any(one != other and f" {one} " in f" {other} " for other in named)}
    return bool(kept) and kept <= right
