"""Rewards besides the reward model: a Python function, verifiable answers, length, repetition, the stop token, and mixtures of all.

Each is a ``Scorer``; a mixture weighs them by name, with weights that may move linearly over a run, and remembers what each gave. A
part may be held above a limit instead of weighed: its weight is then a Lagrange multiplier that rises while the limit is missed.
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
from accord.records import final_answer

Tokens = Sequence[int]
HINT = 'for example "model=1, exact=0..2, length=-0.01, my_rewards:polite=0.5, harmless>=0.5"'


@dataclass(frozen=True)
class Term:
    """One part of the reward: ``start`` is its weight at the first step, ``end`` at the last.

    With a ``limit`` its mean is to reach that instead, and ``start`` is the first value of its multiplier.
    """

    name: str
    start: float = 1.0
    end: float = 1.0
    limit: float | None = None


def parse_rewards(text: str) -> list[Term]:
    """Reads ``name=weight, name=start..end, name>=limit, ...``; a name without weight has 1.

    Raises:
        UsageError: nothing is rewarded, a weight is no number, or a name stands twice.
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
    """A weighted sum of scorers. ``parts`` gives each term's scorer by its name; ``multipliers`` are of the terms with limits."""

    terms: Sequence[Term]
    parts: Mapping[str, Scorer]
    multipliers: dict[str, float] = field(default_factory=dict[str, float])

    def at(self, step: int, steps: int, *, dense: bool = False) -> Weighted:
        """The reward of one step of a run, counted from 1; ``dense`` leaves what parts give single tokens where they give it."""
        share = (step - 1) / max(steps - 1, 1)
        moving = {term.name: term.start + share * (term.end - term.start) for term in self.terms}
        weights = {term.name: moving[term.name] if term.limit is None else self._multiplier(term) for term in self.terms}
        return Weighted(weights, self.parts, {term.name: term.limit for term in self.terms if term.limit is not None}, dense)

    def adapt(self, scored: Weighted, rate: float) -> None:
        """Moves each multiplier by ``rate`` times how far its part's mean missed the limit, not below 0 (Dai et al. 2024, section 3.3)."""
        for term in self.terms:
            if term.limit is not None:
                missed = term.limit - scored.mean(term.name)
                self.multipliers[term.name] = max(0.0, self._multiplier(term) + rate * missed)

    def _multiplier(self, term: Term) -> float:
        return self.multipliers.get(term.name, term.start)


def mixture_of(scorer: Scorer | Mixture) -> Mixture:
    """A mixture as it is, or a scorer alone as the part ``model``."""
    return scorer if isinstance(scorer, Mixture) else Mixture((Term("model"),), {"model": scorer})


