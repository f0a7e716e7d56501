"""Safe Markdown for texts of models and people: no HTML of theirs, no images loaded, no address that could run code.

The parser is markdown-it-py with ``html`` off; anything else it would allow is forbidden here.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

LONGEST = 20_000
"""Maximum length in characters; a longer text is shown without formatting, so that no text costs the server seconds."""
MOST_FILLED = 4_000
"""Most cells of a table that are absent from the text: a short row is filled up to the width of the head, at 16 µs a cell."""
THOUGHT, THOUGHT_END = "<think>", "</think>"
SCHEMES = {"http", "https", "mailto"}


def render(text: str) -> Markup:
    """Render Markdown as HTML that is safe to put into a page: code, tables, lists, links to http(s) and mailto.

    A line end is shown as one: poems, addresses and logs keep their lines. The thought before a model's answer is folded away.
    """
    if not text.startswith(THOUGHT):
        return _formatted(text)
    thought, _, answer = text.removeprefix(THOUGHT).partition(THOUGHT_END)
    folded = Markup('<details class="thought"><summary>💭</summary>') + _formatted(thought.strip()) + Markup("</details>")
    return folded + _formatted(answer.strip())


def prose(text: str) -> Markup:
    """Render a document, such as a guideline, as ``render`` does, but join the lines of a paragraph."""
    return plain(text) if len(text) > LONGEST else Markup(_parser_of(text, _PROSE, _PROSE_WITHOUT_TABLES).render(text))


def _formatted(text: str) -> Markup:
    if len(text) > LONGEST:
        return plain(text)
    return _render(text)


def _parser_of(text: str, full: MarkdownIt, without_tables: MarkdownIt) -> MarkdownIt:
    """Return the parser for a text: without tables where missing cells would be filled in by the thousand."""
    lines = text.split("\n")
    filled = max(line.count("|") for line in lines) * len(lines) - text.count("|")
    return without_tables if filled > MOST_FILLED else full


def plain(text: str) -> Markup:
    """Render a text without formatting, keeping line breaks."""
    return Markup('<pre class="plain">') + text + Markup("</pre>")


def allowed(url: str) -> bool:
    """Return whether a link may lead to an address."""
    try:
        return urlsplit(url.strip()).scheme.lower() in SCHEMES
    except ValueError:
        return False


@lru_cache(maxsize=4096)
def _render(text: str) -> Markup:
    return Markup(_parser_of(text, _PARSER, _WITHOUT_TABLES).render(text))


def _image(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """Render an image as its name, without loading it: that would tell a stranger's server who reads the page."""
    token = tokens[index]
    return f'<span class="image">[{html.escape(token.content or "image")}: {html.escape(str(token.attrGet("src") or ""))}]</span>'


def _link(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    token.attrSet("rel", "noopener noreferrer nofollow")
    token.attrSet("target", "_blank")
    return renderer.renderToken(tokens, index, options, env)


def _cell(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render a cell's alignment as a class: the site's policy allows no inline styles."""
    token = tokens[index]
    aligned = str(token.attrs.pop("style", "")).removeprefix("text-align:")
    if aligned:
        token.attrSet("class", f"align-{aligned}")
    return renderer.renderToken(tokens, index, options, env)


def _parser(*, breaks: bool, tables: bool = True) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": breaks}).enable("strikethrough")
    if tables:
        parser.enable("table")
    parser.validateLink = allowed
    parser.add_render_rule("image", _image)
    parser.add_render_rule("link_open", _link)
    parser.add_render_rule("td_open", _cell)
    parser.add_render_rule("th_open", _cell)
    return parser


_PARSER, _PROSE = _parser(breaks=True), _parser(breaks=False)
_WITHOUT_TABLES, _PROSE_WITHOUT_TABLES = _parser(breaks=True, tables=False), _parser(breaks=False, tables=False)
