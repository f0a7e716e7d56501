"""`accord demo`: the process becomes the script, with the seed and the folder that were asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from accord.commands.project.demo import demo
from accord.errors import UsageError

COMMAND = "from accord.commands.app import main; main()"


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="--out"):
        demo(out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_script_runs_with_the_seed_and_the_folder(tmp_path: Path) -> None:
    """A bash that says what it was started with stands in for the hour that the loop takes."""
    bash = tmp_path / "bash"
    bash.write_text(f'#!{sys.executable}\nimport os, sys\nprint(os.environ["SEED"], os.environ["OUT"], sys.argv[1], sys.argv[2])\n')
    bash.chmod(0o755)
    code = f"import sys; sys.executable = {str(tmp_path / 'python')!r}; {COMMAND}"
    words = ["demo", "--quick", "--seed", "3", "--out", str(tmp_path / "demo-3")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    seed, out, script, quick = done.stdout.split()
    assert (seed, out, quick) == ("3", str(tmp_path / "demo-3"), "--quick")
    assert Path(script).name == "demo.sh"
    assert "accord report" in Path(script).read_text("utf-8")
