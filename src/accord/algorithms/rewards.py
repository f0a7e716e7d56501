"""Rewards besides the reward model: Python functions, verifiable answers, length, repetition, the stop token, and mixtures of all.

Each is a ``Scorer``. A mixture weights them by name, with weights that may move linearly over a run, and records each part's scores. A
part may have a limit instead of a weight: its weight is then a Lagrange multiplier that rises while the limit is missed.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from accord.algorithms.rollouts import checked_scores
from accord.errors import RunError, UsageError
from accord.protocols import Scorer
from accord.records import Episode, final_answer
from accord.runtime import ranks

Tokens = Sequence[int]
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

    Raises:
        UsageError: nothing is rewarded, a weight is not a number, or a name occurs twice.
    """
    terms = [_term(part.strip()) for part in text.split(",") if part.strip()]
    if not any((term.start or term.end) and term.limit is None for term in terms):
        raise UsageError(f"rewards is {text!r}: nothing is rewarded", where="rewards", hint=HINT)
    if len({term.name for term in terms}) < len(terms):
        raise UsageError(f"rewards is {text!r}: a name stands in it twice", where="rewards", hint=HINT)
    return terms


def _term(text: str) -> Term:
    name, limited, weight = (part.strip() for part in text.partition(">=" if ">=" in text else "="))
    start, _, end = (weight or "1").partition("..")
    try:
        term = Term(name, limit=float(weight)) if limited == ">=" else Term(name, float(start), float(end or start))
    except ValueError:
        raise UsageError(f"{weight!r} is no weight", where=f"rewards, {name}", hint=HINT) from None
    if not name or not all(abs(value) < float("inf") for value in (term.start, term.end, term.limit or 0.0)):
        raise UsageError(f"{text!r} is no reward with a weight", where="rewards", hint=HINT)
    return term


@dataclass(frozen=True)
class Mixture:
    """A weighted sum of scorers. ``parts`` maps each term's name to its scorer; ``multipliers`` are those of the terms with limits."""

    terms: Sequence[Term]
    parts: Mapping[str, Scorer]
    multipliers: dict[str, float] = field(default_factory=dict[str, float])

    def at(self, step: int, steps: int, *, dense: bool = False) -> Weighted:
        """Return the reward of one step of a run, counted from 1; ``dense`` keeps rewards of single tokens on their tokens."""
        share = (step - 1) / max(steps - 1, 1)
        moving = {term.name: term.start + share * (term.end - term.start) for term in self.terms}
        weights = {term.name: moving[term.name] if term.limit is None else self._multiplier(term) for term in self.terms}
        return Weighted(weights, self.parts, {term.name: term.limit for term in self.terms if term.limit is not None}, dense)

    def adapt(self, scored: Weighted, rate: float) -> None:
        """Move each multiplier by ``rate`` times the shortfall of its part's mean, but not below 0 (Dai et al. 2024, section 3.3)."""
        for term in self.terms:
            if term.limit is not None:
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


