"""The report shows what a project has, says what it has not, escapes every word, asks nothing of the network, and repeats to the byte."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import AccordError, InputError
from accord.report.captions import DEFINITIONS
from accord.report.curves import CHARTS
from accord.report.markup import join, tag, text
from accord.report.page import write_report
from accord.report.plots import short
from accord.report.project_files import POINTS, read_project, thinned

VOID = {"meta", "input", "br", "hr", "img", "link", "source", "embed"}


class Outline(HTMLParser):
    """Elements as a browser would see them, and whether they close as they should."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:  # within an SVG nothing is: an unclosed line would swallow the next
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def attributes(self, name: str) -> list[str]:
        return [value or "" for _, attributes in self.elements for key, value in attributes.items() if key == name]


def written(project: Path) -> str:
    return write_report(project).read_text("utf-8")


def test_a_whole_project_gives_a_whole_page(project: Path) -> None:
    page = written(project)
    outline = Outline(page)
    assert not outline.open
    headings = set(outline.attributes("id"))
    assert {"loop", "better", "answers", "training", "cost", "lineage", "settings", "definitions"} <= headings
    assert "missing" not in headings
    for words in ("91%", "75%", "70–79%", "+1.5%", "866,835", "11.2", "docs/ppo.md", "34,120", "−0.50 → 2.48"):
        assert words in page, words


def test_the_words_of_models_are_escaped(project: Path, nasty: str) -> None:
    outline = Outline(written(project))
    assert not {"img", "textarea", "iframe", "object"} & {name for name, _ in outline.elements}
    assert [name for name, _ in outline.elements].count("script") == 1  # the page's own
    assert not [name for _, attributes in outline.elements for name in attributes if name.startswith("on")]
    assert outline.words.count(nasty) == 4  # prompt and response, to the letter, side by side and among what is searched


@given(st.text())
def test_any_text_comes_back_out_of_the_markup(words: str) -> None:
    kept = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "\ufffd", words).replace("\r", "\n")
    outline = Outline(str(tag("p", words, title=words)))
    assert [name for name, _ in outline.elements] == ["p"]
    assert "".join(outline.words).replace("\r", "\n") == kept
    assert outline.attributes("title")[0].replace("\r", "\n") == kept


def test_a_page_holds_no_lone_surrogate() -> None:
    assert text("a\ud800b").encode("utf-8").decode() == "a\ufffdb"
    assert join("<", tag("b", ">"), None, ["&", 3]) == "&lt;<b>&gt;</b>&amp;3"


def test_nothing_is_fetched_from_anywhere(project: Path) -> None:
    page = written(project)
    outline = Outline(page)
    assert not re.findall(r"\w+://|url\((?!#)|@import", page)
    targets = outline.attributes("href") + outline.attributes("xlink:href")
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert not outline.attributes("src")
    policy = next(a["content"] for name, a in outline.elements if name == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    script = page[page.index("<script>") + 8 : page.index("</script>")]
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert re.findall(r"script-src ([^;]*)", policy)[0].count(" ") == 0
    assert "connect-src" not in policy


def test_every_link_leads_somewhere_and_every_name_is_one_places(project: Path) -> None:
    outline = Outline(written(project))
    named = outline.attributes("id")
    assert {target.removeprefix("#") for target in outline.attributes("href")} <= set(named)
    assert all(named.count(name) == 1 for name in named if not re.fullmatch(r"[mp][0-9a-f]{10}", name))  # shapes of pictures may repeat


def test_the_same_project_gives_the_same_bytes(project: Path, tmp_path: Path) -> None:
    first = write_report(project, tmp_path / "one.html").read_bytes()
    program = "import sys, pathlib; from accord.report.page import write_report; write_report(*map(pathlib.Path, sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", program, str(project), str(tmp_path / "two.html")], check=True)
    assert (tmp_path / "two.html").read_bytes() == first


def test_reporting_loads_no_torch(project: Path) -> None:
    program = "import sys; from pathlib import Path; from accord.report.page import write_report; write_report(Path(sys.argv[1]))"
    ran = subprocess.run(
        [sys.executable, "-c", f"{program}; print('torch' in sys.modules)", str(project)], check=True, capture_output=True, text=True
    )
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize("stage", ["base", "sft", "sample", "label", "reward", "ppo", "evaluate"])
def test_a_missing_run_is_named_with_its_command(project: Path, stage: str) -> None:
    for folder in (project / "runs").glob(f"{stage}*"):
        shutil.rmtree(folder)
    page = written(project)
    assert not Outline(page).open
    missing = page[page.index('id="missing"') : page.index('id="definitions"')]
    assert f"accord {'pretrain' if stage == 'base' else stage} linden" in missing


