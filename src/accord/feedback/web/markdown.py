"""Safe Markdown for texts of models and people: no HTML of theirs, no images loaded but stored ones, no address that could run code.

The parser is markdown-it-py with ``html`` off; anything else it would allow is forbidden here. Formulas become MathML (``formulas``),
code gets colours (``code_colours``). The worst text of a length takes a time in proportion to it.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block import table as unbounded_table
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup

from accord.feedback.guideline_pictures import name_of
from accord.feedback.web.code_colours import Colours
from accord.feedback.web.formulas import BLOCKS, PAIRS, focusable, formula, opened, source

LONGEST = 20_000
"""Maximum length in characters; a longer text is shown without formatting, so that no text costs the server seconds."""
MOST_TEX = 8_000
"""Maximum length of all formulas of a text together; those behind are shown as their source."""
MOST_LINES = 80
"""Maximum lines of a formula that stands on lines of its own."""
FREE_CELLS = 400
"""Cells that a table may have whatever its length; a larger one has at most one cell per character, since short rows are filled up."""
THOUGHT, THOUGHT_END = "<think>", "</think>"
SCHEMES = {"http", "https", "mailto"}


def snapshot(text: str) -> Markup:
    """Render a text that is still being written, as ``render`` does. It is not kept: the next one is longer."""
    return _whole(text, lambda part: Markup(_PARSER.render(part)))


def render(text: str) -> Markup:
    """Render Markdown as HTML that is safe to put into a page: code, formulas, tables, lists, links to http(s) and mailto.

    A line end is shown as one: poems, addresses and logs keep their lines. The thought before a model's answer is folded away.
    """
    return _whole(text, _render)


def prose(text: str, pictures: Mapping[str, str] | None = None) -> Markup:
    """Render a document, such as a guideline, as ``render`` does, but join the lines of a paragraph.

    Args:
        pictures: digests of stored pictures by the names that the text has for them; each is shown at its place.
    """
    if len(text) > LONGEST:
        return plain(text)
    return Markup(_illustrated(pictures).render(text, {"pictures": pictures}) if pictures else _PROSE.render(text))


def _whole(text: str, draw: Callable[[str], Markup]) -> Markup:
    """Return a text drawn, with the thought before it folded away, and what is too long as it is."""
    if not text.startswith(THOUGHT):
        return _bounded(text, draw)
    thought, _, answer = text.removeprefix(THOUGHT).partition(THOUGHT_END)
    folded = Markup('<details class="thought"><summary>💭</summary>') + _bounded(thought.strip(), draw) + Markup("</details>")
    return folded + _bounded(answer.strip(), draw)


def _bounded(text: str, draw: Callable[[str], Markup]) -> Markup:
    return plain(text) if len(text) > LONGEST else draw(text)


def plain(text: str) -> Markup:
    """Render a text without formatting, keeping line breaks."""
    return Markup('<pre class="plain">') + text + Markup("</pre>")


def allowed(url: str) -> bool:
    """Return whether a link may lead to an address."""
    try:
        return urlsplit(url.strip()).scheme.lower() in SCHEMES
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def _render(text: str) -> Markup:
    return Markup(_PARSER.render(text))


def _image(_: RendererHTML, tokens: Sequence[Token], index: int, __: Any, env: Any) -> str:
    """Render a stored picture, and any other as its name, without loading it: that would tell a stranger's server who reads the page."""
    token = tokens[index]
    digest = env.get("pictures", {}).get(name_of(str(token.attrGet("src") or "")))
    if digest:
        alt = html.escape(token.content or name_of(str(token.attrGet("src"))))
        address = f"/media/{digest}"
        return f'<span class="picture"><a href="{address}" target="_blank" rel="noopener"><img src="{address}" alt="{alt}"></a></span>'
    return f'<span class="image">[{html.escape(token.content or "image")}: {html.escape(str(token.attrGet("src") or ""))}]</span>'


