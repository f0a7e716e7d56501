"""Profiles of text sets, and records that look wrong: demonstrations without an answer, contradictory comparisons, copied texts.

Refusals, insults, languages and personal data are told by classifiers whose cards stand in docs/classifiers.md.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accord.data.classifiers.project_set import DEFAULT, ClassifierSet
from accord.data.duplicates import near, normal, sketch
from accord.data.pipeline import whole_text
from accord.records import Demonstration, Prompt, RankedPrompt, conversation_key

_PLACEHOLDER = re.compile(
    r"^\W*(?:todo|tbd|n/?a|none|null|nan|test(?:ing)?|asdf\w*|lorem ipsum.*|xxx+|\?+|\.+"
    r"|-+|无|暂无|测试|略)\W*$",
    re.IGNORECASE | re.DOTALL,
)
_WORD = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]|[^\W_\u3040-\u30ff\u4e00-\u9fff]+(?:['’][^\W_]+)?")
_SHORT_IS_FINE = frozenset({"open_qa", "closed_qa", "classification", "classify", "extraction", "extract", "chat"})
_QUESTIONS_ARE_FINE = frozenset({"brainstorm", "brainstorming", "rewrite"})
_SHOWN = 20
_OWN = 40
"""Length in characters from which two people do not write the same text by chance."""
QUANTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A record that looks wrong."""

    id: str
    why: str
    text: str
    labeler: str = ""
    like: str = ""
    """The record that it resembles."""


def words(text: str) -> int:
    """Return the number of words in a text; a Chinese or Japanese character counts as one."""
    return len(_WORD.findall(text))


def profile(texts: Sequence[str], *, threshold: float, classifiers: ClassifierSet = DEFAULT) -> dict[str, Any]:
    """Return lengths, languages, duplicates, insults, refusals and personal data of a set; shares are of all its texts.

    Args:
        threshold: similarity from which texts count as near duplicates.
        classifiers: tell languages, insults, refusals and personal data.
    """
    if not texts:
        return {"texts": 0}
    plain = [normal(text) for text in texts]
    like = near(sketch(plain), np.arange(len(texts)), threshold)
    repeated = len(plain) - len(set(plain))
    personal = [label == "personal" for label in classifiers.labels("personal", texts)]
    found = {"toxic": classifiers.toxic(texts), "refusals": classifiers.refuses(texts), "personal": personal}
    found["empty"] = [not text.strip() for text in texts]
    return {
        "texts": len(texts),
        "words": _quantiles([words(text) for text in texts]),
        "characters": _quantiles([len(text) for text in texts]),
        "languages": _shares(Counter(classifiers.labels("language", texts)), len(texts)),
        "exact_duplicates": round(repeated / len(texts), 4),
        "near_duplicates": round((int((like >= 0).sum()) - repeated) / len(texts), 4),
        **{name: round(sum(there) / len(texts), 4) for name, there in found.items()},
    }


def answer_nothing(demonstrations: Iterable[Demonstration], *, short: int) -> list[Suspect]:
    """Return the demonstrations whose response does not answer its prompt, with the reason.

    Args:
        short: fewer words than this are too few, except where one word can be the answer.
    """
    found: list[Suspect] = []
    for demonstration in demonstrations:
        if why := _nothing(demonstration, short):
            found.append(Suspect(demonstration.id, why, demonstration.text[:200], demonstration.labeler))
    return found


def _nothing(demonstration: Demonstration, short: int) -> str:
    text, asked = demonstration.text.strip(), whole_text(demonstration.prompt)
    plain = normal(text)
    if not plain:
        return "empty"
    if _PLACEHOLDER.match(text):
        return "a placeholder"
    if len(plain) > 20 and plain in normal(asked):
        return "repeats the prompt"
    sentences = [part for part in re.split(r"(?<=[.!?。！？])\s*", text) if part]
    if all(part.endswith(("?", "？")) for part in sentences) and demonstration.prompt.use_case not in _QUESTIONS_ARE_FINE:
        return "only asks back"
    return "few words" if words(text) < short and demonstration.prompt.use_case not in _SHORT_IS_FINE else ""


