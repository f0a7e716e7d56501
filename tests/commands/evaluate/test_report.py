"""`accord report` on a project whose every command ran: where the page is, and everything it shows as JSON."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from evaluated import Answered, Typed

from accord.commands.evaluate.report import report
from accord.runtime.project import Project


def test_the_page_is_written_and_its_metrics_are_returned(answered: Answered, typed: Typed, town: Path) -> None:
    found = answered("report", town)
    assert Path(found["report"]) == town / "report.html"
    assert (town / "report.html").read_text("utf-8").startswith("<!doctype html>")
    assert set(found["runs"]) == {"base", "sft", "sample", "label", "reward", "ppo"}
    assert found["runs"]["ppo"]["last"]["reward"] is not None
    assert found["models"]["ppo"]["stage"] == "ppo"
    code, out, _ = typed("report", town)
    assert code == 0
    assert sum(line.startswith("│") for line in out.splitlines()) == 1, "where the page is; the page shows the rest"


def test_python_gets_what_json_prints(answered: Answered, town: Path) -> None:
    found = report(Project.open(town))
    assert found is not None
    assert set(found) == set(answered("report", town))
    assert found["summary"] == answered("report", town)["summary"]


def test_the_command_loads_no_torch() -> None:
    code = "import sys; import accord.commands.evaluate.report, accord.commands.evaluate.doctor; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
