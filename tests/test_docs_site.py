"""The documentation site: every command has its page, every page is in the navigation, every link resolves, and the strict build passes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclopts import CycloptsError

import accord
from accord import settings
from accord.commands import COMMANDS, GROUPS
from accord.commands.app import app
from accord.errors import AccordError
from accord.runtime.project import sections
from accord.settings.methods import METHODS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CHINESE = ".zh-CN.md"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
ENGLISH = [page for page in PAGES if not page.endswith(CHINESE)]
TRANSLATED = ("deploy.md", "first-hour.md", "labeler-guide.md", "lead-guide.md")
BOTH_LANGUAGES = [page for page in ENGLISH if page.startswith("howto/") or page in TRANSLATED]
IN_PAGES = {"labelers": ("screening",), "init": ("world",), "grpo": ("grpo", "rloo", "reinforce")}
"""Pages that hold the settings of another section, or of several."""
NO_TABLE = {"project", "store", "screening", "template", "world"}
"""Sections without a page of their own, or whose defaults are no values."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LOADED = re.compile(r'<(?:script|img|link)[^>]*?(?:src|href)="(https?:)?//')


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, which names a Python function for its anchors."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def navigation() -> list[dict[str, Any]]:
    return yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader)["nav"]


def pages_of(entry: object) -> Iterator[str]:
    """Every page below an entry of the navigation, in its order."""
    match entry:
        case str():
            yield entry
        case dict():
            for below in entry.values():
                yield from pages_of(below)
        case list():
            for below in entry:
                yield from pages_of(below)
        case _:
            pytest.fail(f"mkdocs.yml: {entry!r} is no entry of the navigation")


def without_code(text: str) -> str:
    return FENCE.sub("", text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as GitHub and mkdocs.yml's slugify make them."""
    found = set[str]()
    for heading in HEADING.findall(without_code(page.read_text("utf-8"))):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        found.add(re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-"))
    return found


def settings_of(page: str) -> dict[str, list[str]]:
    """The defaults that a page states for each setting: the rows of its tables that begin with ``| setting | default |``."""
    found, inside = dict[str, list[str]](), False
    for line in (DOCS / f"{page}.md").read_text("utf-8").splitlines():
        inside = line.startswith("| setting | default |") or (inside and line.startswith("|"))
        if not inside or line.startswith("|---"):
            continue
        named, stated = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:3])
        names = re.findall(r"`(\w+)`", named)
        many = len(names) > 1 or page == "grpo"
        values = stated.split(", ") if many else [stated]
        for index, name in enumerate(names):
            found[name] = values[index : index + 1] if len(names) > 1 else values
    return found


def same(default: object, stated: str) -> bool:
    """Whether a page's cell states this default; an empty text is an empty cell, or the word where several settings share the cell."""
    match default:
        case bool():
            return stated == str(default).lower()
        case int() | float():
            return float(stated.replace("−", "-")) == default
        case _:
            return stated.replace("empty", "") == default


@pytest.mark.parametrize("page", [page for page in sorted({*sections()} | {*IN_PAGES}) if page not in NO_TABLE])
def test_a_page_states_the_defaults_in_force(page: str) -> None:
    stated = settings_of(page)
    assert stated, f"docs/{page}.md has no table of settings with their defaults"
    names = IN_PAGES.get(page, (page,))
    known = [{field.name: field.default for field in fields(sections()[name])} for name in names]
    wrong = list[str]()
    for setting, values in stated.items():
        expected = [each[setting] for each in known][: len(values)]
        if len(values) not in (1, len(known)) or not all(map(same, expected, values)):
            wrong.append(f"{setting}: {', '.join(map(str, expected))}")
    assert not wrong, f"docs/{page}.md states other defaults than accord.settings"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_a_page_of_its_name(command: Any) -> None:
    page = DOCS / f"{command.name}.md"
    assert page.is_file(), f"docs/{command.name}.md is missing: every command of accord.commands.COMMANDS has a page of its name"
    text = page.read_text("utf-8")
    assert text.startswith(f"# {command.name}: "), "the title is the command's name and what it does"
    assert f"`accord {command.name}`" in text.split("\n## ")[0], "the page opens with one line about the command"