def nearly_held_out(prompts: Sequence[Prompt], *, threshold: float) -> list[Suspect]:
    """Return prompts of the training split that nearly repeat a held-out one; the same conversation is not among them."""
    if not prompts:
        return []
    held_out = np.flatnonzero([prompt.split != "train" for prompt in prompts])
    training = np.flatnonzero([prompt.split == "train" for prompt in prompts])
    like = near(sketch([normal(whole_text(prompt)) for prompt in prompts]), np.concatenate([held_out, training]), threshold)
    found: list[Suspect] = []
    for prompt, original in zip(prompts, map(int, like), strict=True):
        other = prompts[original]
        apart = prompt.split == "train" != other.split and conversation_key(prompt.messages) != conversation_key(other.messages)
        if original >= 0 and apart:
            found.append(Suspect(prompt.id, f"nearly a prompt of {other.split}", whole_text(prompt)[:200], prompt.user, other.id))
    return found


def near_identical(demonstrations: Sequence[Demonstration], *, threshold: float) -> list[Suspect]:
    """Return demonstrations with near-identical texts for different prompts, with their writers: pasted, or copied from each other."""
    if not demonstrations:
        return []
    plain = [normal(demonstration.text) for demonstration in demonstrations]
    order = np.flatnonzero([len(text) >= _OWN for text in plain])
    like = near(sketch(plain), order, threshold)
    found: list[Suspect] = []
    for demonstration, original in zip(demonstrations, map(int, like), strict=True):
        other = demonstrations[original]
        if original >= 0 and other.prompt.id != demonstration.prompt.id:
            why = "like the labeler's own" if other.labeler == demonstration.labeler else "like another's"
            found.append(Suspect(demonstration.id, why, demonstration.text[:200], demonstration.labeler, other.id))
    return found


def contradictions(ranked: Iterable[RankedPrompt]) -> dict[str, Any]:
    """Count comparisons that cannot all be right, prompt by prompt; responses with the same text count as one.

    Returns:
        ``pairs`` judged, ``disputed`` pairs judged both ways (``by_one`` of them by one labeler), ``self_ties`` (a text ranked above
        itself),
        ``cycles`` of three in the majority's preferences, and examples of each.
    """
    counts, examples = Counter[str](), list[dict[str, Any]]()
    for _, group in itertools.groupby(sorted(ranked, key=lambda r: r.prompt.id), key=lambda r: r.prompt.id):
        wins = _wins(list(group), counts)
        pairs = {tuple(sorted(pair)) for pair in wins}
        counts["pairs"] += len(pairs)
        for one, other in sorted(pairs):
            both = (wins.get((one, other), []), wins.get((other, one), []))
            if all(both):
                counts["disputed"] += 1
                same = sorted(set(both[0]) & set(both[1]))
                counts["by_one"] += bool(same)
                if len(examples) < _SHOWN:
                    examples.append({"better": one[:200], "worse": other[:200], "for": len(both[0]), "against": len(both[1]), "both": same})
        counts["cycles"] += _cycles({pair: len(by) for pair, by in wins.items()})
    return {name: counts[name] for name in ("pairs", "disputed", "by_one", "self_ties", "cycles")} | {"examples": examples}


def _wins(group: Sequence[RankedPrompt], counts: Counter[str]) -> dict[tuple[str, str], list[str]]:
    """Return for each pair of texts the labelers who preferred the first."""
    wins: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in group:
        placed = [(response.text, rank) for response, rank in zip(each.responses, each.ranks, strict=True)]
        for (one, first), (other, second) in itertools.combinations(placed, 2):
            if first == second:
                continue
            if one == other:
                counts["self_ties"] += 1
                continue
            wins[(one, other) if first < second else (other, one)].append(each.labeler)
    return wins


def _cycles(wins: dict[tuple[str, str], int]) -> int:
    """Return the number of triples of texts that the majority prefers in a circle."""
    better = {(one, other) for (one, other), count in wins.items() if count > wins.get((other, one), 0)}
    texts = sorted(set(itertools.chain.from_iterable(better)))
    circles = 0
    for a, b, c in itertools.combinations(texts, 3):
        forward = {(a, b), (b, c), (c, a)}
        backward = {(b, a), (c, b), (a, c)}
        circles += forward <= better or backward <= better
    return circles


def _quantiles(values: Sequence[int]) -> dict[str, float]:
    cuts = np.percentile(np.array(values), QUANTILES).tolist()
    return {f"p{cut}": round(float(value), 1) for cut, value in zip(QUANTILES, cuts, strict=True)} | {
        "mean": round(sum(values) / len(values), 1)
    }


def _shares(counts: Counter[str], total: int) -> dict[str, float]:
    return {name: round(count / total, 4) for name, count in counts.most_common(12)}
