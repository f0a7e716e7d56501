"""Retrieval from given documents: sentences ranked by BM25 (Robertson and Zaragoza 2009), and quotes checked
against the documents.

English and Chinese: words of letters and digits as they are, Chinese characters in pairs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+[\"”’)\]]*|\n|$)")
_TERM = re.compile(r"[a-z0-9]+(?:['’][a-z]+)?|[\u4e00-\u9fff]+")
_SAY_LITTLE = (
    "a an and are as at be been by can could did do does for from had has have he her his how i if in is it its me my not of on or she so "
    "that the their them there they this to was we were what when where which who whom whose why will with would you your"
)
_COMMON = frozenset(_SAY_LITTLE.split())
COVERED = 0.5
"""Share of a question's content words that a sentence must have to answer it without the model's decision."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text to quote from."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence of a document, word for word: ``documents[document].text[start:end]``."""

    document: int
    start: int
    end: int
    text: str


def sentences(documents: Sequence[Document]) -> list[Quote]:
    """Return every sentence of the documents, with its position."""
    found = list[Quote]()
    for number, document in enumerate(documents):
        for match in _SENTENCE.finditer(document.text):
            text = match.group().strip()
            if _terms(text):
                start = match.start() + match.group().index(text)
                found.append(Quote(number, start, start + len(text), text))
    return found


def rank(question: str, texts: Sequence[str], most: int) -> list[int]:
    """Return the indices of the texts that match a question best, the best first. Texts without a shared word
    are left out."""
    held = [_terms(text) for text in texts]
    vocabulary = set[str]().union(*held)
    # A word that the question repeats counts once, so that the work is at most one step for each word of each text.
    asked = {term: None for term in _terms(question) if term in vocabulary}
    if not asked:
        return []
    bm25s: Any = import_module("bm25s")  # brings no types
    index = bm25s.BM25()
    index.index([terms or ["-"] for terms in held], show_progress=False)
    scores = index.get_scores(list(asked))
    fitting = [index for index, terms in enumerate(held) if any(term in asked for term in terms)]
    return sorted(fitting, key=lambda index: -float(scores[index]))[:most]


def covered(question: str, text: str) -> float:
    """Return the share of a question's content words that a text contains."""
    asked = set(_terms(question))
    return len(asked & set(_terms(text))) / len(asked) if asked else 0.0


def quotes_in(answer: str, quotable: Sequence[Quote]) -> list[Quote]:
    """Return the sentences of an answer that occur word for word in the documents. Spaces, case and quotation
    marks are ignored."""
    known = {_plain(quote.text): quote for quote in quotable}
    said = [known.get(_plain(match.group())) for match in _SENTENCE.finditer(answer)]
    return list(dict.fromkeys(quote for quote in said if quote is not None))


def _plain(text: str) -> str:
    return " ".join(text.lower().strip(" \n\t\"“”'’.!?。！？").split())


def _terms(text: str) -> list[str]:
    terms = list[str]()
    for run in _TERM.findall(text.lower()):
        if "\u4e00" <= run[0] <= "\u9fff":
            terms += [run[i : i + 2] for i in range(max(len(run) - 1, 1))]
        elif run not in _COMMON:
            terms.append(run)
    return terms
