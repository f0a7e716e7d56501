"""What a model wrote is shown, never run: no HTML of its own, no address that acts, nothing fetched."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.feedback.web.markdown import LONGEST, allowed, prose, render

TAGS = {"p", "em", "strong", "s", "a", "code", "pre", "ul", "ol", "li", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"}
TAGS |= {"details", "summary", "hr", "br", "span", "table", "thead", "tbody", "tr", "th", "td"}
LINES = (
    ("Rain on the roof\nRain on the road", "<p>Rain on the roof<br />\nRain on the road</p>"),
    ("- one\n- two", "<ul>\n<li>one</li>\n<li>two</li>\n</ul>"),
    ("a\n\nb", "<p>a</p>\n<p>b</p>"),
)
ATTRIBUTES = {
    "a": {"href", "title", "rel", "target"},
    "ol": {"start"},
    "code": {"class"},
    "span": {"class"},
    "pre": {"class"},
    "td": {"class"},
    "th": {"class"},
}
ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java\tscript:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](javascript&colon;alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:x)",
    "[a](file:///etc/passwd)",
    "[a](//evil.example)",
    '[a](https://x.example "onmouseover=alert(1)")',
    "[a]: javascript:alert(1)\n\n[a]",
    "<javascript:alert(1)>",
    "![a](javascript:alert(1))",
    "![a](https://evil.example/p.png)",
    '![a"onerror="alert(1)](https://x.example)',
    "```html onload=alert(1)\n<b>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "| a |\n|---|\n| <script>alert(1)</script> |",
    "<a href='javascript:alert(1)'>x</a>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<style>*{display:none}</style>",
    "<!-- --><iframe src=//evil.example>",
    "\0<script>\0alert(1)",
)


class Checker(HTMLParser):
    """Holds HTML to a short list of elements, attributes and addresses."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES.get(tag, set()), (tag, name)
            if name == "href":
                assert (value or "").lower().startswith(("http://", "https://", "mailto:")), value
        if tag == "a":
            assert dict(attrs)["rel"] == "noopener noreferrer nofollow"

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def check(html: str) -> None:
    checker = Checker(convert_charrefs=True)
    checker.feed(html)
    checker.close()


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_come_out_as_text(attack: str) -> None:
    check(render(attack))
    check(render(f"> - **{attack}** `x`\n"))


@given(st.text(alphabet=st.sampled_from("<>[]()!\"'`*_#|-&;:/=\\ \n\tajscript:onerhtpsx"), max_size=80))
def test_nothing_but_known_elements_comes_out_of_any_text(text: str) -> None:
    check(render(text))


@pytest.mark.parametrize("opened", ["[", "![", "*", "_a", "> ", "`", "(", "<", "- ", "|", "[a](", "**a _", "\\"])
def test_no_text_takes_long(opened: str) -> None:
    start = time.perf_counter()
    render((opened * LONGEST)[:LONGEST])
    render(opened * LONGEST)
    assert time.perf_counter() - start < 20


def test_what_people_need_is_there() -> None:
    html = render("# T\n\n1. **b** *i* ~~s~~\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\n```python\nx < 1\n```\n[s](https://x.example)")
    for part in (
        "<h1>T</h1>",
        "<strong>b</strong>",
        "<s>s</s>",
        "<table>",
        '<td class="align-center">2</td>',
        "<pre><code",
        "x &lt; 1",
        'href="https://x.example"',
    ):
        assert part in html
    assert "https://p.example/x.png" in render("![picture](https://p.example/x.png)")


@pytest.mark.parametrize(
    ("address", "good"), [("https://a.b", True), ("mailto:a@b.c", True), ("ftp://a", False), ("/x", False), ("http://[", False)]
)
def test_which_addresses_are_links(address: str, good: bool) -> None:
    assert allowed(address) is good


def test_the_thought_before_an_answer_is_folded_away_and_safe() -> None:
    html = str(render("<think>\nIs **it** <b>a fish</b>?\n</think>\n\nA *trout*."))
    assert html.startswith('<details class="thought">')
    inside, _, answer = html.partition("</details>")
    assert "<strong>it</strong> &lt;b&gt;a fish&lt;/b&gt;" in inside
    assert answer.strip() == "<p>A <em>trout</em>.</p>"
    assert str(render("Not <think> at the beginning")).startswith("<p>Not &lt;think&gt;")
    assert "<p>still thinking</p>" in str(render("<think>\nstill thinking"))
    assert "&lt;think&gt;" in str(render("<think>" * 3000))


@pytest.mark.parametrize(("text", "html"), LINES)
def test_a_line_end_is_shown_as_one(text: str, html: str) -> None:
    assert render(text).strip() == html


def test_a_guideline_is_wrapped_by_the_page_not_by_its_file() -> None:
    assert prose("Rain on the roof\nRain on the road").strip() == "<p>Rain on the roof\nRain on the road</p>"
    assert "<script>" not in prose("<script>alert(1)</script>")
