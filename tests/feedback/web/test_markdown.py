"""What a model wrote is shown, never run: no HTML of its own, no address that acts, nothing fetched."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.feedback.web.code_colours import LANGUAGES, SECONDS
from accord.feedback.web.formulas import ATTRIBUTES as OF_ELEMENTS
from accord.feedback.web.formulas import ELEMENTS, MEASURES
from accord.feedback.web.markdown import LONGEST, allowed, prose, render

TAGS = {"p", "em", "strong", "s", "a", "code", "pre", "ul", "ol", "li", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"}
TAGS |= ELEMENTS | {"math", "semantics", "annotation", "div"}
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
    "span": {"class", "tabindex"},
    "pre": {"class", "tabindex"},
    "div": {"class", "tabindex"},
    "math": {"display"},
    "annotation": {"encoding"},
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
            known = OF_ELEMENTS | MEASURES | {"class", "mathvariant"} if tag in ELEMENTS else ATTRIBUTES.get(tag, set())
            assert name in known, (tag, name)
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


OPENED = ["[", "![", "*", "_a", "> ", "`", "(", "<", "- ", "|", "[a](", "**a _", "\\", "---\n", "|a|b\n---\n", "|a|b\n|-|-|\n", "|-|\n"]
OPENED += ["$", "$$", "$a$", "$$\n", "\\[\n", "\\(", "\\(a\\)", "$$a$$\n", "$}$", "$'$", "```\n", "```java\n\n"]
WIDE = "|a" * 200 + "\n" + "|-" * 200 + "\n"


def seconds(text: str) -> float:
    """The processor's time for a text that was not rendered before."""
    start = time.process_time()
    render(text)
    return time.process_time() - start


@pytest.mark.parametrize("opened", OPENED)
def test_twice_the_worst_text_takes_twice_the_time(opened: str) -> None:
    half, whole = (min(seconds((opened * size)[: size - n]) for n in range(3)) for size in (LONGEST // 2, LONGEST))
    assert whole < 3 * half + 0.1, "linear, with room for another processor"
    assert whole < 2
    assert seconds(opened * LONGEST) < 0.5, "too long a text is not looked at"


def test_short_rows_of_a_wide_table_are_not_filled_up() -> None:
    assert seconds(WIDE + "a\n" * 2000) < 0.5
    assert "<table>" not in render(WIDE + "a\n" * 2000)
    assert "<table>" in render(WIDE + "|b" * 200)


@pytest.mark.parametrize("language", ["java", "c", "python", "html"])
def test_colours_have_a_budget(language: str) -> None:
    assert seconds("".join(f"```{language}\n" + "\n" * 900 + "\n```\n" for _ in range(20))) < SECONDS + 0.7
    assert "span" in render(f"```{language}\n" + '"a" if 1 <b>\n```')
    assert set(LANGUAGES) > {"python", "js", "sh", "sql"}


def test_what_people_need_is_there() -> None:
    html = render("# T\n\n1. **b** *i* ~~s~~\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\n```python\nx < 1\n```\n[s](https://x.example)")
    for part in (
        "<h1>T</h1>",
        "<strong>b</strong>",
        "<s>s</s>",
        "<table>",
        '<td class="align-center">2</td>',
        "<pre><code",
        "x &lt; <span",
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


@pytest.mark.parametrize(
    "text",
    [
        "costs $5 and $10",
        "$5-$10, US$5 or C$6",
        "$HOME/$USER, $A:$B",
        "$5 million and 6$ more",
        "a \\$x\\$ b",
        "`$x$`",
        "$ x $",
        "$$",
        "$x",
        "one $\n\n$ two",
        "\\(",
        "\\[ a",
        "\\(" + "a" * 3000 + "\\)",
    ],
)
def test_prices_and_variables_stay_text(text: str) -> None:
    assert "<math" not in render(text)
    assert "$" in render(text) or "$" not in text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Let $x^2$ be", "<msup><mi>x</mi><mn>2</mn></msup>"),
        ("设$x_i$为", "<msub><mi>x</mi><mi>i</mi></msub>"),
        ("the $n$th", "<mi>n</mi>"),
        (r"\(a*b*c\)", "<mi>a</mi><mo>*</mo>"),
        (r"\[\frac{a}{b}\]", '<math display="block">'),
        ("$$\n\\begin{aligned}a&=b\\\\\n+ c&=d\\end{aligned}\n$$", '<mtd class="align-left">'),
        ("text\n$$\n- a_1\n$$\nmore", "<mo>−</mo>"),
        (r"$\mathrm{KL}(\pi\|\pi_\text{ref})$", "<mi>KL</mi>"),
        (r"$x \sim D$", "∼"),
        ("$x$ costs $5", "<mi>x</mi>"),
        (r"$\$5$", "<mn>5</mn>"),
    ],
)
def test_formulas_become_mathml(text: str, part: str) -> None:
    html = str(render(text))
    check(html)
    assert part in html
    assert 'encoding="application/x-tex"' in html


@pytest.mark.parametrize("tex", [r"\frac", r"\nonsense{x}", "{" * 900, "x^^", r"\newcommand{\a}{b}", r"\left(", "{" * 80 + "a" + "}" * 80])
def test_a_formula_that_is_not_understood_is_shown_as_it_was_written(tex: str) -> None:
    html = str(render(f"${tex}$"))
    assert html == f'<p><code class="tex">{tex}</code></p>\n'


HOSTILE = (
    r"\text{<script>alert(1)</script>}",
    r"\text{&lt;script&gt;}",
    r"\href{javascript:alert(1)}{x}",
    r"\style{background:url(//evil.example)}{x}",
    r"\class{writing}{x}",
    r"\color{red;x:url(//evil)}{x}",
    r"\hspace{9999999em}x",
    r"\rule{999em}{999em}x",
    r'\hspace{1em" onclick="alert(1)}x',
    r"\begin{array}{l\"><img src=x>}a\end{array}",
    r"\operatorname{<img src=x onerror=alert(1)>}",
    "<img src=x>",
)


@pytest.mark.parametrize("tex", HOSTILE)
def test_nothing_but_mathml_comes_out_of_a_formula(tex: str) -> None:
    for text in (f"${tex}$", f"$$\n{tex}\n$$", rf"\({tex}\)"):
        html = str(render(text))
        check(html)
        assert not any(mark in html.partition("<annotation")[0] for mark in ("javascript:", "evil", "9999", "onclick"))


@given(st.text(alphabet=st.sampled_from("\\{}[]^_&$<>\"'=;: abfracsqthegintxlo0123456789%~"), max_size=60))
def test_no_formula_brings_anything_else(tex: str) -> None:
    check(render(f"$$\n{tex}\n$$"))
    check(render(f"\\({tex}\\)"))


def test_all_formulas_of_a_text_have_a_budget() -> None:
    long = render(("$" + "a" * 1900 + "$\n\n") * 10)
    assert long.count("<math") == 4
    assert long.count('class="tex"') == 6
