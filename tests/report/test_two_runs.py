"""Any two runs side by side in the written report, chosen without a script: their curves, and the settings in which they differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from accord.report.page import write_report
from accord.report.project_files import read_project
from accord.report.two_runs import two_runs

Rows = list[dict[str, float]]


def write(project: Path, name: str, stage: str, rows: Rows, **settings: object) -> None:
    folder = project / "runs" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"stage": stage, "config": settings, "inputs": {"rankings": name * 8}}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": step, **row}) + "\n" for step, row in enumerate(rows, 1)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two runs of DPO, one of KTO, and one of a method that shares no metric with them."""
    folder = tmp_path / "town"
    pairs = [{"loss": 0.7 - n / 100, "accuracy": 0.5 + n / 100, "margin": n / 10} for n in range(20)]
    write(folder, "dpo", "dpo", pairs, beta=0.1, lr=0.001, epochs=1)
    write(
        folder, "dpo-steep", "dpo", [{"loss": row["loss"] / 2, "accuracy": row["accuracy"]} for row in pairs], beta=0.5, lr=0.001, epochs=1
    )
    write(folder, "kto", "kto", [{"loss": 0.4 + n / 100, "drift": 0.1} for n in range(30)], beta=0.1, lr=0.002, epochs=1)
    write(folder, "ilql", "ilql", [{"q_loss": 0.4}] * 9, gamma=0.9, lr=0.001)
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


def shown(page: Page, selector: str) -> list[str]:
    """The texts of what can be seen."""
    return [each.inner_text().strip() for each in page.locator(f"#two-runs {selector}").all() if each.is_visible()]


def charts(page: Page) -> list[tuple[str, list[str]]]:
    """What is seen of the curves: a chart's metric, and the classes of its lines."""
    found: list[tuple[str, list[str]]] = []
    for figure in page.locator("#two-runs .pair").all():
        if figure.is_visible():
            lines = [
                name for line in figure.locator("svg g[class^=r]").all() if line.is_visible() and (name := line.get_attribute("class"))
            ]
            found.append((figure.locator("figcaption > span").first.inner_text().strip(), sorted(set(lines))))
    return found


def choose(page: Page, one: str, two: str) -> None:
    for side, name in (("one", one), ("two", two)):
        page.locator(f'#two-runs label:has(input[name="run-{side}"][value="{name}"])').click()


def test_any_two_runs_are_compared_without_a_script(project: Path, chromium: Browser) -> None:
    page = chromium.new_context(java_script_enabled=False, locale="en").new_page()
    page.goto(write_report(project).as_uri())
    assert shown(page, "thead th") == ["dpo", "dpo-steep"], "two runs of one method come first"
    assert shown(page, "tbody tr") == ["beta\t0.1\t0.5"], "what differs between these two, and nothing else"
    both = ["r0", "r1"]
    assert [lines for _, lines in charts(page)] == [both, both], "a chart per metric, on the method's own axes"

    choose(page, "dpo", "kto")
    assert shown(page, "thead th") == ["dpo", "kto"]
    assert [row.split("\t")[0] for row in shown(page, "tbody tr")] == ["stage", "lr"]
    assert [lines for _, lines in charts(page)] == [["r0", "r3"]], "the one metric that both have"

    choose(page, "ilql", "dpo")
    assert charts(page) == []
    assert shown(page, ".none") == ["These two runs have no metric in common."]
    assert {row.split("\t")[0] for row in shown(page, "tbody tr")} == {"stage", "beta", "epochs", "gamma"}
    page.context.close()


def test_the_pointer_tells_the_values_of_the_chosen_two(project: Path, chromium: Browser) -> None:
    page = chromium.new_page(locale="en")
    page.goto(write_report(project).as_uri())
    choose(page, "dpo", "kto")
    page.locator("#two-runs .pair:visible svg").hover()
    told = page.locator("#two-runs .hover").inner_text()
    step, _, values = told.partition(": ")
    one, two = map(float, values.split(" · "))
    assert (one, two) == (pytest.approx(0.7 - (int(step) - 1) / 100), pytest.approx(0.4 + (int(step) - 1) / 100))
    page.close()


def test_one_run_alone_has_nothing_beside_it(project: Path) -> None:
    for name in ("dpo-steep", "kto", "ilql"):
        shutil.rmtree(project / "runs" / name)
    assert 'id="two-runs"' not in write_report(project).read_text("utf-8")


def test_the_figure_beside_a_long_curve_is_its_last_value(tmp_path: Path) -> None:
    """Of 102 steps every other one is drawn; the last would be left out."""
    for name, last in (("one", 7.25), ("two", 8.25)):
        write(tmp_path / "town", name, "dpo", [*([{"loss": 0.5}] * 101), {"loss": last}], beta=0.1)
    shown = two_runs(read_project(tmp_path / "town"))
    assert shown is not None
    assert "<b>7.25</b>" in shown
    assert "<b>8.25</b>" in shown
