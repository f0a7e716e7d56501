"""Plugins by entry points: found by name, imported when they are asked for, and refused with the name of their package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from installed import package

from accord.errors import UsageError
from accord.runtime import plugins


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def test_plugins_are_found_by_group_and_not_imported(site: Path) -> None:
    package(site, "town-found", "raise SystemExit\n", rewards="polite = town_found:polite\nbrief = town_found:brief", judges="polite = x:y")
    assert plugins.find("rewards") == ["brief", "polite"]
    assert plugins.find("judges") == ["polite"]
    assert plugins.find("guards") == []
    assert plugins.has("rewards", "polite", ["length"])
    assert plugins.origin("rewards", "polite") == "town-found 1.0"
    assert "town_found" not in sys.modules


def test_the_object_that_the_entry_point_names_is_loaded(site: Path) -> None:
    package(site, "town-loaded", "def polite(prompts, responses):\n    return [1.0]\n", rewards="polite = town_loaded:polite")
    assert plugins.load_function("rewards", "polite")([], []) == [1.0]


def test_an_unknown_plugin_is_refused_with_what_is_there(site: Path) -> None:
    package(site, "town-there", "", rewards="polite = town_there:polite")
    with pytest.raises(UsageError, match=r"accord.rewards: there is no plugin 'polish' \(known are length, polite\)"):
        plugins.load("rewards", "polish", ["length"])


def test_a_plugin_that_cannot_be_imported_names_its_package_and_the_error(site: Path) -> None:
    package(site, "town-broken", "import a_module_that_is_not_there\n", version="2.1", guards="dialect = town_broken:find")
    with pytest.raises(UsageError, match=r"town-broken 2.1: dialect \(town_broken:find\) cannot be imported: ModuleNotFoundError"):
        plugins.load("guards", "dialect")
    package(site, "town-empty", "", guards="slang = town_empty:find")
    with pytest.raises(UsageError, match=r"town-empty 1.0: slang .*AttributeError"):
        plugins.load("guards", "slang")


def test_a_plugin_that_is_no_function_is_refused(site: Path) -> None:
    package(site, "town-number", "find = 3\n", guards="dialect = town_number:find")
    with pytest.raises(UsageError, match=r"town-number 1.0: dialect is of type int, not a function"):
        plugins.load_function("guards", "dialect")


def test_the_name_of_something_built_in_is_refused(site: Path) -> None:
    package(site, "town-rival", "", rewards="length = town_rival:length")
    with pytest.raises(UsageError, match=r"town-rival 1.0 has a plugin 'length' among accord.rewards, but 'length' is built in"):
        plugins.has("rewards", "length", ["length"])


def test_two_packages_with_one_name_are_refused_and_one_package_found_twice_is_one(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(site, "town-one", "", rewards="polite = town_one:polite")
    package(tmp_path / "again", "town-one", "", rewards="polite = town_one:polite")
    monkeypatch.syspath_prepend(str(tmp_path / "again"))
    assert plugins.has("rewards", "polite")
    package(site, "town-two", "", rewards="polite = town_two:polite")
    with pytest.raises(UsageError, match=r"town-one 1.0 and town-two 1.0 both have a plugin 'polite'"):
        plugins.has("rewards", "polite")
