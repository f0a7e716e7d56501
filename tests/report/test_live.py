"""The page in a real browser: search and filter; served on loopback alone, renewed while a run goes on without losing a search."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from accord.report.live import server, state_of
from accord.report.page import write_report

expect.set_options(timeout=60_000)  # a busy machine is no failure


@contextmanager
def served(project: Path) -> Iterator[int]:
    serving = server(project)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield serving.server_port
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


def asked(port: int, path: str, host: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_this_machine_alone_is_answered(project: Path) -> None:
    with served(project) as port:
        status, headers, body = asked(port, "/state")
        assert (status, json.loads(body)) == (200, {"state": state_of(project)})
        assert headers["Content-Security-Policy"].endswith("connect-src 'self'")
        assert asked(port, "/state", "evil.example:80")[0] == 403
        assert asked(port, "/../accord.toml")[0] == 404
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/", body=b"x")
        assert connection.getresponse().status == 501
        connection.close()


def visible(page: Page) -> list[str]:
    return page.locator("#pieces > .piece:visible .asked").all_inner_texts()


def test_samples_are_searched_and_filtered_in_both_languages(project: Path, chromium: Browser) -> None:
    page = chromium.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(f"file://{write_report(project)}")
    page.locator("#answers").get_by_text("Search all samples").click()
    expect(page.locator("#count")).to_have_text("7 / 7")
    page.locator("#words").fill("MARKET day")
    expect(page.locator("#count")).to_have_text("2 / 2")
    assert all("market day" in words for words in visible(page))
    page.locator("#words").fill("")
    page.locator("fieldset").get_by_text("harmful", exact=True).click()
    expect(page.locator("#count")).to_have_text("1 / 1")
    page.locator("#words").fill("<script>alert(")
    expect(page.locator("#count")).to_have_text("1 / 1")
    page.locator("#words").fill("nothing says this")
    expect(page.locator("#count")).to_have_text("0 / 0")
    page.locator('label[for="language-zh"]').click()
    expect(page.locator("#doctor h2")).to_have_text("诊断", use_inner_text=True)
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    page.locator('label[for="theme-dark"]').click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 25, 28)"
    page.reload()
    expect(page.locator("#theme-dark")).to_be_checked()
    assert complaints == []
    page.close()


def test_a_run_that_goes_on_is_seen_without_losing_a_search(project: Path, chromium: Browser) -> None:
    with served(project) as port:
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#answers").get_by_text("Search all samples").click()
        page.locator("#words").fill("harbour")
        expect(page.locator("#loop")).not_to_contain_text("9.87")
        with (project / "runs" / "ppo" / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 61, "reward": 9.87, "kl_k1": 11.0, "kl_k3": 11.0, "finished": 0.99}) + "\n")
        expect(page.locator("#loop")).to_contain_text("9.87")
        expect(page.locator("#words")).to_have_value("harbour")
        page.close()


def test_a_curve_tells_its_values_and_the_page_fits_a_telephone_in_the_browsers_language(project: Path, chromium: Browser) -> None:
    file = write_report(project)
    page = chromium.new_page(viewport={"width": 390, "height": 844}, locale="zh-CN")
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    curve = page.locator("svg[data-points]").first
    curve.scroll_into_view_if_needed()
    curve.hover()
    told = page.locator("output.hover")
    assert re.fullmatch(r"[\d.,kM]+: \S+( · \S+)*", told.inner_text())
    page.locator("h1").hover()
    assert told.count() == 0
    page.close()
