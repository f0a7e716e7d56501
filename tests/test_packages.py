"""What Accord imports, what pyproject.toml brings, and what an error says of a missing package: the three agree."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accord.runtime import packages

ROOT = Path(__file__).parents[1]
IN_MAIN = ("lora", "report", "data", "remote", "rewards", "serve", "site")
"""Extras of old, which main installations include."""


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def _named(requirements: list[str]) -> set[str]:
    """Names of packages as pip compares them."""
    return {re.split(r"[\[<>=;]", line)[0].strip().lower().replace("_", "-") for line in requirements}


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a file imports, at its top or inside, by statement or by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "find_spec"}:
                yield str(node.args[0].value)


def _foreign() -> dict[str, list[str]]:
    """Return the packages of others that the source imports, each with the files that do."""
    found: dict[str, list[str]] = {}
    recipes = ROOT / "src" / "accord" / "recipes"  # their files import each other as files of a project do
    own = {path.stem for path in recipes.glob("*/*.py")}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for module in _imports(ast.parse(path.read_text("utf-8"))):
            package = module.partition(".")[0]
            if package not in sys.stdlib_module_names and package not in {
                "accord",
                "_typeshed",
                "",
                *(own if recipes in path.parents else ()),
            }:
                found.setdefault(package, []).append(str(path.relative_to(ROOT)))
    return found


def test_every_import_is_brought_by_the_installation_or_has_a_command_of_its_own() -> None:
    distributions = importlib.metadata.packages_distributions()
    main = _named(_project()["dependencies"])
    for package, files in _foreign().items():
        if package in packages.BROUGHT_BY or package in packages.APART:
            continue
        names = {name.lower().replace("_", "-") for name in distributions.get(package, [package])}
        assert names & main, f"{package} ({files[0]}) is no dependency, and runtime/packages.py does not say how to install it"


def test_each_extra_brings_what_errors_say_it_brings() -> None:
    extras = _project()["optional-dependencies"]
    for package, extra in packages.BROUGHT_BY.items():
        assert package.replace("_", "-") in _named(extras[extra]), f"accord-rlhf[{extra}] does not bring {package}"
        assert packages.install(f"{package}.inner") == f"pip install 'accord-rlhf[{extra}]'"


def test_the_main_installation_brings_no_package_that_an_extra_names() -> None:
    project = _project()
    brought = {package for lines in project["optional-dependencies"].values() for package in _named(lines)}
    assert brought.isdisjoint(_named(project["dependencies"]))


@pytest.mark.parametrize("extra", IN_MAIN)
def test_old_names_of_extras_still_install(extra: str) -> None:
    assert _project()["optional-dependencies"][extra] == []


def test_no_error_writes_a_command_of_pip_by_itself() -> None:
    """Commands that install come from one place; plugins, updates, and other programs' packages are no dependencies of ours."""
    allowed = {"packages.py", "plugins.py", "verifiers_env.py", "client.py"}
    for path in sorted((ROOT / "src").rglob("*.py")):
        if path.name in allowed:
            continue
        lines = [line for line in path.read_text("utf-8").splitlines() if "pip install" in line and "-U accord-rlhf" not in line]
        assert not [line for line in lines if "error.name" not in line], f"{path}: {lines}"
