"""Streaming detokenisation: from tokens that arrive one by one to text that can be shown: whole characters only,
and nothing past a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accord.data.literal_text import THOUGHTS

UNFINISHED = "\ufffd"
"""The character to which half a character decodes."""


class Words:
    """The text of one answer as it grows. Half characters, trailing spaces and a possible start of a stop string
    are held back.

    Args:
        decode: token ids to text, as the tokenizer writes it, special tokens left out.
        strip: whether to strip spaces at both ends, as for a chat's answer; raw text keeps them.
        tail: what the template writes behind an answer, which is left out at its end.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = (), *, strip: bool = True, tail: str = "") -> None:
        self.decode, self.stops, self.strip, self.tail = decode, [word for word in stop if word], strip, tail
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
            out = out.rstrip().removesuffix(self.tail).rstrip()
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
        bare = self._held.rstrip()
        tails = [size for size in range(1, len(self.tail) + 1) if bare.endswith(self.tail[:size].rstrip())]
        behind = max(tails, default=0) and len(self._held) - len(bare) + max(tails)
        before = self._held[: len(self._held) - behind]
        return max([spaces, *begun, behind and len(self._held) - len(before.rstrip())])


class Apart:
    """Takes the thought at the beginning of an answer apart from the answer, as both grow."""

    def __init__(self) -> None:
        self._held, self._strip = "", False
        self._inside: bool | None = None
        """Whether the text is in the thought; None before it has begun."""

    def push(self, text: str, *, last: bool) -> tuple[str, str]:
        """Take the next text and return what is final by now, of the thought and of the answer; with ``last`` all the rest."""
        thought, end = THOUGHTS
        self._held += text
        if self._inside is None:
            if not last and thought.startswith(self._held):
                return "", ""
            self._inside = self._held.startswith(thought)
            if self._inside:
                self._held, self._strip = self._held.removeprefix(thought), True
        reasoning = ""
        if self._inside:
            reasoning, closed, rest = self._held.partition(end)
            if closed:
                self._inside, self._held = False, rest
            else:
                keep = 0 if last else _begun(reasoning, end)
                reasoning, self._held = reasoning[: len(reasoning) - keep], reasoning[len(reasoning) - keep :]
            reasoning = self._stripped(reasoning)
            if closed:
                reasoning, self._strip = reasoning.rstrip(), True
        if self._inside:
            return reasoning.rstrip() if last else reasoning, ""
        answer, self._held = self._stripped(self._held), ""
        return reasoning, answer

    def _stripped(self, text: str) -> str:
        """A text without the spaces at its beginning, if nothing of it has been returned."""
        if self._strip:
            text = text.lstrip()
            self._strip = not text
        return text


def _begun(text: str, mark: str) -> int:
    """Return how many characters at the end are spaces or the beginning of a mark."""
    size = next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)
    return size + len(text[: len(text) - size]) - len(text[: len(text) - size].rstrip())


class Opening:
    """The beginning of an answer by a model that thinks: its thought stands between ``<think>`` and ``</think>``, as in stored responses.

    Args:
        opened: whether the prompt has opened the thought, so that the answer itself begins inside it.
    """

    def __init__(self, *, opened: bool) -> None:
        self.thought = ""
        """What comes before the text, such as the thought in channels that the text does not hold."""
        self.opened, self._held, self._strip = opened, "", False

    def push(self, text: str, *, last: bool) -> str:
        """Take the next text and return what is final by now; with ``last`` return all the rest."""
        if self.opened:
            text, self._held = self._held + text, ""
            if not last and any(mark.startswith(text) for mark in THOUGHTS):
                self._held = text
                return ""
            self.opened = False
            text = self._begun(text)
        if self._strip:
            text = text.lstrip()
            self._strip = not text
        if self.thought and (text or last):
            text, self.thought = self.thought + text, ""
        return text

    def _begun(self, text: str) -> str:
        thought, end = THOUGHTS
        if text.startswith(end):
            self._strip = True
            return text.removeprefix(end)
        return text if text.startswith(thought) or not text else f"{thought}\n{text}"
