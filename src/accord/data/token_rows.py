"""Rows of token ids from a prompt and a response, and the one rule for those that are too long, whatever the method.

A row that does not fit the window is left out and counted, or loses the left of its prompt, or stops the run, as ``long_rows`` says.
A response is never cut: it would be learned without its end. A prompt that is cut keeps a quarter of the window at least, since a
response without its prompt would be learned under any prompt at all. It never loses a picture: what follows is about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from accord.data.template_render import EndlessTemplate
from accord.errors import InputError, UsageError
from accord.runtime.pictures import shows

LongRows = Literal["drop", "cut_prompt", "refuse"]
MOST_TOKENS = 2048
"""The window of a model whose context is longer, where none is asked for: activations and logits grow with it."""
Record = TypeVar("Record")
Row = TypeVar("Row")


class RowTooLong(InputError):
    """A prompt, or a prompt with its response, that does not fit. ``tokens`` is its length."""

    def __init__(self, what: str, tokens: int, *, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.tokens = tokens


@dataclass(frozen=True, slots=True)
class JoinedTokens:
    """Token ids of a prompt and a response; the last ``kept`` are the response."""

    tokens: list[int]
    kept: int
    cut: int
    """Tokens of the prompt that were cut from the left because both together exceeded the window."""


def window_tokens(max_tokens: int, context: int, stage: str) -> int:
    """Return the longest row in tokens: ``max_tokens``, or with 0 the model's context, but no more than ``MOST_TOKENS``.

    Args:
        context: the model's longest sequence; 0 where its configuration sets no limit.

    Raises:
        UsageError: the window is longer than the context, so that the model would train at positions that it does not have.
    """
    if context and max_tokens > context:
        hint = f"set it to {context} at most, or to 0 for the model's own"
        raise UsageError(f"max_tokens is {max_tokens}, but the model's context holds {context}", where=stage, hint=hint)
    return max_tokens or min(context or MOST_TOKENS, MOST_TOKENS)


@dataclass
class RowWindow:
    """The longest row that a run learns from, what becomes of longer ones, and how many there were."""

    tokens: int
    long_rows: LongRows = "drop"
    rows: int = 0
    left_out: int = 0
    """Records that nothing is learned from: too long, empty, or refused by the chat template."""
    cut: int = 0
    """Rows whose prompt lost its left."""
    responses_left_out: int = 0
    """Responses that are too long in rankings whose others fit."""
    examples: list[InputError] = field(default_factory=list[InputError])
    """The first few records that were left out."""

    @classmethod
    def of(cls, max_tokens: int, long_rows: LongRows, context: int, stage: str) -> RowWindow:
        """Return the window that settings ask for. Raises as ``window_tokens`` does."""
        return cls(window_tokens(max_tokens, context, stage), long_rows)

    def join(self, prompt: Sequence[int], response: Sequence[int], where: str, *, shortest: int = 1) -> JoinedTokens:
        """Join a prompt and a response.

        Args:
            where: names the row in an error, such as ``prompt 7``.
            shortest: shortest response that teaches anything, in tokens.

        Raises:
            RowTooLong: they do not fit, and the prompt may not be cut, or too little of it would remain.
            InputError: the response is shorter than ``shortest``.
        """
        if len(response) < shortest or not prompt:
            what = f"{len(prompt)} prompt and {len(response)} response tokens: nothing to learn from"
            raise InputError(what, where=where, hint="write a response, or remove the row")
        tokens = [*prompt, *response]
        over = max(len(tokens) - self.tokens, 0)
        if over and (self.long_rows != "cut_prompt" or len(prompt) - over < max(self.tokens // 4, 1) or shows(prompt[:over])):
            what = f"{len(prompt)} prompt and {len(response)} response tokens in a window of {self.tokens}"
            hint = "raise max_tokens, set long_rows to drop, or remove the row"
            raise RowTooLong(what, len(tokens), where=where, hint=hint)
        self.cut += over > 0
        return JoinedTokens(tokens[over:], len(response), over)

    def join_ranked(
        self, prompt: Sequence[int], responses: Sequence[Sequence[int]], ranks: Sequence[int], where: str
    ) -> tuple[list[JoinedTokens], list[int]]:
        """Join a prompt to each of its ranked responses; return those that fit, with their places among all.

        Raises:
            RowTooLong: fewer than two fit, or none that rank differently where the whole ranking had some.
            InputError: a response is empty.
        """
        joined, kept, refused = list[JoinedTokens](), list[int](), list[RowTooLong]()
        for place, response in enumerate(responses):
            try:
                joined.append(self.join(prompt, response, where))
                kept.append(place)
            except RowTooLong as error:
                if self.long_rows == "refuse":
                    raise
                refused.append(error)
        different = len({ranks[place] for place in kept})
        if refused and (len(kept) < 2 or different < min(2, len(set(ranks)))):
            raise max(refused, key=lambda error: error.tokens)
        self.responses_left_out += len(refused)
        return joined, kept

    def fit_prompt(self, prompt: Sequence[int], where: str) -> list[int]:
        """Return a prompt that is answered, not learned from, as ``join`` would cut it.

        Raises:
            RowTooLong: it does not fit, and may not be cut.
        """
        over = max(len(prompt) - self.tokens, 0)
        if over and (self.long_rows != "cut_prompt" or shows(prompt[:over])):
            hint = "lower max_tokens, set long_rows to drop, or remove the prompt"
            what = f"{len(prompt)} prompt tokens, where {self.tokens} leave room for a response"
            raise RowTooLong(what, len(prompt), where=where, hint=hint)
        self.cut += over > 0
        return list(prompt[over:])

    def fit(self, records: Iterable[Record], build: Callable[[Record], Row], what: str, *, needed: bool = True) -> list[Row]:
        """Build the row of each record; leave out and count those that do not fit or cannot be written as tokens.

        Args:
            what: names the records in an error, such as ``demonstrations``.
            needed: whether having none left is an error.

        Raises:
            InputError: none of them can be used though they are needed, or one cannot and ``long_rows`` is ``refuse``.
        """
        built, refused = list[Row](), list[InputError]()
        for record in records:
            self.rows += 1
            try:
                built.append(build(record))
            except EndlessTemplate:
                raise
            except InputError as error:
                if self.long_rows == "refuse":
                    raise
                refused.append(error)
        self.left_out += len(refused)
        self.examples += refused[: 3 - len(self.examples)]
        if needed and refused and not built:
            raise self._none_fits(refused, what)
        return built

    def counts(self) -> dict[str, int]:
        """Return the figures for a run's summary."""
        counts = {"window": self.tokens, "rows_left_out": self.left_out, "rows_cut": self.cut}
        return counts | ({"responses_left_out": self.responses_left_out} if self.responses_left_out else {})

    def remarks(self) -> list[str]:
        """Return what a run's log says about rows that were left out or cut; nothing where there were none."""
        lines: list[str] = []
        if self.left_out:
            shown = "; ".join(f"{error.where}: {error.what}" for error in self.examples)
            lines.append(f"left out {self.left_out} of {self.rows} rows, for example {shown}")
        if self.responses_left_out:
            lines.append(f"left out {self.responses_left_out} responses that exceed the window of {self.tokens} tokens from their rankings")
        if self.cut:
            lines.append(f"cut the left of {self.cut} prompts to the window of {self.tokens} tokens")
        return lines

    def _none_fits(self, refused: Sequence[InputError], what: str) -> InputError:
        lengths = [error.tokens for error in refused if isinstance(error, RowTooLong)]
        if not lengths:
            return refused[0]
        longest = max((error for error in refused if isinstance(error, RowTooLong)), key=lambda error: error.tokens)
        hint = f"set max_tokens to {max(lengths)} for all of them ({min(lengths)} for the first), if the model's context holds that"
        fits = f"none of the {len(refused)} {what} fits a window of {self.tokens} tokens; the longest has {max(lengths)}"
        return InputError(fits, where=longest.where, hint=hint if self.long_rows == "cut_prompt" else f"{hint}, or long_rows to cut_prompt")
