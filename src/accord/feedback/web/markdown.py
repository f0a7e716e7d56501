"""Model and people's text as safe Markdown: never their HTML, no images loaded, no address that could run something.

The parser is markdown-it-py with ``html`` off; what it does not forbid by itself is forbidden here.
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
"""Characters; a longer text is shown as it is, so that no text costs the server seconds."""
SCHEMES = {"http", "https", "mailto"}


def render(text: str) -> Markup:
    """Markdown as HTML that is safe to put into a page: code, tables, lists, links to http(s) and mailto."""
    if len(text) > LONGEST:
        return plain(text)
    return _render(text)


def plain(text: str) -> Markup:
    """A text as it is, line breaks kept."""
    return Markup('<pre class="plain">') + text + Markup("</pre>")


def allowed(url: str) -> bool:
    """Whether a link may lead there."""
    try:
        return urlsplit(url.strip()).scheme.lower() in SCHEMES
    except ValueError:
        return False


@lru_cache(maxsize=4096)
def _render(text: str) -> Markup:
    return Markup(_PARSER.render(text))


def _image(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """An image is named, not loaded: loading it would tell a stranger's server who reads what."""
    token = tokens[index]
    return f'<span class="image">[{html.escape(token.content or "image")}: {html.escape(str(token.attrGet("src") or ""))}]</span>'


def _link(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    token.attrSet("rel", "noopener noreferrer nofollow")
    token.attrSet("target", "_blank")
    return renderer.renderToken(tokens, index, options, env)


def _cell(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """A cell's alignment as a class: the site's policy allows no style inside the page."""
    token = tokens[index]
    aligned = str(token.attrs.pop("style", "")).removeprefix("text-align:")
    if aligned:
        token.attrSet("class", f"align-{aligned}")
    return renderer.renderToken(tokens, index, options, env)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    parser.validateLink = allowed
    parser.add_render_rule("image", _image)
    parser.add_render_rule("link_open", _link)
    parser.add_render_rule("td_open", _cell)
    parser.add_render_rule("th_open", _cell)
    return parser


_PARSER = _parser()
