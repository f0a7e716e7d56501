"""HTML with automatic escaping: every child that is not markup already is escaped on its way in."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import cast

Child = object
"""Html, anything with a str(), None (nothing), or an iterable of these."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_VOID = {"meta", "input", "br", "hr"}


class Html(str):
    """Text that is markup. Only ``tag`` and ``text`` make it, ``plots`` from figures, ``said`` from formulas, and ``manual`` from our
    docs/: no text by others."""

    __slots__ = ()


def printable(value: object) -> str:
    """Return any text with control characters and lone surrogates, which no page may contain, replaced."""
    return _CONTROL.sub("\ufffd", str(value))


def text(value: object) -> Html:
    """Escape any text, and make it printable."""
    return Html(html.escape(printable(value), quote=True))


def join(*children: Child) -> Html:
    """Return the children in order, each escaped unless it is markup."""
    return Html("".join(_flat(children)))


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Html):
            yield child
        elif isinstance(child, str) or not isinstance(child, Iterable):
            yield "" if child is None else text(child)
        else:
            yield from _flat(cast("Iterable[Child]", child))


def tag(name: str, /, *children: Child, **attributes: object) -> Html:
    """Return an element. ``class_`` gives class, ``aria_label`` aria-label; an attribute that is None or False is left out."""
    given = [(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None and value is not False]
    written = "".join(f" {key}" if value is True else f' {key}="{text(value)}"' for key, value in given)
    return Html(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{join(*children)}</{name}>")


def both(english: Child, chinese: Child) -> Html:
    """Return a text in English and in Chinese. The page's style shows the language that the reader chose."""
    return join(tag("span", english, lang="en"), tag("span", chinese, lang="zh-Hans"))
