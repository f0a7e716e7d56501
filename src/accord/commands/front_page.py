"""`accord --help`, written without the libraries that read a command line: they take ten times as long to load as this page to print.

It is what cyclopts would print, which a test compares line by line. Where that is in doubt (another language than English, an encoding
without lines, a narrow terminal), cyclopts prints it.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence

from accord.commands import COMMANDS, GROUPS, language

ABOUT = "Language models learn what your people prefer: raw text to a policy, with labels, proof and a chat in between."
EPILOGUE = "Commands that print metrics take --json: one JSON object instead of tables."
COMPLETION = "Complete commands and flags in this shell, from its next start on."
ASKED = ([], ["--help"], ["-h"], ["help"], ["help", "--help"])
FLAGS = (
    ("--help (-h)", "Display this message and exit."),
    ("--install-completion", COMPLETION),
    ("--version", "Display application version."),
)
NARROW = 60
"""Columns below which the columns of a panel are divided otherwise."""
FORCED = ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Variables by which the library for terminals is told what a terminal can do."""


def wanted(words: Sequence[str]) -> bool:
    """Return whether these words ask for the page, and it can be printed here."""
    plain = sys.platform != "win32" and not any(os.environ.get(name) for name in FORCED)
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return list(words) in ASKED and plain and utf8 and language.chosen() == "en" and width() >= NARROW


def width() -> int:
    """Return the columns of the terminal, 80 where there is none."""
    said = os.environ.get("COLUMNS", "")
    if said.isdigit() and int(said):
        return int(said)
    for stream in (0, 1, 2):
        try:
            return os.get_terminal_size(stream).columns or 80
        except OSError:
            continue
    return 80


def page(columns: int, *, colour: bool) -> str:
    """Return the page for a terminal of so many columns."""
    strong, plain = ("\033[1m", "\033[0m") if colour else ("", "")
    parts = [("Commands", FLAGS)]
    parts += [(heading, tuple((each.name, each.line) for each in COMMANDS if each.room == room)) for room, heading in GROUPS.items()]
    lines = [f"{strong}Usage: {plain}{strong}accord COMMAND{plain}", "", *_wrapped(ABOUT, columns), ""]
    for heading, entries in parts:
        lines += _panel(heading, entries, columns, colour)
    return "\n".join([*lines, "", *_wrapped(EPILOGUE, columns), ""])


def _panel(heading: str, entries: Sequence[tuple[str, str]], columns: int, colour: bool) -> list[str]:
    cyan, plain = ("\033[36m", "\033[0m") if colour else ("", "")
    names = max(len(name) for name, _ in entries)
    room = columns - names - 6
    lines = [f"╭─ {heading} {'─' * (columns - len(heading) - 5)}╮"]
    for name, text in entries:
        for number, line in enumerate(_wrapped(text, room)):
            lines.append(f"│ {cyan}{name if not number else '':{names}}  {plain}{line:{room}} │")
    return [*lines, f"╰{'─' * (columns - 2)}╯"]


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, break_on_hyphens=False)


def show() -> None:
    """Print the page, in colours where it is read on a terminal."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
    print(page(width(), colour=colour), flush=True)