def command_lines() -> Iterator[tuple[str, str]]:
    """Every `accord ...` that stands in a block of code, with its page; the notebook keeps commands as they were."""
    for page in [*(DOCS / page for page in PAGES if page != "notebook.md"), *sorted(ROOT.glob("README*.md"))]:
        fenced = False
        for line in page.read_text("utf-8").splitlines():
            if line.startswith("```"):
                fenced = not fenced
            elif fenced or line.startswith("    "):
                for part in re.split(r" && | \| ", line.strip().removeprefix("$ ")):
                    if part.startswith("accord ") and not part.startswith("accord --"):
                        yield page.name, part


def test_every_command_line_that_a_page_shows_is_understood() -> None:
    refused = list[str]()
    lines = list(command_lines())
    assert len(lines) > 250
    for page, line in lines:
        words = [word for word in shlex.split(line, comments=True)[1:] if word != "--json"]
        try:
            app.parse_args(words, print_error=False, exit_on_error=False)
        except (CycloptsError, AccordError) as error:
            refused.append(f"{page}: {line}: {error}")
    assert not refused


def test_the_navigation_lists_the_commands_as_the_help_does() -> None:
    rooms = next(entry["Commands"] for entry in navigation() if "Commands" in entry)
    shown = [[Path(page).stem for page in pages_of(room)] for room in rooms]
    assert shown == [[command.name for command in COMMANDS if command.room == room] for room in GROUPS]


@pytest.mark.parametrize("page", ["index.md", "index.zh-CN.md"])
def test_the_first_page_links_every_command_in_that_order(page: str) -> None:
    linked = re.findall(r"\[([\w-]+)\]\(\1(?:\.zh-CN)?\.md\)", (DOCS / page).read_text("utf-8"))
    assert [name for name in linked if name in {command.name for command in COMMANDS}] == [command.name for command in COMMANDS]


@pytest.mark.parametrize("page", ["algorithms.md", "methods.md"])
def test_a_page_that_compares_the_methods_links_every_one(page: str) -> None:
    assert not {*METHODS} - {*re.findall(r"\]\(([\w-]+)\.md\)", (DOCS / page).read_text("utf-8"))}


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(pages_of(navigation()))
    assert sorted(listed) == ENGLISH


def test_the_pages_for_people_exist_in_both_languages() -> None:
    assert len(BOTH_LANGUAGES) >= 10
    assert not [page for page in BOTH_LANGUAGES if page.removesuffix(".md") + CHINESE not in PAGES]


def test_every_chinese_page_has_its_english_one() -> None:
    translated = [page for page in PAGES if page.endswith(CHINESE)]
    assert not [page for page in translated if page.removesuffix(CHINESE) + ".md" not in ENGLISH]


def test_the_library_pages_hold_every_public_name_once() -> None:
    text = "".join((DOCS / page).read_text("utf-8") for page in ("api.md", "api-config.md"))
    shown = re.findall(r"^::: accord\.(\w+)$", text, re.MULTILINE)
    configs = {name for name in settings.__all__ if name.endswith("Config")}
    assert sorted(shown) == sorted({*accord.__all__, *configs} - {"__version__", "objectives"})
    assert "::: accord.algorithms.objectives" in text


@pytest.mark.parametrize(
    "page", [*(DOCS / page for page in PAGES), *sorted(ROOT.glob("*.md"))], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_link_resolves(page: Path) -> None:
    broken = list[str]()
    for link in LINK.findall(without_code(page.read_text("utf-8"))):
        if "://" in link:
            continue
        to, _, anchor = link.partition("#")
        target = (page.parent / to).resolve() if to else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_the_strict_build_passes_and_its_pages_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert not [page.name for page in pages if LOADED.search(page.read_text("utf-8"))]
