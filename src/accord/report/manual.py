"""The project's documentation inside the page, so that a report mailed without ``docs/`` still links into it.

Only pages that the report links to are included, whole and folded. Every figure, finding or metric that a page
names in its tables can be a link's target.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from accord.report.markup import Child, Html, both, join, tag

_PAGE = re.compile("[a-z]+(?:-[a-z]+)*")
_POINTED = re.compile(r'href="#docs-([a-z]+(?:-[a-z]+)*)')
_OTHER_PAGE = re.compile(r"([a-z]+(?:-[a-z]+)*)\.md(#.*)?")
_NAME = re.compile(r"[A-Za-z0-9_.]+")
LANGUAGE = "en-GB"
"""Language of the pages. Not plain ``en``, which the style hides from readers who chose Chinese."""


def link(page: str, key: str = "", *, words: Child = None) -> Html:
    """Return a link to the definition of ``key`` in ``docs/PAGE.md``, else to the page; its bare name if there
    is no such page.

    Args:
        words: what is clicked on; the page's name when None.
    """
    shown = f"docs/{page}.md" if words is None else words
    if not _source(page):
        return tag("span", shown, class_="quiet")
    place = f"docs-{page}-{key}" if key and key in names(page) else f"docs-{page}"
    return tag("a", shown, href=f"#{place}", class_="quiet")


def names(page: str) -> frozenset[str]:
    """Return the possible link targets on a page of docs/: names in code type in the first cells of its tables,
    without settings."""
    return frozenset(_marked(page)[1])


def pages(pointing: Iterable[Html]) -> Html | None:
    """Return the pages of docs/ that these parts of the report point to, each folded."""
    found = sorted({_page_in(place) for place in chain.from_iterable(map(_POINTED.findall, pointing))})
    folds = [_fold(name, frozenset(found)) for name in found]
    said = tag("h3", both("From the documentation", "出自文档（英文）"))
    return tag("div", said, folds, class_="manual") if folds else None


def _page_in(place: str) -> str:
    """Return the page in a link's target, behind whose name that of a figure may follow: the longest name that is a page's."""
    words = place.split("-")
    longest = ("-".join(words[:count]) for count in range(len(words), 0, -1))
    return next((page for page in longest if _source(page)), place)


def _fold(page: str, there: frozenset[str]) -> Html:
    tokens, _ = _marked(page)
    body = Html(_parser().renderer.render(tokens, _parser().options, {"page": page, "there": there}).replace("<pre>", '<pre tabindex="0">'))
    return tag("details", tag("summary", f"docs/{page}.md"), tag("div", body, lang=LANGUAGE), id=f"docs-{page}")


@cache
def _source(page: str) -> str:
    """Return the text of a page: beside the package's modules when installed, else in the source tree; empty
    when there is none.

    A page's name may come from a command named in somebody's file, so anything but a plain name has none.
    """
    if not _PAGE.fullmatch(page):
        return ""
    package = Path(__file__).parents[1]
    paths = (package / "docs" / f"{page}.md", package.parents[1] / "docs" / f"{page}.md")
    return next((path.read_text("utf-8") for path in paths if path.is_file()), "")


@cache
def _marked(page: str) -> tuple[Sequence[Token], tuple[str, ...]]:
    """Return a page in tokens, with an id for each name in its tables, and those names."""
    tokens, named = _parser().parse(_source(page)), dict[str, Token]()
    for code in _first_cells(tokens):
        if _NAME.fullmatch(code.content):
            named.setdefault(code.content, code)
    for name, code in named.items():
        code.attrSet("id", f"docs-{page}-{name}")
    return tokens, tuple(named)


def _first_cells(tokens: Sequence[Token]) -> Iterator[Token]:
    """Return the words in code type in the first cells of every table's rows. Settings have tables of their own
    and are not figures."""
    settings = first = False
    for kind, inner in ((token.type, token.children or []) for token in tokens):
        match kind:
            case "thead_open":
                settings, first = False, True
            case "tr_open":
                first = True
            case "inline" if first:
                settings = settings or [child.content for child in inner] == ["setting"]
                yield from () if settings else (child for child in inner if child.type == "code_inline")
                first = False
            case _:
                pass


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    for rule, write in {"link_open": _link_open, "image": _image, "heading_open": _heading, "heading_close": _heading}.items():
        parser.add_render_rule(rule, write)
    return parser


def _link_open(_: RendererHTML, tokens: Sequence[Token], index: int, __: Any, env: Any) -> str:
    """Open a link to another included page, or nothing: no address outside the report is ever opened."""
    other = _OTHER_PAGE.fullmatch(str(tokens[index].attrGet("href") or ""))
    there = other is not None and other[1] in env["there"]
    return f'<a href="#docs-{other[1]}">' if other and there else "<a>"


def _image(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return join(f"[{tokens[index].content}]")


def _heading(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Open a heading below the level of the report's own."""
    token = tokens[index].copy(tag=f"h{min(int(tokens[index].tag[1]) + 2, 6)}")
    return renderer.renderToken([token], 0, options, env)
