"""Formulas in TeX as MathML, which browsers draw without scripts or fonts of ours.

latex2mathml reads the TeX. What it makes is written anew from a list of elements and attributes, so that nothing else comes out, whatever
a model or a person wrote. A formula that is too long, or that is not understood, is shown as its source.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from xml.etree.ElementTree import Element

from markupsafe import Markup

LONGEST = 2_000
"""Maximum length of a formula in characters; a longer one is shown as its source."""
DEEPEST, MOST_ELEMENTS = 60, 6_000
ENVIRONMENTS = {
    "align": "align*",
    "aligned": "align*",
    "alignedat": "align*",
    "dcases": "cases",
    "eqnarray": "align*",
    "eqnarray*": "align*",
    "gather": "matrix",
    "gather*": "matrix",
    "gathered": "matrix",
    "multline": "matrix",
    "smallmatrix": "matrix",
}
"""Environments that the reader does not know, as those that look the same; equations are not numbered."""
COMMANDS = {
    r"\arg": r"\operatorname{arg}",
    r"\argmax": r"\operatorname*{argmax}",
    r"\argmin": r"\operatorname*{argmin}",
    r"\coloneqq": ":=",
    r"\displaylimits": "",
    r"\mathstrut": "",
    r"\nonumber": "",
    r"\notag": "",
}
BLOCKS = ("$$", r"\[")
PAIRS = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]"}
"""The end of a formula by its beginning."""
SIZE = re.compile(r"[+-]?(?:\d?\d?\.)?\d{1,4}(?:em|ex|px|pt|mu)?\Z")
WORD = re.compile(r"[a-z-]{1,20}\Z")
TOKENS = {"mi", "mn", "mo", "mtext", "ms"}
PARTS = {"mrow", "mspace", "mfrac", "msqrt", "mroot", "msub", "msup", "msubsup", "munder", "mover", "munderover"}
TABLES = {"mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom"}
ELEMENTS = TOKENS | PARTS | TABLES
ATTRIBUTES = {"stretchy", "fence", "form", "accent", "accentunder", "movablelimits", "displaystyle", "largeop", "symmetric", "separator"}
MEASURES = {"scriptlevel", "linethickness", "width", "height", "depth", "lspace", "rspace", "minsize", "maxsize", "voffset"}
_ENVIRONMENT = re.compile(r"\\(begin|end)\{(\w+\*?)\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_ALIGNED_AT = re.compile(r"(\\begin\{alignedat\})\{\d+\}")
_REMARK = re.compile(r"\\label\{[^{}]*\}")
_BOLD_ITALIC = {"A": 0x1D468, "a": 0x1D482, "Α": 0x1D71C, "α": 0x1D736}
"""Where the bold italic letters of an alphabet begin: MathML Core knows no such variant."""
_PRICE = re.compile(r"\d[\d.,]*(?:[kKmMbB]|bn)?\s+[A-Za-z]{2,}")
_ORDINAL = re.compile(r"(?:th|st|nd|rd|s)\b")


class NotUnderstood(Exception):
    """The formula cannot be drawn."""


def formula(tex: str, *, block: bool) -> Markup:
    """Return a formula as MathML with its TeX beside it for those who copy it; as its source when it cannot be drawn."""
    try:
        drawn = _drawn(tex.strip())
    except (NotUnderstood, RecursionError):
        return source(tex, block=block)
    note = f'<annotation encoding="application/x-tex">{html.escape(tex.strip())}</annotation>'
    shown = f"<semantics>{drawn}{note}</semantics></math>"
    if not block:
        return Markup(f"<math>{shown}")
    return Markup(f'<span class="formula"{focusable(tex)}><math display="block">{shown}</span>')


def source(tex: str, *, block: bool) -> Markup:
    """Return a formula as its source."""
    return Markup(f'<code class="tex{" block" if block else ""}">{html.escape(tex.strip())}</code>')


def focusable(text: str, *, at: int = 40) -> str:
    """Return the attribute by which the keyboard reaches what may be wider than a phone, and so scrolls."""
    wide = any(len(line) > at for line in text.split("\n"))
    return ' tabindex="0"' if wide else ""


def opened(text: str, start: int, end: int) -> tuple[str, str, int] | None:
    r"""Find a formula that begins at a place: its beginning mark, its TeX, and the place behind it; None when there is none.

    A dollar is a price, or a shell's variable, unless a formula stands directly behind it: ``$5 and $10`` has none. All looking ahead is
    bounded by the length of a formula, so that no text takes more than linear time.
    """
    mark = next((mark for mark in ("$$", "$", r"\(", r"\[") if text.startswith(mark, start)), "")
    if not mark:
        return None
    inside, last = start + len(mark), min(end, start + LONGEST + 8)
    close = text.find(PAIRS[mark], inside, last)
    while close > 0 and mark.startswith("$") and text[close - 1] == "\\":  # \$ is a dollar inside the formula
        close = text.find(PAIRS[mark], close + 1, last)
    tex = text[inside:close]
    if close < 0 or not tex.strip() or (mark == "$" and not _is_formula(text, start, close, end)):
        return None
    return mark, tex, close + len(mark)


def _is_formula(text: str, start: int, close: int, end: int) -> bool:
    """Return whether what stands between two dollars is a formula, rather than two prices or variables."""
    tex, before, after = text[start + 1 : close], text[start - 1 : start], text[close + 1 : end][:4]
    if before == "$" or (before.isascii() and before.isalnum()) or tex[0].isspace() or tex[-1].isspace() or "\n\n" in tex:
        return False
    if after[:1].isascii() and (after[:1].isdigit() or after[:1] == "$"):
        return False
    if after[:1].isascii() and after[:1].isalpha() and not _ORDINAL.match(after):
        return False
    return not _PRICE.match(tex)


def _drawn(tex: str) -> str:
    """Return a formula as the elements of MathML that we know. Raises NotUnderstood."""
    if len(tex) > LONGEST or tex.count("{") > LONGEST // 4:
        raise NotUnderstood
    known = _REMARK.sub("", _ALIGNED_AT.sub(r"\1", tex))
    known = _ENVIRONMENT.sub(lambda found: rf"\{found[1]}{{{ENVIRONMENTS.get(found[2], found[2])}}}", known)
    known = _COMMAND.sub(lambda found: COMMANDS.get(found[0], found[0]), known)
    try:
        made = _reader()(known)
    except RecursionError:
        raise
    except Exception as error:  # the reader has many errors of its own for TeX that is none
        raise NotUnderstood from error
    writer = _Writer()
    drawn = "".join(writer.children(made, 0))
    if not writer.letters:
        raise NotUnderstood
    return f"<mrow>{drawn}</mrow>"


@cache
def _reader() -> Callable[[str], Element]:
    """Return the reader of TeX, whose tables are loaded with the first formula."""
    from latex2mathml.converter import convert_to_element

    return convert_to_element


class _Writer:
    """Writes elements of MathML from the list of those that we know."""

    def __init__(self) -> None:
        self.count = self.letters = 0

    def children(self, element: Element, depth: int) -> Iterator[str]:
        """Write what is in an element; upright letters that stand together become one name."""
        within = element.tag == "mrow"
        for upright, group in groupby(element, key=lambda one: within and one.tag == "mi" and one.get("mathvariant") == "normal"):
            if upright:
                yield f"<mi>{html.escape(self._text(''.join(one.text or '' for one in group)))}</mi>"
                continue
            for one in group:
                yield self.element(one, depth + 1)

    def element(self, element: Element, depth: int) -> str:
        """Write an element. Raises NotUnderstood for a command that the reader left as it was, and for too many or too deep ones."""
        self.count += 1
        if self.count > MOST_ELEMENTS or depth > DEEPEST:
            raise NotUnderstood
        tag = element.tag if element.tag in ELEMENTS else "mrow"
        if tag in TOKENS and len(element):  # a name made of elements
            tag = "mrow"
        if tag in TOKENS:
            text = self._text(element.text or "")
            if element.get("mathvariant") in ("bold-italic", "bold") and len(text) == 1:
                text = _bold(text)
            upright = ' mathvariant="normal"' if element.get("mathvariant") == "normal" and tag == "mi" else ""
            return f"<{tag}{upright}{_attributes(element)}>{html.escape(text)}</{tag}>"
        boxed = ' class="boxed"' if element.tag == "menclose" and element.get("notation") == "box" else ""
        return f"<{tag}{boxed}{_attributes(element)}>{''.join(self.children(element, depth))}</{tag}>"

    def _text(self, written: str) -> str:
        text = html.unescape(written)
        if text.startswith("\\") and len(text) > 1:
            raise NotUnderstood
        self.letters += len(text)
        return "∼" if text == "~" else text


def _attributes(element: Element) -> str:
    found = list[str]()
    for name, value in element.attrib.items():
        if (name in ATTRIBUTES and WORD.match(value)) or (name in MEASURES and SIZE.match(value)):
            found.append(f' {name}="{value}"')
        elif name == "columnalign" and value in ("left", "right", "center"):
            found.append(f' class="align-{value}"')
    return "".join(found)


def _bold(letter: str) -> str:
    for first, place in _BOLD_ITALIC.items():
        if 0 <= ord(letter) - ord(first) < 25 + first.isascii():
            return chr(place + ord(letter) - ord(first))
    return letter