def _link(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    token.attrSet("href", _to_picture(str(token.attrGet("href") or ""), env))
    token.attrSet("rel", "noopener noreferrer nofollow")
    token.attrSet("target", "_blank")
    return renderer.renderToken(tokens, index, options, env)


def _to_picture(address: str, env: Any) -> str:
    """Return the address of a stored picture for its name, and any other address as it is."""
    digest = env.get("pictures", {}).get(name_of(address))
    return f"/media/{digest}" if digest else address


def _cell(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Render a cell's alignment as a class: the site's policy allows no inline styles."""
    token = tokens[index]
    aligned = str(token.attrs.pop("style", "")).removeprefix("text-align:")
    if aligned:
        token.attrSet("class", f"align-{aligned}")
    return renderer.renderToken(tokens, index, options, env)


def _fence(_: RendererHTML, tokens: Sequence[Token], index: int, __: Any, env: Any) -> str:
    """Render code in a frame that scrolls, with the colours of the language behind its fence."""
    token = tokens[index]
    language = token.info.strip().partition(" ")[0]
    colours: Colours = env.setdefault("colours", Colours())
    named = f' class="language-{html.escape(language)}"' if language else ""
    return f'<div class="code"><pre{focusable(token.content)}><code{named}>{colours.html(token.content, language)}</code></pre></div>\n'


def _table_opened(*_: Any) -> str:
    return '<div class="scroll" tabindex="0"><table>\n'


def _table_closed(*_: Any) -> str:
    return "</table></div>\n"


def _math(_: RendererHTML, tokens: Sequence[Token], index: int, __: Any, env: Any) -> str:
    token = tokens[index]
    env["tex"] = env.get("tex", 0) + len(token.content)
    return (source if env["tex"] > MOST_TEX else formula)(token.content, block=token.markup in BLOCKS) + "\n" * token.block


def _inline_math(state: StateInline, silent: bool) -> bool:
    r"""Read a formula inside a line: $...$, $$...$$, \(...\) or \[...\]."""
    if state.src[state.pos] not in "$\\":
        return False
    found = opened(state.src, state.pos, state.posMax)
    if found is None:
        return False
    mark, tex, state.pos = found
    if not silent:
        token = state.push("math", "math", 0)
        token.markup, token.content = mark, tex
    return True


def _block_math(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""Read a formula on lines of its own, from $$ or \[ at the beginning of a line to its end mark at the end of one."""
    if state.is_code_block(start):
        return False
    begin = state.bMarks[start] + state.tShift[start]
    mark = state.src[begin : begin + 2]
    if mark not in BLOCKS:
        return False
    lines = list[str]()
    for number in range(start, min(end, start + MOST_LINES)):
        if state.isEmpty(number) or (number > start and state.sCount[number] < state.blkIndent):
            return False
        line = state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].rstrip()
        line = line.removeprefix(mark) if number == start else line
        if PAIRS[mark] in line:
            inside, _, behind = line.partition(PAIRS[mark])
            tex = "\n".join([*lines, inside])
            if behind or not tex.strip():
                return False
            if not silent:
                token = state.push("math", "math", 0)
                token.block, token.markup, token.content, token.map = True, mark, tex, [start, number + 1]
                state.line = number + 1
            return True
        lines.append(line)
    return False


def _bounded_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read a table whose cells are in proportion to its text: every short row is filled up to the width of the first."""
    if start + 1 >= end or start < state.env.get("untabled", 0):
        return False
    first, second = (state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]] for line in (start, start + 1))
    if "|" not in first or not set(second) <= set("|-: \t"):
        return False
    last = state.env.get("paragraph", 0)
    if start >= last:  # looked for once in a paragraph
        last = start + 1
        while last < end and not state.isEmpty(last):
            last += 1
        state.env["paragraph"] = last
    cells = (first.count("|") + 1) * (last - start)
    if cells > max(FREE_CELLS, state.eMarks[last - 1] - state.bMarks[start]):
        state.env["untabled"] = last
        return False
    return unbounded_table(state, start, end, silent)


def _parser(*, breaks: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": breaks}).enable(["table", "strikethrough"])
    parser.validateLink = allowed
    parser.inline.ruler.before("escape", "math", _inline_math)
    parser.block.ruler.before("fence", "math", _block_math, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    parser.block.ruler.at("table", _bounded_table, {"alt": ["paragraph", "reference"]})
    parser.add_render_rule("image", _image)
    parser.add_render_rule("link_open", _link)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("code_block", _fence)
    parser.add_render_rule("table_open", _table_opened)
    parser.add_render_rule("table_close", _table_closed)
    parser.add_render_rule("math", _math)
    parser.add_render_rule("td_open", _cell)
    parser.add_render_rule("th_open", _cell)
    return parser


def _illustrated(pictures: Mapping[str, str]) -> MarkdownIt:
    """Return a parser of documents that also takes the names of stored pictures for addresses."""
    parser = _parser(breaks=False)
    parser.validateLink = lambda url: allowed(url) or name_of(url) in pictures
    return parser


_PARSER, _PROSE = _parser(breaks=True), _parser(breaks=False)
