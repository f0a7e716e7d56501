"""Plugins of other installed packages, found by their entry points: rewards, judges, formats, measures, guards, classifiers, recipes.

A package names a plugin in its pyproject.toml, and after `pip install` it is known by that name (docs/plugins.md)::

    [project.entry-points."accord.rewards"]
    polite = "accord_polite:polite"

A plugin's module is imported when it is asked for by name, never before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from accord.errors import UsageError

Group = Literal["rewards", "judges", "formats", "measures", "guards", "classifiers", "recipes"]


def find(group: Group) -> list[str]:
    """Return the names of the installed plugins of a group, in alphabetical order, and import none."""
    return sorted({point.name for point in _points(group)})


def has(group: Group, name: str, built_in: Collection[str] = ()) -> bool:
    """Tell whether there is a plugin of this name.

    Args:
        built_in: names that mean something of ours.

    Raises:
        UsageError: the plugin has the name of something built in, or two packages have a plugin of this name.
    """
    points = _named(group, name)
    if points and name in built_in:
        what = f"{source(points[0])} has a plugin {name!r} among accord.{group}, but {name!r} is built in"
        raise UsageError(what, where=f"accord.{group}", hint="uninstall the package, or rename the plugin in its entry points")
    if len(points) > 1:
        what = f"{' and '.join(sorted(map(source, points)))} both have a plugin {name!r}"
        raise UsageError(what, where=f"accord.{group}", hint="uninstall one of them")
    return bool(points)


def load(group: Group, name: str, built_in: Collection[str] = ()) -> Any:
    """Import a plugin, and return the object that its entry point names.

    Raises:
        UsageError: there is no such plugin, its name is taken, or importing it fails; names the package.
    """
    if not has(group, name, built_in):
        raise UsageError(f"there is no plugin {name!r}", where=f"accord.{group}", hint=known(built_in, group))
    (point,) = _named(group, name)
    try:
        return point.load()
    except Exception as error:
        what = f"{name} ({point.value}) cannot be imported: {type(error).__name__}: {error}"
        raise UsageError(what, where=source(point), hint=f"its entry point is in the group accord.{group}") from error


def load_function(group: Group, name: str, built_in: Collection[str] = ()) -> Any:
    """Import a plugin that is to be called; see ``load``.

    Raises:
        UsageError: as ``load``, or it cannot be called.
    """
    found = load(group, name, built_in)
    if not callable(found):
        raise UsageError(f"{name} is of type {type(found).__name__}, not a function", where=origin(group, name))
    return found


def origin(group: Group, name: str) -> str:
    """Return the package that a plugin comes from, with its version: "accord-polite 1.0". The plugin must be there."""
    return source(_named(group, name)[0])


def known(built_in: Iterable[str], group: Group) -> str:
    """Return a hint that lists the names that can be asked for."""
    return f"known are {', '.join([*built_in, *find(group)]) or 'none: no package with such plugins is installed'}"


def source(point: EntryPoint) -> str:
    """Return the package of an entry point, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _points(group: Group) -> list[EntryPoint]:
    """Return every entry point of a group; a package that is found twice on the path counts once, as it does for `import`."""
    unique = {(point.name, point.value, source(point)): point for point in entry_points(group=f"accord.{group}")}
    return list(unique.values())


def _named(group: Group, name: str) -> list[EntryPoint]:
    return [point for point in _points(group) if point.name == name]
