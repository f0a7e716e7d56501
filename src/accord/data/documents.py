"""Division of a long text into documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

DOCUMENT = 2000
"""Characters after which the next blank line ends a document; after four times as many, any line does."""


def documents_of(text: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text (without line ends) as documents of whole paragraphs; none is blank."""
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
