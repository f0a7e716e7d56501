"""Dialogues extracted from raw text by the rule in the Gopher paper (Rae et al. 2021, arXiv 2112.11446).

The conditions of the rule, in our words:

1. blank lines separate paragraphs;
2. a dialogue has at least six consecutive paragraphs;
3. each begins with a prefix that ends in a separator, such as "Gopher: ", "Dr Smith - " or "Q. ";
4. even paragraphs share one prefix and odd paragraphs another, and the two differ: two speakers in strict turns.

The paper leaves some choices open. Ours: a separator is a colon or a dash followed by a space, or a full stop after a prefix of at most
12 characters. A prefix has at most 40 characters, stands on one line and contains a letter or digit. A fullwidth colon needs no space. A
run is extended as far as possible, and no paragraph is in two dialogues. Of two readings the longer wins, then the separator earlier in
the list. Memory holds only the current stretch of paragraphs with prefixes: at most 10,000, of at most 20,000 characters each.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from accord.records import Message, Role

LEAST = 6
"""Least number of paragraphs in a dialogue, from the paper."""
LONGEST_PARAGRAPH, LONGEST_STRETCH = 20_000, 10_000
_SEPARATORS: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?P<prefix>[^\n:：]{1,40}?)(?:: |:\n|：\s?)"),
    re.compile(r"(?P<prefix>[^\n]{1,40}?) ?[-–—] "),
    re.compile(r"(?P<prefix>[^\n.]{1,12})\. "),
)
_WORD = re.compile(r"[^\W_]")
_BLANK = re.compile(r"\n[ \t\r\f\v]*\n\s*")
_MARK = "\0"
"""Marks a paragraph that is too long to be a turn. No text contains it, since NUL is removed."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation between two speakers, found in a text."""

    speakers: tuple[str, str]
    """The speakers as their prefixes name them, without the separator; the first one speaks first."""
    turns: tuple[str, ...]
    paragraph: int
    """Number of the dialogue's first paragraph in the text, from 1."""

    def messages(self) -> tuple[Message, ...]:
        """Return the turns as a conversation that ends with the assistant; the first speaker is the user."""
        roles: tuple[Role, Role] = ("user", "assistant")
        turns = self.turns[: len(self.turns) // 2 * 2]
        return tuple(Message(roles[place % 2], turn) for place, turn in enumerate(turns))


@dataclass(frozen=True, slots=True)
class _Paragraph:
    number: int
    text: str
    readings: tuple[tuple[str, str] | None, ...]
    """For each separator the prefix and the remaining text, or None where the paragraph has no such prefix."""


def dialogues(pieces: Iterable[bytes | str], least: int = LEAST) -> Iterator[Dialogue]:
    """Yield the dialogues of a text, in order; the text may come in pieces of any size.

    Args:
        pieces: strings or UTF-8 bytes; invalid bytes are replaced.
        least: number of paragraphs that make a dialogue, at least 2; 6 in the paper.
    """
    stretch: list[_Paragraph] = []
    for number, text in enumerate(paragraphs(pieces), 1):
        paragraph = _Paragraph(number, text, tuple(_reading(text, separator) for separator in _SEPARATORS))
        if any(paragraph.readings) and len(stretch) < LONGEST_STRETCH:
            stretch.append(paragraph)
            continue
        yield from in_stretch(stretch, least)
        stretch = [paragraph] if any(paragraph.readings) else []
    yield from in_stretch(stretch, least)


def paragraphs(pieces: Iterable[bytes | str]) -> Iterator[str]:
    """Yield a text's paragraphs, stripped; one that is too long to be a turn is replaced by a mark and not held in memory."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    waiting, skipping = "", False
    for piece in pieces:
        waiting += (decoder.decode(piece) if isinstance(piece, bytes) else piece).replace("\0", "")
        *done, waiting = _BLANK.split(waiting.replace("\r\n", "\n"))
        for text in done:
            if skipping or text.strip():
                yield _turn_or_mark(text, skipping)
            skipping = False
        if skipping or len(waiting.strip()) > LONGEST_PARAGRAPH:
            rest = waiting[waiting.rfind("\n") + 1 :]
            waiting, skipping = "" if rest.strip() or "\n" not in waiting else f"\n{rest[-1:]}", True
    if skipping or waiting.strip():
        yield _turn_or_mark(waiting, skipping)


def _turn_or_mark(text: str, skipping: bool) -> str:
    text = text.strip()
    return _MARK if skipping or len(text) > LONGEST_PARAGRAPH else text


def in_stretch(stretch: Sequence[_Paragraph], least: int) -> list[Dialogue]:
    """Return the dialogues in consecutive paragraphs: the longest runs that do not overlap, in order of position."""
    runs = list[tuple[int, int, int]]()
    for reading in range(len(_SEPARATORS)):
        runs.extend(_runs(stretch, reading, least))
    taken: list[tuple[int, int, int]] = []
    for run in sorted(runs, key=lambda run: (run[0] - run[1], run[2], run[0])):
        start, end = _free(run, taken)
        if end - start >= least:
            taken.append((start, end, run[2]))
    return [_dialogue(stretch[start:end], reading) for start, end, reading in sorted(taken)]


def _free(run: tuple[int, int, int], taken: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Return the part of a run that overlaps no taken run; empty when a taken run lies inside it."""
    start, end, _ = run
    for other, until, _ in taken:
        if other < end and start < until:
            start, end = (until, end) if other <= start else (start, other)
    return start, end


def _runs(stretch: Sequence[_Paragraph], reading: int, least: int) -> Iterator[tuple[int, int, int]]:
    """Yield runs of two alternating prefixes, as long as possible: start, end, reading. The paragraph that ends a short run may begin
    the next."""
    start = 0
    prefixes = [found[0] if (found := paragraph.readings[reading]) else "" for paragraph in stretch]
    for place in range(len(prefixes) + 1):
        prefix = prefixes[place] if place < len(prefixes) else ""
        length = place - start
        if prefix and (length == 0 or (prefix != prefixes[place - 1] and (length == 1 or prefix == prefixes[place - 2]))):
            continue
        if length >= least:
            yield start, place, reading
        shared = 0 < length < least and prefix != prefixes[place - 1]
        start = place + 1 if not prefix else place - 1 if shared else place


def _dialogue(part: Sequence[_Paragraph], reading: int) -> Dialogue:
    read = [found for paragraph in part if (found := paragraph.readings[reading])]
    return Dialogue((read[0][0], read[1][0]), tuple(rest for _, rest in read), part[0].number)


def _reading(text: str, separator: re.Pattern[str]) -> tuple[str, str] | None:
    match = separator.match(text)
    if not match or not _WORD.search(match["prefix"]):
        return None
    prefix, rest = match["prefix"].strip(), text[match.end() :].strip()
    return (prefix, rest) if prefix and rest else None