def test_an_empty_project_still_has_a_page(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert page.count("not there yet") >= 7
    assert f"accord import {tmp_path.name} FILE" in page
    assert "accord pretrain" not in page.partition('id="definitions"')[0], "without the world there is no text to pretrain on"


def test_broken_files_are_named_and_the_rest_is_shown(project: Path) -> None:
    (project / "summary.json").write_text("{", "utf-8")
    (project / "models" / "sft" / "lineage.json").write_bytes(b"\xff\xfe")
    metrics = project / "runs" / "ppo" / "metrics.jsonl"
    metrics.write_text("not json\n" + metrics.read_text("utf-8") + '{"step": 61, "rew', "utf-8")
    page = written(project)
    for name in ("summary.json", "models/sft/lineage.json", "runs/ppo/metrics.jsonl (1 of 61 lines)"):
        assert f"<code>{name}</code>" in page
    assert "Proxy reward" in page


def test_figures_that_are_no_numbers_are_left_out(project: Path) -> None:
    odd = {
        "win_rate": {"sft_vs_base": [None, 0, 1]},
        "kl": "far",
        "criteria": {"base": 3},
        "agreement": float("nan"),
        "seconds": {"ppo": "long"},
    }
    (project / "summary.json").write_text(json.dumps(odd), "utf-8")
    shutil.rmtree(project / "runs" / "evaluate")
    page = written(project)
    assert 'class="tile"' not in page
    assert not re.search(r"\bnan\b|>None<", page)


def test_a_resumed_step_counts_once(project: Path) -> None:
    metrics = project / "runs" / "sft" / "metrics.jsonl"
    metrics.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": NaN}\n{"step": 3, "loss": 1.0}\n{"step": 1, "loss": 2.0}\n', "utf-8")
    run = read_project(project).one("sft")
    assert run is not None
    assert run.series("loss") == [(1.0, 2.0), (3.0, 1.0)]


def test_a_long_curve_is_thinned_to_means() -> None:
    assert thinned(np.arange(10.0 * POINTS)).tolist() == [10 * n + 4.5 for n in range(POINTS)]
    assert thinned(np.arange(POINTS + 3.0)).size == POINTS
    assert thinned(np.arange(7.0)).tolist() == list(range(7))


def test_axis_numbers_are_short() -> None:
    assert [short(value) for value in (0.25, 1200.0, 12_000.0, 3.5e6, -2.0, 0.0)] == ["0.25", "1200", "12k", "3.5M", "−2", "0"]
    assert [short(value) for value in (0.00012, 4.63e-5, -8e-12, 0.002)] == ["1.2e−4", "4.63e−5", "−8e−12", "0.002"]


def test_the_headline_and_every_station_say_what_their_figures_mean(project: Path) -> None:
    page = write_report(project).read_text("utf-8")
    for part in (page[page.index('id="headline"') : page.index('id="loop"')], page[page.index('id="loop"') : page.index('id="doctor"')]):
        figures = re.findall(r"<strong>|<li><b>", part)
        assert figures
        assert len(re.findall(r'href="#def-', part)) == len(figures)


def test_every_curve_has_a_definition() -> None:
    shown = {key for group in CHARTS.values() for chart in group for key in (chart.title, *chart.keys)}
    assert not shown - set(DEFINITIONS)
    assert all(d.means and d.means_chinese and d.chinese for d in DEFINITIONS.values())


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", range(5), ids=["light", "dark", "chosen light", "chosen dark", "print"])
def test_text_and_curves_reach_contrast_aa_on_both_grounds(scheme: int) -> None:
    blocks = re.findall(r":root[^{]*\{([^{}]*--paper[^{}]*)\}", files("accord.report").joinpath("page.css").read_text("utf-8"))
    assert len(blocks) == 5
    colours = dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})", blocks[scheme]))
    for ground in (colours["paper"], colours["panel"]):
        for name in ("ink", "quiet", "link", "c1", "c2", "c3", "c4", "good", "bad"):
            assert contrast(colours[name], ground) >= 4.5, name


def test_no_project_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such project folder"):
        write_report(tmp_path / "nowhere")


def test_without_matplotlib_the_error_says_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(AccordError, match=re.escape("pip install accord-rlhf")):
        write_report(project)
    assert not (project / "report.html").exists()
