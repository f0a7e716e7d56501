"""Rewards besides the reward model: rewards of texts, exact answers, length, repetition, the stop token, and mixtures of all.

Each is a ``Scorer``. A reward of texts (``accord.rewards``) may also give named parts, or say that it does not apply to a response. A
mixture weights them by name, with weights that may move linearly over a run, and records each part's scores. A
part may have a limit instead of a weight: its weight is then a Lagrange multiplier that rises while the limit is missed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from accord.algorithms.rollouts import checked_scores, own_tokens
from accord.data.scenes import scene_of
from accord.errors import RunError, UsageError
from accord.protocols import Scorer
from accord.records import Episode, Prompt, PromptTokens, final_answer
from accord.rewards.rows import ONE, Said, Scores, TextReward, counts_of, total
from accord.runtime import ranks

Tokens = Sequence[int]
Ids = tuple[int, ...]
SceneOf = Callable[[Tokens], str]
NO_SCENE = "none"
"""The scene of what has none, in metrics."""
HINT = 'for example "model=1, exact=0..2, length=-0.01, my_rewards:polite=0.5, harmless>=0.5"'


@dataclass(frozen=True)
class Term:
    """One part of the reward: ``start`` is its weight at the first step, ``end`` at the last.

    With a ``limit``, its mean must reach that instead, and ``start`` is the initial value of its multiplier.
    """

    name: str
    start: float = 1.0
    end: float = 1.0
    limit: float | None = None


def parse_rewards(text: str) -> list[Term]:
    """Parse ``name=weight, name=start..end, name>=limit, ...``; a name without weight has 1.

    A name may be an address, or have an argument with commas and equals signs in brackets or quotes: ``"regex:^a, b$"=0.5``.

    Raises:
        UsageError: nothing is rewarded, a weight is not a number, or a name occurs twice.
    """
    terms = [_term(part.strip()) for part in _divided(text) if part.strip()]
    if not any((term.start or term.end) and term.limit is None for term in terms):
        raise UsageError(f"rewards is {text!r}: nothing is rewarded", where="rewards", hint=HINT)
    if len({term.name for term in terms}) < len(terms):
        raise UsageError(f"rewards is {text!r}: a name stands in it twice", where="rewards", hint=HINT)
    return terms


def _divided(text: str) -> list[str]:
    """Divide at the commas outside of brackets and quotes."""
    parts, depth, quote, escaped = [""], 0, "", False
    for letter in text:
        closed = not quote and depth == 0
        if letter == "," and closed:
            parts.append("")
            continue
        parts[-1] += letter
        if escaped or letter == "\\":
            escaped = not escaped
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in QUOTES and not parts[-1][:-1].strip():
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth = max(0, depth - 1)
    if depth or quote:
        what = f"rewards is {text!r}: a bracket or a quote is not closed"
        raise UsageError(what, where="rewards", hint='put an argument with single brackets in quotes: "regex:[(]"=0.5')
    return parts


QUOTES = "\"'`"
NUMBER = r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*"
_WEIGHTED = re.compile(rf"(.*?)\s*(>=|=)({NUMBER}(?:\.\.{NUMBER})?)", re.DOTALL)
_WITH_ARGUMENT = re.compile(r"\w+(\+\w+)?(:[^:]|\()")
"""A name whose argument may hold signs of its own."""


def _term(text: str) -> Term:
    found = _WEIGHTED.fullmatch(text)
    if found is None and (text[:1] in QUOTES or (_WITH_ARGUMENT.match(text) and not re.search(r"=[^=/]*$", text))):
        return Term(_unquoted(text))
    if found is not None and (text[:1] in QUOTES or _WITH_ARGUMENT.match(text)):
        name, limited, weight = found.group(1), found.group(2), found.group(3)
    else:
        name, limited, weight = (part.strip() for part in text.partition(">=" if ">=" in text else "="))
    start, _, end = (weight or "1").partition("..")
    name = _unquoted(name)
    try:
        term = Term(name, limit=float(weight)) if limited == ">=" else Term(name, float(start), float(end or start))
    except ValueError:
        raise UsageError(f"{weight!r} is no weight", where=f"rewards, {name}", hint=HINT) from None
    if not name or not all(abs(value) < float("inf") for value in (term.start, term.end, term.limit or 0.0)):
        raise UsageError(f"{text!r} is no reward with a weight", where="rewards", hint=HINT)
    return term


def _unquoted(name: str) -> str:
    name = name.strip()
    return name[1:-1] if len(name) > 1 and name[0] in QUOTES and name[-1] == name[0] else name


def no_scene(_: Tokens) -> str:
    """Return that a prompt is of no scene."""
    return ""


@dataclass(frozen=True)
class Mixture:
    """A weighted sum of scorers. ``parts`` maps each term's name to its scorer; ``multipliers`` are those of the terms with limits."""

    terms: Sequence[Term]
    parts: Mapping[str, Scorer]
    multipliers: dict[str, float] = field(default_factory=dict[str, float])
    scenes: Mapping[str, Sequence[Term]] = field(default_factory=dict[str, "Sequence[Term]"])
    """The terms of the scenes that have their own, in place of ``terms``."""
    scene_of: SceneOf = no_scene
    """Tells the scene of a prompt by its tokens."""

    def at(self, step: int, steps: int, *, dense: bool = False) -> Weighted:
        """Return the reward of one step of a run, counted from 1; ``dense`` keeps rewards of single tokens on their tokens."""
        share = (step - 1) / max(steps - 1, 1)
        moving = {term.name: term.start + share * (term.end - term.start) for term in self.terms}
        weights = {term.name: moving[term.name] if term.limit is None else self._multiplier(term) for term in self.terms}
        limits = {term.name: term.limit for term in self.terms if term.limit is not None}
        return Weighted(weights, self.parts, limits, dense, scenes=self._by_scene(share), scene_of=self.scene_of)

    def _by_scene(self, share: float) -> dict[str, dict[str, float]]:
        """Return the weights of the scenes that have their own, at a share of the run."""
        weights: dict[str, dict[str, float]] = {}
        for scene, terms in self.scenes.items():
            weights[scene] = {term.name: term.start + share * (term.end - term.start) for term in terms}
        return weights

    def settled(self) -> Weighted:
        """Return the reward that evaluations of the same run are compared by: final weights, and nothing for parts with limits, whose
        weights move with what was sampled."""
        weights = {term.name: term.end if term.limit is None else 0.0 for term in self.terms}
        return Weighted(weights, self.parts, scenes=self._by_scene(1.0), scene_of=self.scene_of)

    def adapt(self, scored: Weighted, rate: float) -> None:
        """Move each multiplier by ``rate`` times the shortfall of its part's mean, but not below 0 (Dai et al. 2024, section 3.3)."""
        for term in self.terms:
            if term.limit is not None and scored.applied(term.name):
                missed = term.limit - scored.mean(term.name)
                self.multipliers[term.name] = max(0.0, self._multiplier(term) + rate * missed)

    def _multiplier(self, term: Term) -> float:
        return self.multipliers.get(term.name, term.start)


