"""Nothing a person can type or read in a run's files is left without a word: commands, settings, metrics."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from accord.runtime.project import sections

ROOT = Path(__file__).parent.parent
PAGES = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
ELSEWHERE = {"rloo": "grpo", "reinforce": "grpo", "screening": "labelers", "store": "project", "template": "project"}
ROLLOUTS = ROOT / "src/accord/algorithms/rollouts.py"
LOGGING = [path for path in sorted((ROOT / "src/accord/algorithms").glob("*.py")) if "run.log(" in path.read_text("utf-8")]


def missing(names: set[str], page: str) -> list[str]:
    return sorted(name for name in names if f"`{name}`" not in PAGES.get(page, ""))


@pytest.mark.parametrize("section", sections())
def test_every_setting_is_on_its_stages_page(section: str) -> None:
    page = ELSEWHERE.get(section, section)
    names = {field.name for field in fields(sections()[section])}
    if section == "generative-reward":
        names = set(missing(names, "grpo"))  # its page has what GRPO's has not
    assert not missing(names, page), f"docs/{page}.md does not name these settings"


@pytest.mark.parametrize("path", LOGGING, ids=lambda path: path.stem)
def test_every_metric_is_on_its_stages_page(path: Path) -> None:
    text = path.read_text("utf-8")
    shared = [node for node in ast.parse(ROLLOUTS.read_text("utf-8")).body if isinstance(node, ast.FunctionDef) and f"{node.name}(" in text]
    keys = metrics(ast.parse(text)) | metrics(ast.Module([*shared], []))
    assert len(keys) >= 3, "no metrics were found: has `metrics` in this file got another name?"
    page = path.stem.replace("_", "-")
    assert not missing(keys, page), f"docs/{page}.md does not define these metrics"


KEYED = {"dict[str, float]", "dict[str, Tensor]", "tuple[list[dict[str, Tensor]], float]"}
"""What functions return that make metrics, or the sums that become metrics once the host has them."""


def metrics(tree: ast.Module) -> set[str]:
    """The keys that reach ``run.log(step, **figures)``: those given to ``metrics``, and those of functions that return figures."""
    logged, removed = set[str](), set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(returns=ast.expr() as returns) if ast.unparse(returns) in KEYED:
                logged.update(_keys(node))
            case ast.Assign(targets=[ast.Name("metrics")]) | ast.AugAssign(target=ast.Name("metrics")):
                logged.update(_keys(node.value))
            case ast.Subscript(value=ast.Name("metrics"), slice=ast.Constant(str() as key), ctx=ast.Store()):
                logged.add(key)
            case ast.Call(func=ast.Attribute(value=ast.Name("metrics"), attr="pop"), args=[ast.Constant(str() as key), *_]):
                removed.add(key)
            case ast.Call(func=ast.Attribute(attr="log"), keywords=keywords):
                logged.update(keyword.arg for keyword in keywords if keyword.arg)
            case _:
                pass
    return logged - removed


def _keys(tree: ast.AST) -> Iterator[str]:
    """The keys of the dicts in a piece of code, without those that the processes exchange to make metrics of them."""
    exchanged = {id(inner) for call in ast.walk(tree) if _joins(call) for inner in ast.walk(call)}
    for node in ast.walk(tree):
        if id(node) in exchanged:
            continue
        if isinstance(node, ast.Dict):
            yield from (key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value)


def _joins(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "ranks.joined"


def test_every_command_is_shown_in_the_docs() -> None:
    from accord.commands.app import app

    text = "\n".join([*PAGES.values(), (ROOT / "README.md").read_text("utf-8")])
    commands = [name for name in app if not name.startswith("-")]
    assert "pretrain" in commands
    assert not [name for name in commands if f"accord {name}" not in text]


@pytest.mark.parametrize("page", [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")], ids=lambda page: page.name)
def test_what_a_page_points_to_is_there(page: Path) -> None:
    pointed = re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
    assert not [to for to in pointed if "://" not in to and not (page.parent / to).exists()]


def test_the_tree_of_the_architecture_page_is_the_tree() -> None:
    found = runpy.run_path(str(ROOT / "docs" / "tree.py"))
    assert found["PAGE"].read_text("utf-8") == found["page"](), "run `python docs/tree.py`"


def test_every_promise_of_the_security_page_names_a_test_that_is_there() -> None:
    promised = PAGES["security"].partition("## What is promised")[2].partition("## What is not promised")[0]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", promised)
    assert [name for path, name in named if f"def {name}(" not in (ROOT / path).read_text("utf-8")] == []
    lines = [line for line in promised.splitlines() if line.startswith("- ")]
    assert len(lines) >= 15
    assert [line for line in lines if "`tests/" not in line] == [], "a promise without a test"
