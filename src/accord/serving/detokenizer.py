"""Streaming detokenisation: from tokens that arrive one by one to text that can be shown: whole characters only,
and nothing past a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"
"""The character to which half a character decodes."""


class Words:
    """The text of one answer as it grows. Half characters, trailing spaces and a possible start of a stop string
    are held back.

    Args:
        decode: token ids to text, as the tokenizer writes it, special tokens left out.
        strip: whether to strip spaces at both ends, as for a chat's answer; raw text keeps them.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = (), *, strip: bool = True) -> None:
        self.decode, self.stops, self.strip = decode, [word for word in stop if word], strip
        self.stopped = False
        """Whether a stop string occurred. Nothing is returned after it."""
        self._ids: list[int] = []
        self._context, self._read = 0, 0
        self._held = ""
        self._begun = False

    def push(self, ids: Sequence[int], *, last: bool = False) -> str:
        """Take the next tokens and return the text that is final by now; with ``last`` return all the rest."""
        if self.stopped:
            return ""
        self._ids += ids
        self._held += self._decoded(last)
        if self.strip and not self._begun:
            self._held = self._held.lstrip()
        if (end := self._stop_at()) >= 0:
            self.stopped, self._held, last = True, self._held[:end], True
        keep = 0 if last else self._kept_back()
        out, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        if last and self.strip:
            out = out.rstrip()
        self._begun = self._begun or bool(out)
        return out

    def _decoded(self, last: bool) -> str:
        """Return the new text, decoded with the tokens before it: some tokenizers write a word's space only
        after another word."""
        before = self.decode(self._ids[self._context : self._read])
        now = self.decode(self._ids[self._context :])
        if not last and (now.endswith(UNFINISHED) or len(now) <= len(before)):
            return ""
        self._context, self._read = self._read, len(self._ids)
        return now[len(before) :]

    def _stop_at(self) -> int:
        """Return where the stop string starts that is complete first; -1 when none is, so that the cut does not hang on the pieces."""
        found = [(start + len(word), start) for word in self.stops if (start := self._held.find(word)) >= 0]
        return min(found)[1] if found else -1

    def _kept_back(self) -> int:
        """Return how many characters at the end may still turn out not to belong to the answer."""
        spaces = len(self._held) - len(self._held.rstrip()) if self.strip else 0
        begun = [size for word in self.stops for size in range(1, len(word)) if self._held.endswith(word[:size])]
        return max([spaces, *begun])
