"""A long text in documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

DOCUMENT = 2000
"""Characters after which a text is cut at the next blank line into another document; at four times as many, at any line."""


def documents_of(text: Iterable[str]) -> Iterator[str]:
    """The lines of a text, without their ends, in documents of whole paragraphs; none is blank."""
    lines, size = list[str](), 0
    for line in text:
        lines.append(line)
        size += len(line) + 1
        if size >= 4 * DOCUMENT or (size >= DOCUMENT and not line.strip()):
            yield from _filled(lines)
            lines, size = [], 0
    yield from _filled(lines)


def _filled(lines: Sequence[str]) -> list[str]:
    text = "\n".join(lines).strip()
    return [text] if text else []
