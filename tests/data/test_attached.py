"""Files that people attach: text, Markdown and PDF become text to quote; what cannot be read is refused for its reason, soon."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from data.pdfs import MILL, drawn, printed, slow
from pypdf import PdfReader, PdfWriter

from accord.data import attached
from accord.data.attached import PROBLEMS, Unreadable, documents, read
from accord.data.retrieval import sentences
from accord.runtime import sandbox
from accord.serving.web.translations import UNREADABLE


@pytest.fixture(scope="module")
def mill() -> bytes:
    return printed(MILL)


def locked(content: bytes, password: str) -> bytes:
    writer, out = PdfWriter(), io.BytesIO()
    writer.append(PdfReader(io.BytesIO(content)))
    writer.encrypt(password, "owner", algorithm="AES-256")
    writer.write(out)
    return out.getvalue()


def test_a_pdf_is_read_page_by_page_and_its_sentences_go_over_line_ends(mill: bytes) -> None:
    made = read("mill.pdf", mill)
    quotable = documents(made.name, made.text)
    assert [document.title for document in quotable] == ["mill.pdf, p. 1", "mill.pdf, p. 2"]
    assert [(quote.document, quote.text) for quote in sentences(quotable)] == [
        (0, "The mill stands by the river."),
        (0, "It was built in 1782 by Ada Baker, who had come from the north with her brothers."),
        (0, "The wheel is made of oak that was seasoned for nine years."),
        (1, "Bread is baked at six."),
        (1, "The office opens at nine."),
    ]


def test_a_pdf_that_only_its_owner_may_change_is_read(mill: bytes) -> None:
    assert read("mill.pdf", locked(mill, "")).pages[1] == MILL[1]


def test_a_page_that_is_a_picture_counts_as_blank() -> None:
    made = read("mixed.pdf", printed([MILL[1], ""]))
    assert made.pages == (MILL[1], "")
    assert [document.title for document in documents(made.name, made.text)] == ["mixed.pdf, p. 1"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\xef\xbb\xbfRye\r\nbread", "Rye\nbread"),
        ("面包\n".encode("utf-16"), "面包"),
        (b"Rye\x07 \n\n\n\n\nbread\x0c.", "Rye\n\nbread\n."),
    ],
)
def test_a_text_is_read(content: bytes, text: str) -> None:
    made = read("a.md", content)
    assert (made.text, made.paged) == (text, False)
    assert [document.title for document in documents("a.md", made.text)] == ["a.md"]


def test_paragraphs_flow_and_lists_headings_and_verses_stay() -> None:
    wrapped = "The bread of the mill is made of rye that\ngrows behind the house and is ground at\nnight.\n"
    kept = "# Prices\n- rye 3\n- oats 4\n\nRoses are red,\nviolets are blue.\n"
    assert read("a.txt", (wrapped + kept).encode()).text == wrapped.replace("\n", " ").rstrip() + "\n" + kept.rstrip()
    chinese = "磨坊里的面包是用屋后种的黑麦做成的，夜里磨成粉，第二天\n清晨六点烤好。\n"
    assert read("a.txt", (chinese * 2).encode()).text == chinese.replace("\n", "") + "\n" + chinese.replace("\n", "")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.exe", lambda: b"text", "kind"),
        ("a.pdf", lambda: b"<html>no PDF</html>", "kind"),
        ("a.txt", lambda: b"MZ\0\0\x90\0", "kind"),
        ("a.txt", lambda: b"", "empty"),
        ("a.txt", lambda: b" \n- \n", "empty"),
        ("a.txt", lambda: b"x" * (attached.MOST_BYTES + 1), "large"),
        ("a.txt", lambda: b"bread " * 70_000, "long"),
        ("a.txt", lambda: "面包面包".encode("gb18030"), "encoding"),
        ("a.pdf", lambda: b"%PDF-1.7\n" + b"1 0 obj << >> endobj\n" * 9, "broken"),
        ("a.pdf", lambda: drawn(b"\0" * 100_000_000), "broken"),
        ("a.pdf", lambda: drawn(b"BT /F1 12 Tf () Tj ET"), "scan"),
        ("a.pdf", lambda: printed([""]), "scan"),
        ("a.pdf", lambda: locked(printed(["Bread"]), "secret"), "encrypted"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_cannot_be_read_is_refused_by_its_name(name: str, content: Callable[[], bytes], problem: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(name)) as refused:
        read(name, content())
    assert refused.value.problem == problem


def test_too_many_pages_and_too_long_a_text_are_refused(mill: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, value, problem in (("MOST_PAGES", 1, "many_pages"), ("MOST_CHARACTERS", 100, "long")):
        with monkeypatch.context() as less:
            less.setattr(attached, limit, value)
            with pytest.raises(Unreadable) as refused:
                read("mill.pdf", mill)
        assert refused.value.problem == problem


def test_a_text_far_too_long_is_refused_before_its_lines_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "_flowing", None)
    with pytest.raises(Unreadable) as refused:
        read("lines.txt", b"a line\n" * 150_000)
    assert refused.value.problem == "long"


def test_a_pdf_that_takes_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "LIMITS", sandbox.Limits(seconds=3, memory_mb=512))
    with pytest.raises(Unreadable) as refused:
        read("slow.pdf", slow())
    assert refused.value.problem == "slow"


def test_every_problem_has_its_words() -> None:
    assert set(UNREADABLE) == set(PROBLEMS)