def mixture_of(scorer: Scorer | Mixture) -> Mixture:
    """Return a mixture unchanged, or a single scorer as the part ``model``."""
    return scorer if isinstance(scorer, Mixture) else Mixture((Term("model"),), {"model": scorer})


@runtime_checkable
class DenseScorer(Protocol):
    """A part with a reward for each token: [rows, steps], 0 after a row's end. Its ``score`` is their sum."""

    def score_tokens(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Tensor: ...


@runtime_checkable
class PartedScorer(Protocol):
    """A part that has named parts of its own, or does not apply to every response."""

    def outcome(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Scores: ...


@runtime_checkable
class Listener(Protocol):
    """A part that rewards whole episodes."""

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Take the episodes that are scored next."""
        ...


@dataclass(frozen=True)
class Rows:
    """The prompts behind token ids: those of ``PromptTokens`` themselves, or the prompts of these ``ids``."""

    prompts: Sequence[Prompt]
    ids: Sequence[Tokens]
    text: Callable[[Tokens], str]
    """Converts response tokens to text."""
    _places: dict[Ids, int] = field(default_factory=dict[Ids, int], repr=False, compare=False)

    def __post_init__(self) -> None:
        self._places.update({tuple(ids): place for place, ids in enumerate(self.ids)})

    def said(self, prompts: Sequence[Tokens], responses: Sequence[Tokens], episodes: Sequence[Episode] = ()) -> list[Said]:
        """Return each pair as a reward of texts sees it. An episode is its last answer, after the whole conversation before it.

        Raises:
            RunError: a prompt is none of these.
        """
        rows: list[Said] = []
        for place, (ids, response) in enumerate(zip(prompts, responses, strict=True)):
            prompt = self._prompt(ids)
            messages, text = prompt.messages, self.text(response)
            if episodes and (turns := [i for i, each in enumerate(episodes[place].messages) if each.role == "assistant"]):
                messages, text = episodes[place].messages[: turns[-1]], episodes[place].messages[turns[-1]].content
            rows.append(Said(messages, text, prompt.extra, prompt.id, tuple(response)))
        return rows

    def scene(self, ids: Tokens) -> str:
        """Return the scene that the prompt of these tokens carries; empty for none."""
        return scene_of(self._prompt(ids))

    def _prompt(self, ids: Tokens) -> Prompt:
        if isinstance(ids, PromptTokens):
            return ids.prompt
        if (place := self._places.get(tuple(ids))) is None:
            raise RunError("a prompt that is none of the run's was asked", where="rewards")
        return self.prompts[place]


@dataclass(frozen=True)
class TextPart:
    """A reward of texts as a part of a mixture. Of several processes the first asks it, once for all rows."""

    reward: TextReward
    rows: Rows
    heard: list[Episode] = field(default_factory=list[Episode], repr=False, compare=False)
    """The episodes that are scored next."""

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Take the episodes that are scored next."""
        self.heard[:] = episodes

    def outcome(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Scores:
        """Return its named parts; None where one does not apply."""
        episodes = list(self.heard)
        self.heard.clear()
        return ranks.from_first(lambda: self.reward.score(self.rows.said(prompts, responses, episodes)))

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        """Return the sum of its parts; 0 where none applies."""
        return torch.tensor([value or 0.0 for value in total(self.outcome(prompts, responses), len(responses))])

    @property
    def counts(self) -> Counter[str]:
        """What it could not judge, by kind."""
        return counts_of(self.reward)


@dataclass(frozen=True)
class Weighted:
    """A mixture at fixed weights, which records each part's scores; ``limits`` are those of parts whose weight is a multiplier."""

    weights: Mapping[str, float]
    """Those of prompts whose scene has none of its own; with ``scenes``, of all others."""
    parts: Mapping[str, Scorer]
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    dense: bool = False
    given: dict[str, list[Tensor]] = field(default_factory=dict[str, "list[Tensor]"])
    """Each part's scores, of the responses that it applies to; those of named parts as "part.name"."""
    spread: list[Tensor] = field(default_factory=list["Tensor"])
    over: dict[str, list[bool]] = field(default_factory=dict[str, "list[bool]"])
    """For each part that has a window, whether each pair exceeded it."""
    applies: dict[str, list[Tensor]] = field(default_factory=dict[str, "list[Tensor]"])
    """For each part, whether it applies to each response."""
    scenes: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, "Mapping[str, float]"])
    """The weights of the scenes that have their own, in place of ``weights``."""
    scene_of: SceneOf = no_scene
    in_scenes: dict[str, list[float]] = field(default_factory=dict[str, "list[float]"])
    """The rewards given in each scene."""

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        """Return the weighted sum of every part that applies; a limited part counts relative to its limit.

        With limits, the sum is divided by 1 plus their multipliers, so that a high multiplier does not give a high reward.

        Raises:
            RunError: a part returned too few scores or one that is not a number; the error names the part.
        """
        if self.scenes:
            return self._score_in_scenes(prompts, responses)
        reward, share = torch.zeros(len(responses)), 1 + sum(self.weights[name] for name in self.limits)
        self.spread.clear()
        for name, weight in self.weights.items():
            tokens = self._tokens(name, prompts, responses)
            if tokens is not None:
                scores, applies = tokens.sum(1), torch.ones(len(responses), dtype=torch.bool)
            else:
                scores, applies = self._scores(name, prompts, responses)
            scores = checked_scores(scores, len(responses), f"the reward {name}").cpu()
            self.given.setdefault(name, []).append(scores[applies])
            self.applies.setdefault(name, []).append(applies)
            if window := getattr(self.parts[name], "max_tokens", 0):
                lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
                self.over.setdefault(name, []).extend(length > window for length in lengths)
            if tokens is not None:
                self.spread.append(tokens * (weight / share))
                scores = torch.zeros_like(scores)
            reward += weight * torch.where(applies, scores - self.limits.get(name, 0.0), 0.0)
        return reward / share if self.limits else reward

    def _score_in_scenes(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        """Return the weighted sum by the weights of each prompt's scene. A part is asked about the rows alone for which it has a weight."""
        where = [self.scene_of(prompt) for prompt in prompts]
        rows = [self.scenes.get(scene, self.weights) for scene in where]
        width = max((len(response) for response in responses), default=0)
        reward, spread = torch.zeros(len(responses)), torch.zeros(len(responses), width)
        self.spread.clear()
        for name in dict.fromkeys(each for weights in (self.weights, *self.scenes.values()) for each in weights):
            chosen = [row for row, weights in enumerate(rows) if weights.get(name, 0.0)]
            if not chosen:
                continue
            part = replace(self, weights={name: 1.0}, limits={}, scenes={}, spread=[])
            reward[chosen] += torch.tensor([rows[row][name] for row in chosen]) * part.score(
                [prompts[row] for row in chosen], [responses[row] for row in chosen]
            )
            if (tokens := part.token_rewards()) is not None:
                weights = torch.tensor([rows[row][name] for row in chosen])
                spread[chosen, : tokens.shape[1]] += weights[:, None] * tokens
        if spread.any():
            self.spread.append(spread)
        totals: list[float] = (reward + spread.sum(1)).tolist()
        for scene, total_reward in zip(where, totals, strict=True):
            self.in_scenes.setdefault(scene or NO_SCENE, []).append(total_reward)
        return reward

    def _scores(self, name: str, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Return a part's scores and where it applies; note those of its named parts."""
        part = self.parts[name]
        if not isinstance(part, PartedScorer):
            return part.score(prompts, responses), torch.ones(len(responses), dtype=torch.bool)
        parts = part.outcome(prompts, responses)
        for own, numbers in parts.items():
            if own != ONE:
                self.given.setdefault(f"{name}.{own}", []).append(torch.tensor([each for each in numbers if each is not None]))
        sums = total(parts, len(responses))
        return torch.tensor([each or 0.0 for each in sums]), torch.tensor([each is not None for each in sums], dtype=torch.bool)

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Take what an environment gave for the responses that are scored next."""
        for part in self.parts.values():
            if isinstance(part, Listener):
                part.hear(episodes)

    def token_rewards(self) -> Tensor | None:
        """Return the weighted token rewards of the last scoring [rows, steps]; None when all reward is in the scores."""
        return torch.stack(self.spread).sum(0) if self.spread else None

    def _tokens(self, name: str, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Tensor | None:
        part = self.parts[name]
        return part.score_tokens(prompts, responses).float().cpu() if self.dense and isinstance(part, DenseScorer) else None

    def mean(self, name: str) -> float:
        """Return the mean of a part's scores so far, before its weight, over the responses that it applies to."""
        return torch.cat(self.given[name]).mean().item()

    def applied(self, name: str) -> bool:
        """Return whether a part applied to any response so far."""
        return any(len(scores) for scores in self.given.get(name, ()))

    def metrics(self) -> dict[str, float]:
        """Return for each part the mean of all its scores, before its weight, and the weight.

        Also the share of responses that a part applies to, where that is not all of them, and that no part applies to; what a part could
        not judge, counted by kind; the share of pairs that exceeded the window of a reward model.
        """
        means = {f"reward.{name}": self.mean(name) for name in self.given if self.applied(name)}
        applies = {name: torch.cat(rows) for name, rows in self.applies.items()}
        means |= {f"applies.{name}": rows.float().mean().item() for name, rows in applies.items() if not rows.all()}
        # With scenes each part is asked about rows of its own, so that the columns have no common rows.
        none = ~torch.stack(list(applies.values())).any(0) if applies and not self.scenes else torch.zeros(0)
        if none.any():
            means["unrewarded"] = none.float().mean().item()
        for name, part in self.parts.items():
            counts = counts_of(part)
            means |= {f"counted.{name}.{kind}": float(count) for kind, count in counts.items() if count}
            counts.clear()
        means |= {f"over_window.{name}": sum(long) / len(long) for name, long in self.over.items() if any(long)}
        means |= {f"reward.in.{scene}": sum(given) / len(given) for scene, given in sorted(self.in_scenes.items())}
        return means | {f"weight.{name}": weight for name, weight in self.weights.items()}


class Earned:
    """The rewards that an environment gave: each on the last token of its turn, or their sum over the episode."""

    def __init__(self) -> None:
        self.rewards: list[list[float]] = []

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Take the rewards of the episodes that are scored next."""
        self.rewards = [episode.rewards for episode in episodes]

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        return self.score_tokens(prompts, responses).sum(1)

    def score_tokens(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, "rows steps"]:
        width, known = max((len(response) for response in responses), default=0), [len(rewards) for rewards in self.rewards]
        if known != [len(response) for response in responses]:
            raise RunError("no environment has answered these responses", where="the reward environment")
        return torch.tensor([[*rewards, *[0.0] * (width - len(rewards))] for rewards in self.rewards])


@dataclass(frozen=True)
class Length:
    """A response's number of tokens, including the stop token; of an episode those of the model's own."""

    heard: list[Episode] = field(default_factory=list[Episode], repr=False, compare=False)

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Take the episodes that are scored next."""
        self.heard[:] = episodes

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        return torch.tensor([float(len(own)) for own in own_tokens(responses, self.heard)])


@dataclass(frozen=True)
class Repetition:
    """The share of a response's token n-grams that occurred in it before: 0 without repetition, near 1 for one word repeated throughout.

    Of an episode those of the model's own tokens.
    """

    n: int = 3
    heard: list[Episode] = field(default_factory=list[Episode], repr=False, compare=False)

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Take the episodes that are scored next."""
        self.heard[:] = episodes

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        return torch.tensor([self._repeated(own) for own in own_tokens(responses, self.heard)])

    def _repeated(self, response: list[int]) -> float:
        grams = [tuple(response[i : i + self.n]) for i in range(len(response) - self.n + 1)]
        return 1 - len(set(grams)) / len(grams) if grams else 0.0


@dataclass(frozen=True)
class Ended:
    """1 for a response that ends with a stop token, 0 for a truncated one."""

    stop: tuple[int, ...]

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        return torch.tensor([float(bool(response) and response[-1] in self.stop) for response in responses])


@dataclass(frozen=True)
class ExactAnswer:
    """1 for a response whose final answer equals its prompt's, otherwise 0. ``answers`` maps each prompt's tokens to its answer."""

    answers: Mapping[tuple[int, ...], Decimal]
    text: Callable[[Tokens], str]
    """Converts response tokens to text."""

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        pairs = zip(prompts, responses, strict=True)
        return torch.tensor([float(final_answer(self.text(response)) == self._answer(prompt)) for prompt, response in pairs])

    def _answer(self, prompt: Tokens) -> Decimal:
        try:
            return self.answers[tuple(prompt)]
        except KeyError:
            raise RunError("a prompt without a known answer was asked", where="the reward exact") from None


def is_answer_key(text: str) -> bool:
    """Return whether a text is only an answer without its derivation: nothing to learn from, but enough to check by."""
    return text.lstrip().startswith("####")
