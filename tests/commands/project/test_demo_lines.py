"""The lines at the end of the demo work as printed, in the shell that it was started from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ACCORD = f'#!{sys.executable}\nimport sys\nprint("called", *sys.argv[1:])\n'


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def printed(text: str) -> list[str]:
    """The commands that the demo's end prints, without what stands behind #."""
    return [line.partition(" # ")[0].strip() for line in text.partition("What next:\n")[2].splitlines() if line.startswith("  ")]


def follow(lines: list[str], cwd: Path, path: str) -> list[str]:
    """Type the lines into a shell; what they print."""
    script = "set -e\n" + "\n".join(lines)
    done = subprocess.run(["bash", "-c", script], cwd=cwd, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile and the script, with an installation whose accord says what it was called with."""
    folder = tmp_path / "check out"
    (folder / "runs").mkdir(parents=True)
    for name in ("Makefile", "runs/demo.sh"):
        shutil.copy(ROOT / name, folder / name)
    executable(folder / ".venv/bin/accord", ACCORD)
    for name in ("pyproject.toml", "constraints.txt", ".venv/installed"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("where", ["inside", "outside", "activated"])
def test_make_demo_prints_lines_that_work(checkout: Path, tmp_path: Path, where: str) -> None:
    path = f"{checkout / '.venv/bin'}:{os.environ['PATH']}" if where == "activated" else "/usr/local/bin:/usr/bin:/bin"
    cwd, words = (tmp_path, ["make", "-C", str(checkout)]) if where == "outside" else (checkout, ["make"])
    command = [*words, "--no-print-directory", "demo", "ARGS=--quick", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=cwd, env={"PATH": path, "PWD": str(cwd)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = printed(done.stdout)
    assert follow(lines, cwd, path) == ["called open demo", "called chat demo --terminal", "called lineage demo ppo"]
    assert all(line.startswith("accord ") for line in lines) == (where == "activated")


@pytest.mark.parametrize("found", [True, False])
def test_accord_demo_prints_itself_as_it_was_called(tmp_path: Path, found: bool) -> None:
    """The script is run by a bash that shows the name; the real one has run above."""
    executable(tmp_path / "bash", f'#!{sys.executable}\nimport os\nprint(os.environ["SHOWN"])\n')
    own = executable(tmp_path / "bin" / "accord", f"#!{sys.executable}\nfrom accord.commands.app import main\nmain()\n")
    environment = {name: value for name, value in os.environ.items() if name != "UV"}
    environment["PATH"] = f"{tmp_path}:{tmp_path / 'bin'}:/usr/bin:/bin" if found else f"{tmp_path}:/usr/bin:/bin"
    for name, extra in (("accord" if found else str(own), {}), (str(own), {"UV": "/usr/bin/uv"})):
        code = f"import sys; sys.executable = {str(tmp_path / 'python')!r}; sys.argv[0] = {str(own)!r}"
        words = [sys.executable, "-c", f"{code}; from accord.commands.app import main; main()", "demo", "--out", str(tmp_path / "demo")]
        done = subprocess.run(words, env=environment | extra, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == name, done.stderr


def test_the_script_names_its_only_option() -> None:
    done = subprocess.run(["bash", str(ROOT / "runs/demo.sh"), "--fast"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"--fast: the only option is --quick", done.stderr)
