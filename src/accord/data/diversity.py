"""How much the responses to one prompt differ: distinct n-grams and self-BLEU, of words or of token ids."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from statistics import fmean

import sacrebleu


def distinct(responses: Sequence[Sequence[Hashable]], n: int = 2) -> float:
    """Return the share of different n-grams among all n-grams of the responses to one prompt (Li et al. 2016): 1 repeats none.

    Responses shorter than ``n`` have no n-gram; 1 where none has any.
    """
    grams = [tuple(response[i : i + n]) for response in responses for i in range(len(response) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def self_bleu(responses: Sequence[Sequence[Hashable]]) -> float:
    """Return the mean BLEU-4 of each response with the others as its references, from 0 to 1 (Zhu et al. 2018): 1 says the same each time.

    Exponential smoothing stands for n-grams that never match (Chen and Cherry 2014), and the order is bounded by the response's length.

    Raises:
        ValueError: there are fewer than two responses.
    """
    if len(responses) < 2:
        raise ValueError("self-BLEU compares the responses to a prompt; two at least")
    names: dict[Hashable, str] = {}
    texts = [" ".join(names.setdefault(token, str(len(names))) for token in response) for response in responses]
    metric = sacrebleu.BLEU(tokenize="none", effective_order=True)
    return fmean(_bleu(metric, text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts))


def _bleu(metric: sacrebleu.BLEU, text: str, others: list[str]) -> float:
    if not text:  # nothing was said: alike only if the others said nothing too
        return float(all(not other for other in others))
    return metric.sentence_score(text, others).score / 100
