"""Text metrics that papers report beside human preference: overlap with references, coverage, information per word.

BLEU (Papineni et al. 2002), chrF (Popovic 2015) and TER (Snover et al. 2006) are sacrebleu's, with its Chinese tokenizer where the
reference is Chinese. ROUGE (Lin 2004) is computed here: the package rouge-score, unchanged since 2022, deletes all but ASCII letters and
digits, so that two Chinese texts have nothing in common. On English texts the figures are its own (a test holds them). Exact match and
token F1 follow SQuAD (Rajpurkar et al. 2016), by character in Chinese. None of them measures quality: they say how much an answer looks
like another.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import log2, nan

import sacrebleu

from accord.data.classifiers.project_set import DEFAULT, ClassifierSet
from accord.errors import InputError
from accord.evaluation.slices import language_of

IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{IDEOGRAPHS}]|[^\W_{IDEOGRAPHS}]+")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
LONGEST_MOVED = 100
"""Words of the longest text whose edits are counted: the time for TER grows with their cube."""


def tokens(text: str) -> list[str]:
    """Return the words of a text in lower case; Chinese and Japanese characters count one by one."""
    return _TOKEN.findall(text.lower())


def bleu(text: str, references: Sequence[str]) -> float:
    """Return sentence BLEU-4 from 0 to 1; orders that a short text cannot have are left out."""
    return _bleu(_tokenizer(references)).sentence_score(text, list(references)).score / 100


def corpus_bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return BLEU-4 of all texts together, from 0 to 1: the figure that translation papers report."""
    most = max(len(each) for each in references)
    columns = [[each[min(place, len(each) - 1)] for each in references] for place in range(most)]
    flat = [reference for each in references for reference in each]
    metric = sacrebleu.BLEU(tokenize=_tokenizer(flat))
    return metric.corpus_score(list(texts), columns).score / 100


def chrf(text: str, references: Sequence[str]) -> float:
    """Return chrF2, the F-score of character n-grams up to 6, from 0 to 1."""
    return _chrf().sentence_score(text, list(references)).score / 100


def ter(text: str, references: Sequence[str]) -> float:
    """Return the edits, with moves of phrases, over the words of the reference: 0 says the same, and there is no upper end.

    NaN where a text has more than ``LONGEST_MOVED`` words: the search for moves would take seconds.
    """
    if max(len(tokens(each)) for each in (text, *references)) > LONGEST_MOVED:
        return nan
    return _ter().sentence_score(text, list(references)).score / 100


def rouge_n(text: str, references: Sequence[str], n: int) -> float:
    """Return the F1 of common n-grams, by the best reference."""
    return max(_f1(_grams(tokens(text), n), _grams(tokens(each), n)) for each in references)


def rouge_l(text: str, references: Sequence[str]) -> float:
    """Return the F1 of the longest common subsequence of words, by the best reference."""
    return max(_common_f1(tokens(text), tokens(each)) for each in references)


def exact(text: str, references: Sequence[str]) -> float:
    """Return 1 where a reference says the same but for case, punctuation and articles, else 0."""
    return float(any(_plain(text) == _plain(each) for each in references))


def token_f1(text: str, references: Sequence[str]) -> float:
    """Return the F1 of common words without articles, by the best reference; two texts without a word are equal."""
    said, found = Counter(tokens(_plain(text))), list[float]()
    for each in references:
        other = Counter(tokens(_plain(each)))
        found.append(_f1(said, other) if said or other else 1.0)
    return max(found)


METRICS: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "bleu": bleu,
    "chrf": chrf,
    "ter": ter,
    "rouge_1": lambda text, references: rouge_n(text, references, 1),
    "rouge_2": lambda text, references: rouge_n(text, references, 2),
    "rouge_l": rouge_l,
    "exact": exact,
    "token_f1": token_f1,
}


def against(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, list[float]]:
    """Return each metric's value for each text, NaN where it is not defined.

    Args:
        references: of each text, one at least.

    Raises:
        InputError: a text has no reference, or there are not as many texts as lists of references.
    """
    if len(texts) != len(references) or not all(references):
        raise InputError("each text needs a reference", where="text metrics")
    found: dict[str, list[float]] = {}
    for name, metric in METRICS.items():
        found[name] = [metric(text, each) for text, each in zip(texts, references, strict=True)]
    return found


def answered(texts: Sequence[str], classifiers: ClassifierSet = DEFAULT) -> list[bool]:
    """Return whether each text answers at all: it has a word, refuses nothing, and does not say that it does not know."""
    stances = classifiers.labels("stance", texts)
    return [bool(tokens(text)) and stance not in ("refusal", "admission") for text, stance in zip(texts, stances, strict=True)]


def coverage(texts: Sequence[str], intents: Sequence[str], classifiers: ClassifierSet = DEFAULT) -> tuple[list[float], list[float]]:
    """Return 1 or 0 for each text that answers or does not, and the same for each intent, of which one text has to answer."""
    by_text = [float(answers) for answers in answered(texts, classifiers)]
    by_intent: dict[str, float] = {}
    for intent, each in zip(intents, by_text, strict=True):
        by_intent[intent] = max(each, by_intent.get(intent, 0.0))
    return by_text, list(by_intent.values())


class Information:
    """Bits of information per word, after the principle of least effort (Zipf 1949): say what is new in few words.

    A word is worth ``-log2`` of its share among the words of a collection, and counts once per text; a word of the prompt is worth nothing.
    So are repetition, echo and filler, which all the same make a text longer.
    """

    def __init__(self, collection: Iterable[str]) -> None:
        self.counts = Counter[str]()
        for text in collection:
            self.counts.update(tokens(text))
        self.total = sum(self.counts.values()) + len(self.counts) + 1

    def per_word(self, text: str, prompt: str = "") -> float:
        """Return the bits per word of a text; 0 where it has no word."""
        words, known = tokens(text), set(tokens(prompt))
        new = {word for word in words if word not in known}
        bits = sum(-log2((self.counts[word] + 1) / self.total) for word in sorted(new))
        return bits / len(words) if words else 0.0


@cache
def _bleu(tokenizer: str) -> sacrebleu.BLEU:
    return sacrebleu.BLEU(tokenize=tokenizer, effective_order=True)


@cache
def _chrf() -> sacrebleu.CHRF:
    return sacrebleu.CHRF()


@cache
def _ter() -> sacrebleu.TER:
    return sacrebleu.TER(normalized=True, asian_support=True)


def _tokenizer(references: Sequence[str]) -> str:
    return "zh" if language_of("".join(references)) == "zh" else "13a"


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _f1(one: Counter[str] | Counter[tuple[str, ...]], other: Counter[str] | Counter[tuple[str, ...]]) -> float:
    common = sum(min(count, other[gram]) for gram, count in one.items())  # type: ignore[index]
    return 2 * common / (one.total() + other.total()) if common else 0.0


def _common_f1(one: Sequence[str], other: Sequence[str]) -> float:
    common = _common_length(one, other)
    return 2 * common / (len(one) + len(other)) if common else 0.0


def _common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, a whole row at a time in the bits of a number (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        match = row & places.get(word, 0)
        row = (row + match | row - match) & full
    return len(one) - row.bit_count()


def _plain(text: str) -> str:
    kept = (char for char in unicodedata.normalize("NFKC", text).lower() if not unicodedata.category(char).startswith("P"))
    return " ".join(_ARTICLE.sub(" ", "".join(kept)).split())
