"""Packages as pip installs them, for tests of plugins: a module and its .dist-info on sys.path, which importlib.metadata finds."""

from __future__ import annotations

from pathlib import Path


def package(folder: Path, name: str, code: str, *, version: str = "1.0", **plugins: str) -> Path:
    """Install a package of one module into a folder.

    Args:
        plugins: per group, such as ``rewards``, lines of its entry points: ``polite = accord_polite:polite``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name.replace('-', '_')}.py").write_text(code, "utf-8")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    groups = [f"[accord.{group}]\n{lines}\n" for group, lines in plugins.items()]
    (info / "entry_points.txt").write_text("\n".join(groups), "utf-8")
    return folder
