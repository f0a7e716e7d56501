"""Answers that must fit a grammar: before each token a mask of those that may follow, by llguidance.

A row that asks for no grammar is drawn as without any. Tokenizer and grammar are compiled outside the engine's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from accord.errors import InputError
from accord.runtime import packages


class Guide:
    """Follows one answer through a grammar."""

    def __init__(self, matcher: Any, vocabulary: int, stop: Sequence[int]) -> None:
        self._matcher, self._vocabulary, self._stop = matcher, vocabulary, stop
        self.ended = False
        """Whether the end of the answer was drawn."""
        self.problem = ""
        """Why the grammar could not be followed to its end."""

    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        """Return which tokens may come next. Where the grammar has failed, only the end may; ``problem`` then says why."""
        mask = self._mask()
        if not self.problem and not bool(mask.any()):
            self.problem = "no token can follow"
        if self.problem:
            mask = torch.zeros(self._vocabulary, dtype=torch.bool)
            mask[self._stop[0]] = True
        return mask

    def _mask(self) -> Bool[Tensor, " vocabulary"]:
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        self.problem = self.problem or str(self._matcher.get_error())
        each = (bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        return each.flatten()[: self._vocabulary].bool()

    def take(self, token: int) -> None:
        """Note the token that was drawn."""
        self.ended = token in self._stop
        if not self.problem and not self._matcher.consume_token(token):
            self.problem = str(self._matcher.get_error()) or "the drawn token does not fit"


class Grammars:
    """Compiles grammars for one model.

    Args:
        tokenizer: a fast tokenizer of transformers.
        vocabulary: number of the model's logits.
        stop: token ids that end an answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, stop: Sequence[int]) -> None:
        self._tokenizer, self._vocabulary, self._stop = tokenizer, vocabulary, list(stop)
        self._compiled: Any = None
        self._lock = Lock()

    def mark(self, text: str) -> str:
        """Return how a grammar writes one of the template's marks: as a token of its own, or as text."""
        import json

        special = {str(token): id for id, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        return f"<[{special[text]}]>" if text in special else json.dumps(text)

    def guide(self, lark: str) -> Guide:
        """Return a guide through a grammar in Lark's notation.

        Raises:
            InputError: the grammar is malformed or impossible, the tokenizer is not a fast one, or llguidance is not installed.
        """
        try:
            from llguidance import LLMatcher
        except ImportError as error:
            raise InputError("constrained answers need the package llguidance", hint=packages.install("llguidance")) from error
        tokenizer, grammar = self._opened(), LLMatcher.grammar_from_lark(lark)
        wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar, tokenizer)
        if wrong:
            raise InputError(messages[0].splitlines()[0] if messages else "the grammar is not understood")
        return Guide(LLMatcher(tokenizer, grammar, log_level=0), self._vocabulary, self._stop)

    def _opened(self) -> Any:
        from llguidance.hf import from_tokenizer

        with self._lock:
            if self._compiled is None:
                try:
                    self._compiled = from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=self._stop)
                except ValueError as error:
                    raise InputError(f"answers of this model cannot be constrained: {error}") from error
            return self._compiled
