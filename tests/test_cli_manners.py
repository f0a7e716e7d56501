"""How the command line speaks: errors on a terminal, help as a word, the version, completion."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from accord.commands.app import app, main
from accord.runtime.version import __version__

CODE = "from accord.commands.app import main; main()"


def on_a_terminal(*words: str, **variables: str) -> tuple[int, str]:
    """Run accord with a terminal for its errors; the exit code and what it showed."""
    ours, theirs = pty.openpty()
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    command = [sys.executable, "-c", CODE, *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env={**kept, "ACCORD_LANG": "en", **variables}) as running:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
    os.close(ours)
    return running.returncode, shown.decode().replace("\r\n", "\n")


def test_a_terminal_gets_the_way_out_on_a_line_of_its_own(tmp_path: Path) -> None:
    code, shown = on_a_terminal("config", str(tmp_path / "none"))
    assert code == 1
    first, second = shown.splitlines()
    assert first.startswith("\033[1;31merror\033[0m")
    assert "is not an Accord project: it has no accord.toml" in first
    assert second == f"  \033[1;36mtip:\033[0m create one: accord init {tmp_path / 'none'}"
    _, plain = on_a_terminal("config", str(tmp_path / "none"), NO_COLOR="1")
    assert "\033" not in plain
    assert plain.splitlines()[1].startswith("  tip: create one")


def test_wrong_usage_names_the_commands_own_help() -> None:
    code, shown = on_a_terminal("sample", "--nothing", "1", NO_COLOR="1")
    assert code == 2
    assert shown.splitlines()[-1] == "  tip: accord sample --help"


def test_a_program_reads_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_LANG", "en")
    with pytest.raises(SystemExit):
        main(["config", str(tmp_path / "none")])
    said = capsys.readouterr().err
    assert said.startswith("accord: ")
    assert len(said.splitlines()) == 1
    assert "(create one: accord init" in said


def test_help_is_a_word_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words, flags in ((["help"], ["--help"]), (["help", "config"], ["config", "--help"])):
        main(words)
        asked = capsys.readouterr().out
        main(flags)
        assert asked == capsys.readouterr().out
        assert "Usage: accord" in asked


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_a_shell_completes_commands_and_flags(tmp_path: Path) -> None:
    """The script that --install-completion installs, in a shell that presses Tab."""
    script = tmp_path / "accord.bash"
    script.write_text(app.generate_completion(shell="bash"))
    pressed = f"""
        source {script}
        function=$(complete -p accord | sed -n 's/.*-F \\([^ ]*\\) .*/\\1/p')
        tab() {{
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            $function "$1" "${{@: -1}}" "${{@: -2:1}}"; echo "${{COMPREPLY[@]}}"
        }}
        tab accord sam
        tab accord sample --max
    """
    done = subprocess.run(["bash", "-c", pressed], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["sample", "--max-tokens"]
