"""Colours of code: the words of a language as spans of a few classes, for languages that we know and code of bounded length."""

from __future__ import annotations

import html
import time
from functools import cache

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Generic, Keyword, Name, Number, Operator, String

LONGEST = 10_000
"""Maximum length in characters; longer code has no colours."""
SECONDS = 0.1
"""Time of the processor that the colours of one text may take."""
LANGUAGES = {
    "bash": "bash",
    "c": "c",
    "c++": "cpp",
    "cpp": "cpp",
    "css": "css",
    "diff": "diff",
    "go": "go",
    "html": "html",
    "java": "java",
    "javascript": "javascript",
    "js": "javascript",
    "json": "json",
    "py": "python",
    "python": "python",
    "r": "r",
    "rs": "rust",
    "rust": "rust",
    "sh": "bash",
    "shell": "bash",
    "sql": "sql",
    "toml": "toml",
    "ts": "typescript",
    "typescript": "typescript",
    "xml": "xml",
    "yaml": "yaml",
    "yml": "yaml",
}
"""The readers of code by the word behind a fence. Each was tried on hostile code; one that is not here could take any time for a word."""
CLASSES: tuple[tuple[tuple[str, ...], str], ...] = (
    (Comment, "c"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (String, "s"),
    (Number, "n"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Tag, "k"),
    (Name.Builtin, "f"),
    (Name.Decorator, "f"),
    (Name.Attribute, "f"),
    (Generic.Inserted, "s"),
    (Generic.Deleted, "n"),
    (Generic.Heading, "k"),
)


class Colours:
    """Colours for the code of one text, as long as the processor's time for it lasts: some readers take quadratic time on hostile code."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.left = seconds

    def html(self, code: str, language: str) -> str:
        """Return code as HTML, with colours if its language is known; what is left when the time is over has none."""
        lexer = LANGUAGES.get(language.lower())
        if lexer is None or len(code) > LONGEST or self.left <= 0:
            return html.escape(code)
        parts, end, start = list[str](), 0, time.thread_time()
        for number, (place, kind, text) in enumerate(_lexer(lexer).get_tokens_unprocessed(code)):
            if number % 16 == 15 and time.thread_time() - start > self.left:
                break
            name = next((name for group, name in CLASSES if kind in group), "")
            escaped = html.escape(text)
            parts.append(f'<span class="{name}">{escaped}</span>' if name and text.strip() else escaped)
            end = place + len(text)
        self.left -= time.thread_time() - start
        return "".join(parts) + html.escape(code[end:])


@cache
def _lexer(name: str) -> Lexer:
    return get_lexer_by_name(name, stripnl=False, ensurenl=False)