@dataclass(frozen=True)
class Weighted:
    """A mixture at fixed weights, which records each part's scores; ``limits`` are those of parts whose weight is a multiplier."""

    weights: Mapping[str, float]
    parts: Mapping[str, Scorer]
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    dense: bool = False
    given: dict[str, list[Tensor]] = field(default_factory=dict[str, "list[Tensor]"])
    spread: list[Tensor] = field(default_factory=list["Tensor"])
    over: dict[str, list[bool]] = field(default_factory=dict[str, "list[bool]"])
    """For each part that has a window, whether each pair exceeded it."""

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        """Return the weighted sum of every part's scores; a limited part counts relative to its limit.

        With limits, the sum is divided by 1 plus their multipliers, so that a high multiplier does not give a high reward.

        Raises:
            RunError: a part returned too few scores or one that is not a number; the error names the part.
        """
        total, share = torch.zeros(len(responses)), 1 + sum(self.weights[name] for name in self.limits)
        self.spread.clear()
        for name, weight in self.weights.items():
            tokens = self._tokens(name, prompts, responses)
            scores = self.parts[name].score(prompts, responses) if tokens is None else tokens.sum(1)
            scores = checked_scores(scores, len(responses), f"the reward {name}").cpu()
            self.given.setdefault(name, []).append(scores)
            if window := getattr(self.parts[name], "max_tokens", 0):
                lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
                self.over.setdefault(name, []).extend(length > window for length in lengths)
            if tokens is not None:
                self.spread.append(tokens * (weight / share))
                scores = torch.zeros_like(scores)
            total += weight * (scores - self.limits.get(name, 0.0))
        return total / share if self.limits else total

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Take what an environment gave for the responses that are scored next."""
        for part in self.parts.values():
            if isinstance(part, Earned):
                part.hear(episodes)

    def token_rewards(self) -> Tensor | None:
        """Return the weighted token rewards of the last scoring [rows, steps]; None when all reward is in the scores."""
        return torch.stack(self.spread).sum(0) if self.spread else None

    def _tokens(self, name: str, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Tensor | None:
        part = self.parts[name]
        return part.score_tokens(prompts, responses).float().cpu() if self.dense and isinstance(part, DenseScorer) else None

    def mean(self, name: str) -> float:
        """Return the mean of a part's scores so far, before its weight."""
        return torch.cat(self.given[name]).mean().item()

    def metrics(self) -> dict[str, float]:
        """Return for each part the mean of all its scores, before its weight, and the weight.

        Also the share of pairs that exceeded the window of a reward model, for each that had any.
        """
        means = {f"reward.{name}": self.mean(name) for name in self.given}
        means |= {f"over_window.{name}": sum(long) / len(long) for name, long in self.over.items() if any(long)}
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
    """A response's number of tokens, including the stop token."""

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        return torch.tensor([float(len(response)) for response in responses])


@dataclass(frozen=True)
class Repetition:
    """The share of a response's token n-grams that occurred in it before: 0 without repetition, near 1 for one word repeated throughout."""

    n: int = 3

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        return torch.tensor([self._repeated(list(response)) for response in responses])

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


Function = Callable[[list[str], list[str]], Sequence[float]]


def load_function(address: str, folder: Path) -> Function:
    """Import ``module:function``, looking in ``folder`` (the project) and the current folder before installed packages.

    Raises:
        UsageError: there is no such module or function, or importing it fails.
    """
    module, _, name = address.partition(":")
    before = list(sys.path)
    sys.path[:0] = [str(folder), str(Path.cwd())]
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        hint = f"a file {module}.py in the project's folder, with a function {name}(prompts, responses)"
        raise UsageError(f"cannot be imported: {type(error).__name__}: {error}", where=f"rewards, {address}", hint=hint) from error
    finally:
        sys.path[:] = before
    if not callable(found):
        raise UsageError("is no function", where=f"rewards, {address}")
    return cast(Function, found)


@dataclass(frozen=True)
class PythonReward:
    """Any function of texts: ``function(prompts, responses)`` returns one number per response within ``seconds``."""

    name: str
    function: Function
    prompt_text: Callable[[Tokens], str]
    response_text: Callable[[Tokens], str]
    seconds: float = 600

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Tensor:
        """Call the function; a mixture checks how many numbers came back. Of several processes the first calls it, once for all rows.

        Raises:
            RunError: it raises, takes too long, or does not return a list of numbers.
        """
        asked = ([self.prompt_text(prompt) for prompt in prompts], [self.response_text(response) for response in responses])
        where = f"the reward {self.name}"
        returned = ranks.from_first(lambda: _within(self.seconds, lambda: self.function(*asked), where))
        try:
            return torch.as_tensor(returned, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"returned what is no list of numbers: {returned!r:.80}", where=where) from error


def _within(seconds: float, work: Callable[[], Any], where: str) -> Any:
    """Return the result of ``work``, which runs in a thread of its own. The thread is abandoned when it takes too long.

    Raises:
        RunError: it raised, or took too long.
    """
    result: dict[str, Any] = {}

    def run() -> None:
        try:
            result["returned"] = work()
        except BaseException as error:
            result["raised"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise RunError(f"did not come back within {seconds:g} s", where=where, hint="mend it and go on with --resume")
    if "raised" in result:
        error = result["raised"]
        raise RunError(f"raised {type(error).__name__}: {error}", where=where, hint="mend it and go on with --resume") from error
    return result["returned"]
