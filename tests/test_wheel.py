"""The packages that users install: built alike from the same files wherever and whenever that is, with all that the program reads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("LICENSE", "README.md", ".gitignore", "docs", "pyproject.toml", "runs", "src")


def built(folder: Path, *, later: bool) -> dict[str, bytes]:
    """Copy what a package is made of, and build wheel and source there."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "screenshots"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    if later:
        for path in folder.rglob("*"):
            os.utime(path, (time.time() + 9999, time.time() + 9999))
    out = folder.parent / f"{folder.name}-dist"
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    done = subprocess.run(
        words, cwd=folder, env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    first, second = built(folder / "a", later=False), built(folder / "another-place", later=True)
    assert first.keys() == second.keys()
    assert len(first) == 2
    assert [name for name in first if first[name] != second[name]] == [], "the same files give another package"
    return folder / "a-dist"


def test_the_wheel_has_what_the_program_reads_and_no_more(packages: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        inside = {name for name in opened.namelist() if not name.endswith("/")}
        metadata = Parser().parsestr(opened.read(next(name for name in inside if name.endswith("METADATA"))).decode())
        scripts = opened.read(next(name for name in inside if name.endswith("entry_points.txt"))).decode()
    source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/accord").rglob("*") if path.is_file()}
    source = {name for name in source if "__pycache__" not in name}
    assert source <= inside
    others = {name for name in inside - source if ".dist-info/" not in name}
    assert all(name == "accord/demo.sh" or name.startswith("accord/docs/") for name in others), others
    assert "accord = accord.__main__:main" in scripts
    main = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {"peft", "uvicorn", "matplotlib", "pyarrow"} <= {line.split(">")[0] for line in main}
    assert {"lora", "report", "site", "serve", "gguf", "postgres"} <= set(metadata.get_all("Provides-Extra", []))
