"""Words of models and people as the page shows them: escaped, with their formulas drawn as on the other pages (MathML)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from accord.feedback.web.formulas import BLOCKS, formula, opened, source
from accord.report.markup import Html, join, printable

MOST_TEX = 8_000
"""Characters of formulas that are drawn in one text; those behind them are shown as their source."""
MOST_FORMULAS = 1_000
"""Formulas that are drawn in one part of the page: each takes about a millisecond."""
_MARKS = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\$|\\.", re.DOTALL)
"""Code, in which no formula stands, and what a formula may begin with."""
_drawn = lru_cache(4096)(formula)


class Words:
    """Draws the formulas in texts, up to a number of them.

    Args:
        most: formulas that are drawn; further ones are shown as their source.
    """

    def __init__(self, most: int = MOST_FORMULAS) -> None:
        self.left = most

    def __call__(self, value: object) -> Html:
        """Return a text as markup."""
        return join(self._parts(printable(value)))

    def _parts(self, text: str) -> Iterator[str]:
        shown, at, written = 0, 0, 0
        while mark := _MARKS.search(text, at):
            found = None if mark[0].startswith("`") else opened(text, mark.start(), len(text))
            if found is None:
                at = mark.end()
                continue
            begin, tex, at = found
            yield text[shown : mark.start()]
            shown, written = at, written + len(tex)
            self.left -= 1
            drawn = self.left >= 0 and written <= MOST_TEX
            yield Html((_drawn if drawn else source)(tex, block=begin in BLOCKS))
        yield text[shown:]
