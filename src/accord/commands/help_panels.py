"""Help in Chinese: each text of a panel is looked up where it is printed, so that no command needs to know of it."""

from __future__ import annotations

from typing import Any

from cyclopts.help import HelpPanel
from cyclopts.help.formatters import DefaultFormatter
from rich.console import Console, ConsoleOptions
from rich.markdown import Markdown

from accord.commands.language import said


class Formatter(DefaultFormatter):
    """Cyclopts' own, with the titles, descriptions and the command's summary in Chinese."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        if isinstance(panel.title, str):
            panel.title = said(panel.title)
        for entry in panel.entries:
            _translate(entry.description)
        super().__call__(console, options, panel)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        _translate(description)
        super().render_description(console, options, description)


def _translate(description: Any) -> None:
    """Put the Chinese of the first paragraph in its place; what follows it is not in the catalogue."""
    if source := _source(description):
        first, blank, rest = source.partition("\n\n")
        description.primary_renderable = Markdown(said(first) + blank + rest)


def _source(description: Any) -> str:
    """Return the text that a description was made of; empty for what is none of Markdown."""
    renderable = getattr(description, "primary_renderable", None)
    return renderable.markup if isinstance(renderable, Markdown) else ""
