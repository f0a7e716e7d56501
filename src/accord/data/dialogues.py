"""Dialogues out of raw text, by the rule that Gopher's authors give for theirs (Rae et al. 2021, arXiv 2112.11446).

The rule's conditions, in our words:

1. paragraphs are what blank lines part;
2. at least six paragraphs in a row belong to a dialogue;
3. each of them begins with a prefix that ends in a separator, as "Gopher: ", "Dr Smith - " or "Q. " do;
4. the paragraphs at even places share one prefix, those at odd places another, and the two differ: two people who take strict turns.

What the rule leaves open is decided here: separators are a colon or a dash with a space behind it, and a full stop behind a prefix of at
most 12 characters; a prefix has at most 40 characters, one line and a letter or digit in it; a fullwidth colon needs no space; a run is
taken as long as it goes, and no paragraph is in two dialogues; of two readings the longer wins, then the earlier separator of the list.
Nothing is held in memory but the current stretch of paragraphs with prefixes, 10,000 at most, each at most 20,000 characters.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from accord.records import Message, Role

LEAST = 6
"""Paragraphs of a dialogue, the rule's number."""
LONGEST_PARAGRAPH, LONGEST_STRETCH = 20_000, 10_000
_SEPARATORS: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?P<prefix>[^\n:：]{1,40}?)(?:: |:\n|：\s?)"),
    re.compile(r"(?P<prefix>[^\n]{1,40}?) ?[-–—] "),
    re.compile(r"(?P<prefix>[^\n.]{1,12})\. "),
)
_WORD = re.compile(r"[^\W_]")
_BLANK = re.compile(r"\n[ \t\r\f\v]*\n\s*")
_MARK = "\0"
"""Stands for a paragraph that is too long to be a turn; no text holds it, since NUL is taken out."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation of two that was found in a text."""

    speakers: tuple[str, str]
    """As their prefixes name them, without the separator; the first one speaks first."""
    turns: tuple[str, ...]
    paragraph: int
    """Number of the first paragraph in its text, from 1."""

    def messages(self) -> tuple[Message, ...]:
        """The turns as a conversation: who speaks first is the user, the other the assistant. It ends with the assistant."""
        roles: tuple[Role, Role] = ("user", "assistant")
        turns = self.turns[: len(self.turns) // 2 * 2]
        return tuple(Message(roles[place % 2], turn) for place, turn in enumerate(turns))


@dataclass(frozen=True, slots=True)
class _Paragraph:
    number: int
    text: str
    readings: tuple[tuple[str, str] | None, ...]
    """For each separator the prefix and the rest, None where it has no such prefix."""


def dialogues(pieces: Iterable[bytes | str], least: int = LEAST) -> Iterator[Dialogue]:
    """The dialogues of a text that comes in pieces of any size, in their order.

    Args:
        pieces: UTF-8 bytes, of which wrong ones are replaced, or strings.
        least: paragraphs that make a dialogue, 2 or more; the rule says 6.
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
    """A text's paragraphs, stripped; one that is too long to be a turn comes as a single mark, without being held."""
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
    """The dialogues among paragraphs in a row: the longest runs that do not overlap, by their places."""
    runs = [run for reading in range(len(_SEPARATORS)) for run in _runs(stretch, reading, least)]
    taken: list[tuple[int, int, int]] = []
    for run in sorted(runs, key=lambda run: (run[0] - run[1], run[2], run[0])):
        start, end = _free(run, taken)
        if end - start >= least:
            taken.append((start, end, run[2]))
    return [_dialogue(stretch[start:end], reading) for start, end, reading in sorted(taken)]


def _free(run: tuple[int, int, int], taken: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """What is left of a run without the paragraphs of others; nothing when another stands inside it."""
    start, end, _ = run
    for other, until, _ in taken:
        if other < end and start < until:
            start, end = (until, end) if other <= start else (start, other)
    return start, end


def _runs(stretch: Sequence[_Paragraph], reading: int, least: int) -> Iterator[tuple[int, int, int]]:
    """Runs of two alternating prefixes, each as long as it goes: start, end, reading. What ends a run too short may begin the next."""
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
