"""A reward model from the inside: scores of many responses, and a score token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from accord.commands.models import TextScorer
from accord.records import Prompt, RankedPrompt, Response

Answer = tuple[Prompt, Response]


@dataclass(frozen=True)
class Scores:
    """The rewards of all responses in some rankings, each given once."""

    scorer: TextScorer
    by_response: Mapping[str, float]

    def of(self, ranked: Sequence[RankedPrompt]) -> list[list[float]]:
        """Return the rewards of each ranking's responses."""
        found: list[list[float]] = []
        for row in ranked:
            found.append([self.by_response[response.id] for response in row.responses])
        return found


def score_all(scorer: TextScorer, ranked: Sequence[RankedPrompt]) -> Scores:
    """Score every response in the rankings, by the tokens that were sampled where they are of this tokenizer."""
    rows: dict[str, Answer] = {}
    for row in ranked:
        rows |= {response.id: (row.prompt, response) for response in row.responses}
    return Scores(scorer, dict(zip(rows, rewards(scorer, list(rows.values())), strict=True)))


def rewards(scorer: TextScorer, rows: Sequence[Answer]) -> list[float]:
    """Return one reward per row, in their order."""
    prompts = [scorer.format.asked(prompt) for prompt, _ in rows]
    responses = [scorer.format.tokens_of(prompt, response) for prompt, response in rows]
    scores: list[float] = scorer.model.score(prompts, responses).tolist()
    return scores


@dataclass(frozen=True)
class Attribution:
    """A score as a sum: ``start``, of the prompt alone, plus the gain of each response token."""

    tokens: list[str]
    gains: list[float]
    start: float


def attribution(scorer: TextScorer, prompt: Prompt, response: Response) -> Attribution:
    """Return the gain of each token: its addition to the score of everything before it. The gains sum to the score minus ``start``.

    A prefix is scored as it is, without a stop token, so a gain is the change at the moment the token came, not the
    change if it were taken out.
    """
    asked, said = scorer.format.asked(prompt), scorer.format.tokens_of(prompt, response)
    prefixes = [said[:n] for n in range(len(said) + 1)]
    steps: list[float] = scorer.model.score([asked] * len(prefixes), prefixes).tolist()
    words = [scorer.format.tokenizer.decode([token]) for token in said]
    return Attribution(words, [after - before for before, after in pairwise(steps)], steps[0])
