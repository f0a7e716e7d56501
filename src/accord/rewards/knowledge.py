"""A reward for knowing what one knows, without gold and without labels: an admission is worth most where the model's own answers
disagree, a plain answer where they agree.

Before training, the model that the policy starts from answers each question several times. A response states a probability c that
what it says is so: 1 when it says something, 0 when it admits that it does not know. y is whether one of those
answers, drawn at random, says the same. The reward is the quadratic score of c against y (Brier 1950), averaged over those answers:

    1 - [p 2 (1 - t) (1 - c)^2 + (1 - p) 2 t c^2]        p: share of the answers that say what the response says;
                                                         of an admission, the largest share that any answer has

With the threshold t = 1/2 that is a plain answer's p, and an admission's 1 - p. Any other t weighs the two errors as a cost-weighted proper
score does (Buja et al. 2005): stating is worth more than admitting exactly where p is above t. Expected reward cannot be raised by claiming
more or less certainty than those answers bear out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from accord.rewards.rows import ONE, Said, Scores

Groups = Callable[[Sequence[tuple[str, Sequence[str]]]], list[list[str]]]
"""Names the cluster of each answer to each question, by meaning."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a model says to one question: a text of each meaning, with its share of the answers. Admissions are left out of them."""

    question: str
    shares: Mapping[str, float]

    @property
    def most(self) -> float:
        """The largest share that anything stated has; 0 where every answer was an admission."""
        return max(self.shares.values(), default=0.0)


def known_from(question: str, texts: Sequence[str], groups: Sequence[str], unknown: str) -> Known:
    """Return what answers with these clusters amount to; ``unknown`` names the cluster of admissions."""
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for text, name in zip(texts, groups, strict=True):
        if name != unknown:
            first.setdefault(name, text)
            counts[name] = counts.get(name, 0) + 1
    return Known(question, {first[name]: count / len(texts) for name, count in counts.items()})


def quadratic(stated: float, share: float, threshold: float) -> float:
    """Return the score of a stated probability where this share of the answers bears it out."""
    return 1 - (share * 2 * (1 - threshold) * (1 - stated) ** 2 + (1 - share) * 2 * threshold * stated**2)


@dataclass(frozen=True)
class KnowledgeReward:
    """The reward. It does not apply to prompts that ask for no fact.

    Args:
        known: by prompt id.
        groups: what tells which answers mean the same.
        admits: tells which responses admit that they do not know; these state the probability 0, all others 1.
    """

    known: Mapping[str, Known]
    groups: Groups
    admits: Callable[[Sequence[str]], Sequence[bool]]
    threshold: float = 0.5

    def score(self, rows: Sequence[Said]) -> Scores:
        """Return each response's score, 0 to 1 at the threshold 1/2."""
        worth: list[float | None] = [None] * len(rows)
        facts = [place for place, row in enumerate(rows) if row.id in self.known]
        claims: list[int] = []
        for place, admitted in zip(facts, self.admits([rows[place].response for place in facts]), strict=True):
            if admitted:
                worth[place] = quadratic(0.0, self.known[rows[place].id].most, self.threshold)
            else:
                claims.append(place)
        asked = [self.known[rows[place].id] for place in claims]
        named = self.groups([(known.question, [*known.shares, rows[place].response]) for known, place in zip(asked, claims, strict=True)])
        for place, known, names in zip(claims, asked, named, strict=True):
            of_cluster = dict(zip(names, known.shares.values(), strict=False))
            worth[place] = quadratic(1.0, of_cluster.get(names[-1], 0.0), self.threshold)
        return {ONE: worth}
