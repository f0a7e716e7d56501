"""Files that a person attaches to a conversation, as text to quote: plain text, Markdown, and PDF with text in it.

A PDF is a program of sorts, so it is read in the sandbox: what hangs, grows or breaks there ends that process and is refused by name.
Where no program can be confined (macOS, Windows), PDFs are refused.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from accord.data.retrieval import Document
from accord.errors import InputError
from accord.runtime import sandbox

MOST_BYTES = 10_000_000
"""Largest file."""
MOST_PAGES = 500
MOST_CHARACTERS = 400_000
"""Longest text of a file, and of all files of a conversation: what can be searched for each question within seconds at the very worst."""
LIMITS = sandbox.Limits(seconds=20.0, memory_mb=512, file_mb=8)
"""What the reading of a PDF may take. The largest text that is answered is far below the limit on its output."""
KINDS = (".txt", ".md", ".markdown", ".pdf")
PAGE = "\f"
"""Stands between the pages of a text."""
Problem = Literal["kind", "empty", "large", "encoding", "encrypted", "scan", "broken", "slow", "heavy", "many_pages", "long", "no_reader"]
PROBLEMS: dict[Problem, str] = {
    "kind": "it is not plain text, Markdown or PDF",
    "empty": "it is empty",
    "large": "it is larger than 10 MB",
    "encoding": "its text is not UTF-8",
    "encrypted": "it is encrypted",
    "scan": "it has no text: its pages are pictures",
    "broken": "it is damaged",
    "slow": "reading it takes too long",
    "heavy": "reading it takes too much memory",
    "many_pages": "it has more than 500 pages",
    "long": "it has more than 400,000 characters",
    "no_reader": "PDFs are read on Linux alone, where their reader can be confined",
}
_FEWEST = 3
"""Letters or digits below which a PDF has no text: a scan may have a number on it."""
_LIGATURES = {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st", "\xad": ""}
_UNSEEN = dict.fromkeys((*range(9), 11, *range(14, 32), 127))
_CLEAN = str.maketrans(_LIGATURES) | _UNSEEN
_ENDS = re.compile(r"[.!?:;。！？：；][\"”’)\]]*$")
_BEGINS = re.compile(r"\s|[-*•·▪#|>]|\(?\d{1,3}[.)]|[A-Za-z][.)]\s")
"""How a line begins that does not go on with the one before: an indent, a bullet, a heading, a table, a number."""
_PARTED = re.compile(r"[a-z]-$")
"""The end of a line that parts a word."""
_CHINESE = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
SHORT = 0.6
"""A line shorter than this share of the usual line is the last one of its paragraph."""


class Unreadable(InputError):
    """A file that is refused, with the key of its problem."""

    def __init__(self, problem: Problem, name: str) -> None:
        self.problem: Problem = problem
        super().__init__(PROBLEMS[problem], where=name)


@dataclass(frozen=True, slots=True)
class Attached:
    """The text of a file."""

    name: str
    pages: tuple[str, ...]
    """One for a file without pages."""
    paged: bool

    @property
    def text(self) -> str:
        """Return the pages in one, as it is stored."""
        return PAGE.join(self.pages)


def read(name: str, content: bytes) -> Attached:
    """Return the text of a file. Takes up to some seconds and a process for a PDF.

    Raises:
        Unreadable: the file is of another kind, too large, encrypted, a scan, damaged, or reading it takes too much.
    """
    if Path(name).suffix.lower() not in KINDS:
        raise Unreadable("kind", name)
    if not content:
        raise Unreadable("empty", name)
    if len(content) > MOST_BYTES:
        raise Unreadable("large", name)
    is_pdf = content[:1024].lstrip().startswith(b"%PDF-")
    if name.lower().endswith(".pdf") and not is_pdf:
        raise Unreadable("kind", name)
    pages = _pages(name, content) if is_pdf else [_decoded(name, content).replace(PAGE, "\n")]
    if sum(map(len, pages)) > 2 * MOST_CHARACTERS:  # what is joined and cleaned below is no text of half the length
        raise Unreadable("long", name)
    cleaned = tuple(_flowing(page.translate(_CLEAN)) for page in pages)
    letters = sum(character.isalnum() for page in cleaned for character in page)
    if letters < (_FEWEST if is_pdf else 1):
        raise Unreadable("scan" if is_pdf else "empty", name)
    if sum(map(len, cleaned)) + len(cleaned) > MOST_CHARACTERS:
        raise Unreadable("long", name)
    return Attached(name, cleaned, is_pdf)


def documents(name: str, text: str) -> list[Document]:
    """Return a stored text to quote from; of a file with several pages each page, named by its number."""
    pages = text.split(PAGE)
    if len(pages) == 1:
        return [Document(name, text)]
    return [Document(f"{name}, p. {number}", page) for number, page in enumerate(pages, 1) if page.strip()]


def _decoded(name: str, content: bytes) -> str:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        raise Unreadable("kind" if b"\0" in content[:4096] else "encoding", name) from error
    if "\0" in text:
        raise Unreadable("kind", name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _pages(name: str, content: bytes) -> list[str]:
    """Return the text of each page of a PDF, read in the sandbox. Its answer is as little to be trusted as the file."""
    if sandbox.missing():
        raise Unreadable("no_reader", name)
    program = Path(__file__).with_name("pdf_program.py").read_text("utf-8")
    given = f"{MOST_PAGES}\n{MOST_CHARACTERS}\n{base64.b64encode(content).decode()}"
    ran = sandbox.run(program, given=given, limits=LIMITS)
    if ran.outcome != "done":
        raise Unreadable("slow" if ran.outcome == "time" else "heavy" if ran.outcome in ("memory", "output") else "broken", name)
    try:
        answered: Any = json.loads(ran.output)
        problem, pages = answered.get("problem"), answered.get("pages")
    except (ValueError, AttributeError, RecursionError) as error:
        raise Unreadable("broken", name) from error
    if problem in PROBLEMS:
        raise Unreadable(problem, name)
    listed = cast("list[object]", pages) if isinstance(pages, list) else []
    texts = [page.encode("utf-8", "replace").decode() for page in listed if isinstance(page, str)]
    if not texts or len(texts) != len(listed) or len(texts) > MOST_PAGES:
        raise Unreadable("broken", name)
    return [text.replace("\r", "\n").replace(PAGE, "\n") for text in texts]


def _flowing(text: str) -> str:
    """Return a text whose paragraphs are one line each, so that a sentence that goes over a line's end is one sentence."""
    lines = text.split("\n")
    usual = SHORT * _usual(lines)
    paragraphs, before = list[list[str]](), ""
    for line in lines:
        said = line.rstrip()
        filled = len(before) >= usual > 0 or _PARTED.search(before)
        if paragraphs and said and filled and not _ENDS.search(before) and not _BEGINS.match(said):
            paragraphs[-1][-1], apart = _parted(before, said)
            paragraphs[-1] += [apart, said]
        else:
            paragraphs.append([said])
        before = said
    return re.sub(r"\n{3,}", "\n\n", "\n".join("".join(parts) for parts in paragraphs)).strip()


def _usual(lines: Sequence[str]) -> int:
    """Return the length that nine lines of ten do not exceed, of those with something in them; 0 when lines are no wrapped text."""
    lengths = sorted(len(line.rstrip()) for line in lines if line.strip())
    usual = lengths[len(lengths) * 9 // 10] if lengths else 0
    return usual if 20 <= usual <= 200 else 0


def _parted(before: str, line: str) -> tuple[str, str]:
    """Return a line without the hyphen that parts its last word, and what stands between it and the next."""
    if _PARTED.search(before) and line[:1].islower():
        return before[:-1], ""
    return before, "" if _CHINESE.match(line) and _CHINESE.match(before[-1:]) else " "