@runtime_checkable
class DenseScorer(Protocol):
    """A part that knows what each token is worth: [rows, steps], 0 behind a row's end. Its ``score`` is their sum."""

    def score_tokens(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Tensor: ...


@dataclass(frozen=True)
class Weighted:
    """A mixture at fixed weights, which remembers what each part gave; ``limits`` are of those whose weight is a multiplier."""

    weights: Mapping[str, float]
    parts: Mapping[str, Scorer]
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    dense: bool = False
    given: dict[str, list[Tensor]] = field(default_factory=dict[str, "list[Tensor]"])
    spread: list[Tensor] = field(default_factory=list["Tensor"])

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        """The weighted sum of every part's scores; a limited part counts from its limit on.

        With limits all of it is divided by 1 plus their multipliers, so that a high multiplier makes no high reward.

        Raises:
            RunError: a part returned too few scores or one that is not a number; names the part.
        """
        total, share = torch.zeros(len(responses)), 1 + sum(self.weights[name] for name in self.limits)
        self.spread.clear()
        for name, weight in self.weights.items():
            tokens = self._tokens(name, prompts, responses)
            scores = self.parts[name].score(prompts, responses) if tokens is None else tokens.sum(1)
            scores = checked_scores(scores, len(responses), f"the reward {name}").cpu()
            self.given.setdefault(name, []).append(scores)
            if tokens is not None:
                self.spread.append(tokens * (weight / share))
                scores = torch.zeros_like(scores)
            total += weight * (scores - self.limits.get(name, 0.0))
        return total / share if self.limits else total

    def token_rewards(self) -> Tensor | None:
        """What the parts gave single tokens when they last scored, weighed [rows, steps]; None when all of it is in the scores."""
        return torch.stack(self.spread).sum(0) if self.spread else None

    def _tokens(self, name: str, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Tensor | None:
        part = self.parts[name]
        return part.score_tokens(prompts, responses).float().cpu() if self.dense and isinstance(part, DenseScorer) else None

    def mean(self, name: str) -> float:
        """Mean of what a part gave so far, before its weight."""
        return torch.cat(self.given[name]).mean().item()

    def metrics(self) -> dict[str, float]:
        """Of each part, its mean over all that was scored, before its weight, and the weight."""
        means = {f"reward.{name}": self.mean(name) for name in self.given}
        return means | {f"weight.{name}": weight for name, weight in self.weights.items()}


@dataclass(frozen=True)
class Length:
    """A response's number of tokens, stop token included."""

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        return torch.tensor([float(len(response)) for response in responses])


@dataclass(frozen=True)
class Repetition:
    """The share of a response's n-grams of tokens that stood in it before: 0 when none did, near 1 for one word said forever."""

    n: int = 3

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        return torch.tensor([self._repeated(list(response)) for response in responses])

    def _repeated(self, response: list[int]) -> float:
        grams = [tuple(response[i : i + self.n]) for i in range(len(response) - self.n + 1)]
        return 1 - len(set(grams)) / len(grams) if grams else 0.0


@dataclass(frozen=True)
class Ended:
    """1 for a response that ends with a stop token, 0 for one that was cut."""

    stop: tuple[int, ...]

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        return torch.tensor([float(bool(response) and response[-1] in self.stop) for response in responses])


@dataclass(frozen=True)
class ExactAnswer:
    """1 for a response whose final answer equals its prompt's, else 0. ``answers`` knows each prompt by its tokens."""

    answers: Mapping[tuple[int, ...], Decimal]
    text: Callable[[Tokens], str]
    """Response tokens to text."""

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Float[Tensor, " rows"]:
        pairs = zip(prompts, responses, strict=True)
        return torch.tensor([float(final_answer(self.text(response)) == self._answer(prompt)) for prompt, response in pairs])

    def _answer(self, prompt: Tokens) -> Decimal:
        try:
            return self.answers[tuple(prompt)]
        except KeyError:
            raise RunError("a prompt without a known answer was asked", where="the reward exact") from None


def is_answer_key(text: str) -> bool:
    """Whether it is an answer without a way to it: nothing to learn to say, but enough to check by."""
    return text.lstrip().startswith("####")


Function = Callable[[list[str], list[str]], Sequence[float]]


def load_function(address: str, folder: Path) -> Function:
    """Imports ``module:function``, looking in ``folder`` (the project) and the current folder before what is installed.

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
    """Any function of texts: ``function(prompts, responses)`` returns one number a response, within ``seconds``."""

    name: str
    function: Function
    prompt_text: Callable[[Tokens], str]
    response_text: Callable[[Tokens], str]
    seconds: float = 600

    def score(self, prompts: Sequence[Tokens], responses: Sequence[Tokens]) -> Tensor:
        """Asks the function; a mixture checks how many numbers came back.

        Raises:
            RunError: it raises, does not come back in time, or returns something that is no list of numbers.
        """
        asked = ([self.prompt_text(prompt) for prompt in prompts], [self.response_text(response) for response in responses])
        returned = _within(self.seconds, lambda: self.function(*asked), f"the reward {self.name}")
        try:
            return torch.as_tensor(returned, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"returned what is no list of numbers: {returned!r:.80}", where=f"the reward {self.name}") from error


def _within(seconds: float, work: Callable[[], Any], where: str) -> Any:
    """What ``work`` returns; it runs in a thread of its own, which is left behind when it takes too long.

    Raises:
        RunError: it raised, or took longer.
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
